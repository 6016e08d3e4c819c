"""The JSON API: who may ask what, and what is refused how."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from structlog.testing import capture_logs

from relay_protocol.messages import Wanted
from relay_protocol.values import RequestHead
from relay_server.app import serve_control
from relay_server.control import open_api
from relay_server.errors import InvalidValue
from relay_server.operations.channels import CANARY_LIFETIME_MS, delete_forgotten_canaries
from relay_server.places import SOCKET_NAME
from relay_server.values import Channel, Progress, Scope
from relay_server.web.api.requests import MAX_REQUEST_BYTES
from tests.support.clock import START_MS
from tests.support.events import attempt, mark
from tests.support.senders import connection, read_answer, request
from tests.support.stores import MemoryStore
from tests.support.waiting import settled
from tests.unit.server.asking import Asking, append
from tests.unit.server.support import FakeReader, Served

Json = dict[str, Any]


# Who asks.


@pytest.mark.parametrize("token", [None, "", "rly_wrong", "é", "x" * 5_000])
async def test_without_a_good_token_everything_is_401(served: Served, token: str | None) -> None:
    nobody = Asking(served, token)
    for method, path in [
        ("GET", "whoami"),
        ("GET", "status"),
        ("GET", "channels"),
        ("POST", "channels"),
        ("GET", "channels/chatwoot"),
        ("PATCH", "channels/unknown"),
        ("DELETE", "channels/chatwoot"),
        ("DELETE", "channels/chatwoot/subscriptions/ana"),
        ("GET", "tokens"),
        ("POST", "tokens"),
        ("DELETE", "tokens/sender"),
        ("GET", "events"),
        ("GET", "events/evt_1"),
        ("POST", "canary"),
        ("DELETE", "canary/x"),
    ]:
        assert await nobody.refused(method, path, {}) == (401, "unauthorized"), path


async def test_whoami(served: Served, ana: Asking, admin: Asking) -> None:
    who = await ana.ok("GET", "whoami")
    assert (who["name"], who["scopes"], who["channels"]) == ("ana", ["subscribe"], ["chatwoot"])
    assert who["server_version"]
    assert (await admin.ok("GET", "whoami"))["channels"] is None
    assert (await Asking(served, served.token).ok("GET", "whoami"))["scopes"] == ["send"]


async def test_a_reader_sees_its_own_channels_alone(
    served: Served, ana: Asking, admin: Asking
) -> None:
    secret = await append(served, "other")
    await served.store.subscribe("other", "bob", None, START_MS)
    await served.store.subscribe("chatwoot", "ana", None, START_MS)

    assert [c["name"] for c in (await ana.ok("GET", "channels"))["channels"]] == ["chatwoot"]
    status = await ana.ok("GET", "status")
    assert [c["name"] for c in status["channels"]] == ["chatwoot"]
    assert [s["name"] for s in status["subscriptions"]] == ["ana"]
    assert "settings" not in status
    for path in ("channels/other", "events?channel=other", "channels/unknown"):
        assert await ana.refused("GET", path) == (404, "channel_not_found"), path
    assert await ana.refused("GET", f"events/{secret}") == (404, "event_not_found")
    assert await ana.refused("DELETE", "canary/other") == (404, "channel_not_found")

    status = await admin.ok("GET", "status")
    assert [c["name"] for c in status["channels"]] == ["chatwoot", "other"]
    assert (await admin.ok("GET", f"events/{secret}"))["channel"] == "other"


async def test_a_sender_sees_nothing(served: Served) -> None:
    sender = Asking(served, served.token)
    assert (await sender.ok("GET", "channels"))["channels"] == []
    assert (await sender.ok("GET", "status"))["channels"] == []
    assert await sender.refused("GET", "events") == (404, "channel_not_found")


async def test_only_an_administrator_administers(ana: Asking) -> None:
    for method, path in [
        ("POST", "channels"),
        ("PATCH", "channels/chatwoot"),
        ("DELETE", "channels/chatwoot"),
        ("DELETE", "channels/chatwoot/subscriptions/ana"),
        ("GET", "tokens"),
        ("POST", "tokens"),
        ("DELETE", "tokens/ana"),
    ]:
        assert await ana.refused(method, path, {}) == (403, "forbidden"), path


async def test_a_backup_is_no_matter_of_the_network(admin: Asking, tmp_path: Path) -> None:
    body = {"file": str(tmp_path / "copy.db")}
    assert await admin.refused("POST", "backup", body) == (403, "forbidden")
    assert not (tmp_path / "copy.db").exists()


# Channels.


async def test_channels_come_change_and_go(served: Served, admin: Asking) -> None:
    made = await admin.ok(
        "POST",
        "channels",
        {
            "name": "github",
            "sender": "other",
            "token": False,
            "allow_from": ["10.0.0.0/8"],
            "key_pointer": "/repository/id",
            "max_body_bytes": 26_214_400,
            "retention_days": 0.5,
            "hmac_secrets": ["  one ", "two"],
        },
    )
    assert made["webhook_path"] == "/c/github/webhook"
    assert made["sender_auth"] == ["hmac:chatwoot", "ip"]
    assert made["max_body_bytes"] == 26_214_400
    auth = served.store.catalog.channels["github"].config.hmac
    assert auth is not None
    assert [served.context.sealer.open(s) for s in auth.secrets] == [b"one", b"two"]

    changed = await admin.ok("PATCH", "channels/github", {"hmac_log_only": True, "allow_from": []})
    assert changed["sender_auth"] == ["hmac:chatwoot (log only)"]
    assert (changed["key_pointer"], changed["retention_days"]) == ("/repository/id", 0.5)
    again = await admin.ok("PATCH", "channels/github", {})
    assert again == changed
    bare = await admin.ok("PATCH", "channels/github", {"hmac_secrets": [], "max_body_bytes": None})
    assert (bare["sender_auth"], bare["max_body_bytes"]) == ([], 1_048_576)
    assert await admin.ok("GET", "channels/github") == bare

    await admin.ok("DELETE", "channels/github")
    assert await admin.refused("GET", "channels/github") == (404, "channel_not_found")


@pytest.mark.parametrize(
    "fields",
    [
        {"name": "a/b"},
        {"name": "a\n"},
        {"name": ""},
        {"name": 7},
        {"sender": "github"},
        {"token": "yes"},
        {"hmac_secrets": [""]},
        {"hmac_secrets": ["  "]},
        {"hmac_secrets": "x"},
        {"hmac_scheme": "md5"},
        {"allow_from": ["10.0.0.1/8"]},
        {"allow_from": [""]},
        {"key_pointer": "id"},
        {"max_body_bytes": 0},
        {"max_body_bytes": -1},
        {"max_body_bytes": 26_214_401},
        {"max_body_bytes": 1.5},
        {"retention_days": 0},
        {"retention_days": -1},
        {"retention_days": 1e300},
        {"owner": "me"},
        {"unknown": 1},
        [],
        "chatwoot",
        b"",
        b"{",
        b'{"name":"\xff"}',
        b"[" * 60_000,
        b'{"name":"x","name":1}',
        b'{"retention_days":1e999}',
        b'{"name":"\\ud800"}',
    ],
)
async def test_rules_that_are_impossible_change_nothing(
    served: Served, admin: Asking, fields: Any
) -> None:
    before = served.store.catalog.channels
    body = fields if not isinstance(fields, dict) else {"name": "new"} | fields
    assert await admin.refused("POST", "channels", body) == (422, "invalid_value")
    assert await admin.refused("PATCH", "channels/chatwoot", fields) == (422, "invalid_value")
    assert served.store.catalog.channels == before


async def test_names_that_are_taken_and_that_stay(admin: Asking) -> None:
    exists = (409, "channel_exists")
    assert await admin.refused("POST", "channels", {"name": "chatwoot"}) == exists
    invalid = (422, "invalid_value")
    assert await admin.refused("POST", "channels", {}) == invalid
    assert await admin.refused("PATCH", "channels/chatwoot", {"name": "other"}) == invalid
    assert await admin.refused("DELETE", "channels/chatwoot") == invalid
    assert (await admin.ok("PATCH", "channels/chatwoot", {"name": "chatwoot"}))[
        "name"
    ] == "chatwoot"
    missing = (404, "channel_not_found")
    assert await admin.refused("PATCH", "channels/unknown", {}) == missing
    assert await admin.refused("DELETE", "channels/unknown") == missing


@pytest.mark.parametrize("size", [MAX_REQUEST_BYTES, MAX_REQUEST_BYTES + 1, 4 * MAX_REQUEST_BYTES])
async def test_bodies_are_bounded(admin: Asking, size: int) -> None:
    body = b'{"name":"new"}'.ljust(size)
    status = (await admin("POST", "channels", body)).status
    assert status == (201 if size <= MAX_REQUEST_BYTES else 422)


async def test_a_body_in_pieces_is_read_whole(served: Served, admin: Asking) -> None:
    raw = request("/api/v1/channels", b'{"name":"new"}', token=admin.token)
    async with connection(served.port) as one:
        await one.send(raw[:-5])
        await one.send(raw[-5:-1])
        await one.send(raw[-1:])
        assert (await read_answer(one.reader)).status == 201


# Tokens.


async def test_a_token_is_shown_once(served: Served, admin: Asking) -> None:
    body = {"name": "bob", "scopes": ["subscribe", "send"], "channels": ["chatwoot"]}
    made = await admin.ok("POST", "tokens", body)
    listed = await admin.ok("GET", "tokens")
    assert made["token"].startswith("rly_")
    assert made["token"] not in json.dumps(listed)
    assert [t["name"] for t in listed["tokens"]] == ["bob", "root", "sender"]
    assert await Asking(served, made["token"]).ok("GET", "whoami")
    assert await admin.refused("POST", "tokens", body) == (409, "token_exists")

    await admin.ok("DELETE", "tokens/bob")
    assert await Asking(served, made["token"]).refused("GET", "whoami") == (401, "unauthorized")
    assert await admin.refused("DELETE", "tokens/bob") == (404, "token_not_found")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"name": "x", "scopes": []}, (422, "invalid_value")),
        ({"name": "x", "scopes": ["everything"]}, (422, "invalid_value")),
        ({"name": "x"}, (422, "invalid_value")),
        ({"scopes": ["send"]}, (422, "invalid_value")),
        ({"name": "X", "scopes": ["send"]}, (422, "invalid_value")),
        ({"name": "x", "scopes": ["send"], "token": "mine"}, (422, "invalid_value")),
        ({"name": "x", "scopes": ["send"], "channels": ["none"]}, (404, "channel_not_found")),
    ],
)
async def test_tokens_that_are_impossible(
    served: Served, admin: Asking, body: Json, expected: tuple[int, str]
) -> None:
    assert await admin.refused("POST", "tokens", body) == expected
    assert len(served.store.catalog.tokens) == 2


async def test_revoking_closes_connections(served: Served, admin: Asking) -> None:
    await served.make_token("bob", Scope.SUBSCRIBE)
    bob, other = FakeReader("bob"), FakeReader("carla")
    for reader in (bob, other):
        served.context.hub.add(reader)
    await admin.ok("DELETE", "tokens/bob")
    assert (bob.told, other.told) == (["revoked"], [])


# Subscriptions.


async def test_a_subscription_is_forgotten_once_nobody_reads_it(
    served: Served, admin: Asking
) -> None:
    hub, path = served.context.hub, "channels/chatwoot/subscriptions/Jo%C3%A3o%20da%20Silva"
    reader = FakeReader()
    hub.add(reader)
    await hub.join(reader, Wanted("chatwoot"), "João da Silva")
    assert await admin.refused("DELETE", path) == (409, "subscription_connected")

    hub.remove(reader)
    await admin.ok("DELETE", path)

    assert await served.store.subscription_status() == []
    assert await admin.refused("DELETE", path) == (404, "subscription_not_found")
    for missing in ("channels/chatwoot/subscriptions/x", "channels/chatwoot/subscriptions/%2e%2e"):
        assert (await admin.refused("DELETE", missing))[0] == 404
    elsewhere = "channels/unknown/subscriptions/ana"
    assert await admin.refused("DELETE", elsewhere) == (404, "channel_not_found")


async def test_deleting_a_channel_sends_its_readers_away(served: Served, admin: Asking) -> None:
    await served.make_channel("other")
    reader = FakeReader()
    served.context.hub.add(reader)
    await served.context.hub.join(reader, Wanted("other"), "ana")
    await admin.ok("DELETE", "channels/other")
    assert set(reader.told) == {"a channel was deleted, 1"}


# Events.


async def test_events_are_listed_newest_first_in_parts(served: Served, ana: Asking) -> None:
    for number in range(60):
        await append(served, body=b"%d" % number)

    async def sequences(query: str) -> list[int]:
        return [e["sequence"] for e in (await ana.ok("GET", f"events?{query}"))["events"]]

    assert await sequences("") == list(range(60, 10, -1))
    assert await sequences("limit=3&before=10") == [9, 8, 7]
    assert await sequences("limit=100000") == list(range(60, 0, -1))
    assert await sequences("before=1") == []
    assert await sequences("limit=1&limit=2") in ([60], [60, 59])


@pytest.mark.parametrize("query", ["limit=-1", "limit=x", "limit=1.5", "limit=²", "before=1e3"])
async def test_bounds_that_are_no_numbers(ana: Asking, query: str) -> None:
    path = f"events?{quote(query, safe='=')}"
    assert await ana.refused("GET", path) == (422, "invalid_value")
    long = f"events?{query.partition('=')[0]}={'9' * 5_000}"
    assert await ana.refused("GET", long) == (422, "invalid_value")


async def test_an_event_whole(served: Served, ana: Asking) -> None:
    headers = (
        (b"Content-Type", b"application/json"),
        (b"Authorization", b"Bearer theirs"),
        (b"COOKIE", b"session=theirs"),
        (b"X-Chatwoot-Signature", b"sha256=00"),
        (b"X-Twice", b"1"),
        (b"X-Twice", b"caf\xe9"),
        (b"X-Name", "Olá".encode()),
    )
    head = RequestHead("POST", "/webhook?a=%2F", headers, "203.0.113.9", "https")
    subscription, _ = await served.store.subscribe("chatwoot", "ana", None, START_MS)
    id_ = await append(served, body=b"\xff\x00", head=head)
    claim = await served.store.claim(subscription.number)
    assert claim is not None
    served.store.record(claim, Progress(0, (mark(1),), (attempt(1, 1, 500), attempt(1, 2))))

    event = await ana.ok("GET", f"events/{id_}")

    assert event["headers"] == [
        ["Content-Type", "application/json"],
        ["Authorization", "•••"],
        ["COOKIE", "•••"],
        ["X-Chatwoot-Signature", "•••"],
        ["X-Twice", "1"],
        ["X-Twice", "caf\ufffd"],
        ["X-Name", "Olá"],
    ]
    assert (event["body"], base64.b64decode(event["body_base64"])) == (None, b"\xff\x00")
    assert (event["size"], event["sender"]) == (2, "203.0.113.9")
    assert [(a["attempt"], a["status"]) for a in event["attempts"]] == [(1, 500), (2, 200)]
    assert [d["state"] for d in event["deliveries"]] == ["delivered"]
    for missing in ("evt_1", "%00", "..%2F..", "x" * 3_000):
        assert (await ana.refused("GET", f"events/{missing}"))[0] == 404


# Canaries.


async def test_a_canary_is_its_owner_s_alone(served: Served, ana: Asking, admin: Asking) -> None:
    bob = Asking(served, await served.make_token("bob", Scope.SUBSCRIBE))
    made = await ana.ok("POST", "canary")
    name = made["channel"]
    raw = request(made["webhook_path"], b"{}", token=made["send_token"])
    answer = await served.send(raw)
    assert answer.status == 200

    assert (await ana.ok("GET", f"events?channel={name}"))["events"]
    for who in (bob, admin):
        assert await who.refused("GET", f"events?channel={name}") == (404, "channel_not_found")
        assert await who.refused("DELETE", f"canary/{name}") == (404, "channel_not_found")
        assert name not in json.dumps(await who.ok("GET", "status"))
        assert name not in json.dumps(await who.ok("GET", "channels"))
    assert name not in json.dumps(await admin.ok("GET", "tokens"))
    elsewhere = await served.send(request(token=made["send_token"]))
    assert elsewhere.status == 401, "it is good for nothing else"
    assert await ana.refused("DELETE", "canary/chatwoot") == (403, "forbidden")

    await ana.ok("DELETE", f"canary/{name}")
    assert (await served.send(raw)).status == 401
    assert await ana.refused("DELETE", f"canary/{name}") == (404, "channel_not_found")


async def test_a_forgotten_canary_is_taken_away(served: Served, ana: Asking) -> None:
    old = (await ana.ok("POST", "canary"))["channel"]
    served.clock.advance(CANARY_LIFETIME_MS / 1000 - 1)
    await delete_forgotten_canaries(served.context)
    assert old in served.store.catalog.channels
    served.clock.advance(2)
    await served.store.revoke_token(old)  # somebody else is at it
    await delete_forgotten_canaries(served.context)
    assert set(served.store.catalog.channels) == {"chatwoot", "other"}


async def test_an_owner_has_one_canary_at_a_time(served: Served, ana: Asking) -> None:
    old = (await ana.ok("POST", "canary"))["channel"]
    new = (await ana.ok("POST", "canary"))["channel"]
    assert old != new
    assert set(served.store.catalog.channels) == {"chatwoot", "other", new}
    assert {t.name for t in served.store.catalog.tokens.values()} >= {new}
    assert old not in {t.name for t in served.store.catalog.tokens.values()}


async def test_an_owner_who_asks_many_times_at_once_has_one_canary(
    served: Served, ana: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = served.store.create_channel

    async def slowly(*channel: Any) -> Channel:
        await settled()
        return await make(*channel)

    monkeypatch.setattr(served.store, "create_channel", slowly)
    await asyncio.gather(*(ana.ok("POST", "canary") for _ in range(10)))
    assert len([n for n in served.store.catalog.channels if n.startswith("canary-")]) == 1


async def test_names_of_canaries_are_the_server_s_own(served: Served, admin: Asking) -> None:
    """A token that was named so would be in no list."""
    body = {"name": "canary-mine", "scopes": ["admin"]}
    assert await admin.refused("POST", "tokens", body) == (422, "invalid_value")
    assert await admin.refused("POST", "channels", {"name": "canary-x"}) == (422, "invalid_value")


async def test_canaries_are_counted_under_one_label(served: Served, ana: Asking) -> None:
    for _ in range(3):
        made = await ana.ok("POST", "canary")
        raw = request(made["webhook_path"], token=made["send_token"])
        assert (await served.send(raw)).status == 200
    assert served.metric("relay_webhooks_total", channel="canary", answer="200") == 3
    assert "canary-" not in served.context.metrics.text().decode()


async def test_a_rate_is_set_shown_and_taken_away(served: Served, admin: Asking) -> None:
    assert (await admin.ok("GET", "channels/chatwoot"))["rate_per_s"] is None
    made = await admin.ok("POST", "channels", {"name": "slow", "rate_per_s": 0.5})
    assert made["rate_per_s"] == 0.5
    served.context.rates.take(served.store.catalog.channels["slow"].number, 0.5, 0.0)
    await admin.ok("PATCH", "channels/slow", {"key_pointer": "/x"})
    assert served.store.catalog.channels["slow"].config.rate_per_s == 0.5
    assert (await admin.ok("PATCH", "channels/slow", {"rate_per_s": None}))["rate_per_s"] is None
    for rate in (0, -1, 1e7, "1"):
        body = {"rate_per_s": rate}
        assert await admin.refused("PATCH", "channels/slow", body) == (422, "invalid_value")
    await admin.ok("DELETE", "channels/slow")
    assert len(served.context.rates) == 0


async def test_a_sender_makes_no_canary(served: Served) -> None:
    assert await Asking(served, served.token).refused("POST", "canary") == (401, "unauthorized")


# Errors of the framework.


async def test_unknown_paths_and_methods_say_so_in_json(served: Served, admin: Asking) -> None:
    assert await admin.refused("GET", "nowhere") == (404, "not_found")
    answer = await admin("PUT", "channels")
    assert (answer.status, answer.json["error"]["code"]) == (405, "method_not_allowed")
    assert set(dict(answer.headers)["Allow"].split(",")) >= {"GET", "POST"}
    secret = admin.token or ""
    for target in (f"/{secret}", f"/api/v1/{secret}?token={secret}", f"/health/{secret}"):
        with capture_logs() as logs:
            answer = await served.send(request(target, b"", method="GET"))
        assert answer.status == 404
        assert secret not in answer.body.decode() + str(logs)


async def test_what_nobody_foresaw_is_500_and_logged(
    served: Served, admin: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken() -> None:
        raise KeyError("a bug")

    monkeypatch.setattr(served.store, "channel_status", broken)
    with capture_logs() as logs:
        assert await admin.refused("GET", "status") == (500, "error")
    assert [entry["event"] for entry in logs] == ["request failed"]


async def test_health_is_public_and_says_no_more(served: Served) -> None:
    answer = await served.send(request("/health/live", b"", method="GET"))
    assert (answer.status, answer.json) == (200, {"status": "live"})
    for private in ("/metrics", "/health/ready"):
        assert (await served.send(request(private, b"", method="GET"))).status == 404


# On the host.


@asynccontextmanager
async def host(served: Served) -> AsyncIterator[Any]:
    """The same API through the control socket."""
    settings = served.context.settings
    (settings.data_dir / "relay.db").touch()
    async with AsyncExitStack() as stack:
        await serve_control(stack, served.context, settings.data_dir / SOCKET_NAME)
        async with open_api(settings, served.context.sources) as api:
            assert api.running
            yield api


async def test_whoever_is_on_the_host_may_do_everything(
    served: Served, ana: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = (await ana.ok("POST", "canary"))["channel"]
    copied: list[Path] = []

    async def backup(_: MemoryStore, file: Path) -> None:
        copied.append(file)

    monkeypatch.setattr(MemoryStore, "backup", backup)
    async with host(served) as api:
        assert (await api.call("GET", "whoami"))["scopes"] == ["admin"]
        status = await api.call("GET", "status")
        assert status["settings"]["port"] == {"value": 8802, "source": "default"}
        assert status["connections"] == 0
        assert (await api.call("GET", f"events?channel={name}"))["events"] == []
        assert await api.call("POST", "backup", {"file": "/x/y"}) == {"file": "/x/y"}
    assert copied == [Path("/x/y")]


async def test_secrets_among_the_settings_are_masked(served: Served) -> None:
    served.context.settings = type(served.context.settings)(
        data_dir=served.context.settings.data_dir, secret_key="FIXTUREsecret"
    )
    async with host(served) as api:
        settings = (await api.call("GET", "status"))["settings"]
    assert settings["secret_key"]["value"] == "•••"
    assert "FIXTUREsecret" not in json.dumps(settings)


async def test_the_store_s_refusals_reach_whoever_asked(served: Served, tmp_path: Path) -> None:
    async with host(served) as api:
        with pytest.raises(Exception, match="exists already") as refused:
            await api.call("POST", "backup", {"file": str(tmp_path)})
    assert getattr(refused.value, "code", "") == InvalidValue.code
