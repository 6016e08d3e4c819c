"""The JSON API's channels: what may be set of one, how full it is, and who is sent away with it."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from relay_protocol.messages import Wanted
from relay_server.operations.channels import CANARY_LIFETIME_MS, delete_forgotten_canaries
from relay_server.sealing import fingerprint
from relay_server.values import Channel, Scope
from tests.support.clock import START_MS
from tests.support.senders import request
from tests.support.waiting import settled
from tests.unit.server.asking import IMPOSSIBLE_POLICIES, Asking, append
from tests.unit.server.support import FakePeer, Served


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


async def test_a_channel_s_chatwoot(served: Served, admin: Asking) -> None:
    """Its bot's token is kept sealed, and told by a fingerprint; without an address all goes."""
    link = {"chatwoot_url": "https://chat.example.com", "chatwoot_account": 2, "chatwoot_bot": 9}
    secrets = {"hmac_secrets": ["one"], "chatwoot_token": "bot's own"}
    await admin.ok("PATCH", "channels/chatwoot", link | secrets)
    shown = await admin.ok("GET", "channels/chatwoot/chatwoot")

    kept = served.store.catalog.channels["chatwoot"].config.chatwoot
    assert kept is not None
    assert served.context.sealer.open(kept.token) == b"bot's own"
    assert shown == {
        "webhook_path": "/webhook",
        "token": True,
        "log_only": False,
        "secrets": [fingerprint(b"one")],
        "bot_token": fingerprint(b"bot's own"),
        "url": "https://chat.example.com",
        "account": 2,
        "inbox": 0,
        "bot": 9,
    }

    await admin.ok("PATCH", "channels/chatwoot", {"chatwoot_token": ""})
    assert (await admin.ok("GET", "channels/chatwoot/chatwoot"))["bot_token"] == ""
    await admin.ok("PATCH", "channels/chatwoot", {"chatwoot_url": ""})
    assert served.store.catalog.channels["chatwoot"].config.chatwoot is None


async def test_a_channel_s_policy_and_quota_are_set_and_stay(served: Served, admin: Asking) -> None:
    made = await admin.ok(
        "POST",
        "channels",
        {
            "name": "shop",
            "dead_days": 3,
            "max_bytes": 1_000,
            "drop_oldest": True,
            "policy": {"retry_delays_s": [0.01, 604_800], "other_tries": 1, "hold_failures": 0},
        },
    )
    assert (made["dead_days"], made["max_bytes"], made["drop_oldest"]) == (3, 1_000, True)
    assert made["policy"] == {
        "retry_delays_s": [0.01, 604_800],
        "other_tries": 1,
        "hold_failures": 0,
        "hold_s": 30,
        "strict_order": False,
    }

    changed = await admin.ok(
        "PATCH", "channels/shop", {"max_bytes": None, "policy": {"strict_order": True}}
    )
    assert changed["max_bytes"] is None
    assert changed["policy"] == made["policy"] | {"strict_order": True}
    assert (changed["dead_days"], changed["drop_oldest"]) == (3, True)


async def test_times_to_live_are_set_and_go_and_are_remembered(
    served: Served, admin: Asking
) -> None:
    lifetimes = [["typing_*", 10], ["*", 1_800.5]]
    changed = await admin.ok("PATCH", "channels/chatwoot", {"ttl": lifetimes})
    assert changed["ttl"] == lifetimes
    assert (await admin.ok("PATCH", "channels/chatwoot", {}))["ttl"] == lifetimes
    assert (await admin.ok("PATCH", "channels/chatwoot", {"ttl": []}))["ttl"] == []
    assert served.store.catalog.channels["chatwoot"].config.expires


@pytest.mark.parametrize(
    "fields",
    [
        {"name": 7},
        {"sender": "nobody"},
        {"token": "yes"},
        {"hmac_secrets": ["x" * 1_025]},
        {"hmac_secrets": "x"},
        {"chatwoot_url": "https://chat.example.com/app"},
        {"chatwoot_url": "https://u:p@chat.example.com"},
        {"chatwoot_account": -1},
        {"chatwoot_token": "x" * 1_025},
        {"allow_from": [""]},
        {"max_body_bytes": 0},
        {"max_body_bytes": 1.5},
        {"max_bytes": "2G"},
        {"drop_oldest": None},
        {"ttl": [["", 10]]},
        {"ttl": [["a*b", 10]]},
        {"ttl": [["a", 0.5]]},
        {"ttl": [["a", 2_592_001]]},
        {"ttl": [["a", 10]] * 17},
        {"ttl": {"a": 10}},
        {"owner": "me"},
        {"unknown": 1},
        *({"policy": policy} for policy in IMPOSSIBLE_POLICIES),
        {"policy": None},
        {"policy": {"hold_s": None}},
        b'{"name":"x","name":1}',
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


async def test_how_full_a_channel_is(served: Served, admin: Asking) -> None:
    await append(served, body=b"x" * 100)
    size = served.store.usage(served.store.catalog.channels["chatwoot"].number)
    await admin.ok("PATCH", "channels/chatwoot", {"max_bytes": 2 * size})

    [channel] = (await admin.ok("GET", "status"))["channels"]
    assert (channel["bytes"], channel["max_bytes"], channel["dropped"]) == (size, 2 * size, 0)
    assert channel["full_percent"] == 50
    await admin.ok("PATCH", "channels/chatwoot", {"max_bytes": None})
    [channel] = (await admin.ok("GET", "status"))["channels"]
    assert channel["full_percent"] is None


@pytest.mark.parametrize("waits", [False, True])
async def test_a_channel_is_worrying_where_nothing_goes_by_itself(
    served: Served, admin: Asking, waits: bool
) -> None:
    if waits:
        await subscribe(served)
    await append(served, body=b"x" * 100)
    size = served.store.usage(served.store.catalog.channels["chatwoot"].number)
    said = []
    for limit in (size * 10 // 7, size * 10 // 9):
        await admin.ok("PATCH", "channels/chatwoot", {"max_bytes": limit})
        [channel] = (await admin.ok("GET", "status"))["channels"]
        said.append(channel["worrying"])
    assert said == [False, waits]


async def subscribe(served: Served, name: str = "ana") -> None:
    await served.store.subscribe("chatwoot", name, None, START_MS)


async def test_who_joins_a_channel_while_it_goes_is_sent_away(
    served: Served, admin: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing would ever come, and nobody would say so."""
    await served.make_channel("other")
    late, delete = FakePeer(), served.store.delete_channel

    async def delete_late(name: str) -> None:
        served.context.hub.add(late)
        await served.context.hub.join(late, Wanted("other"), "late")
        await delete(name)

    monkeypatch.setattr(served.store, "delete_channel", delete_late)
    await admin.ok("DELETE", "channels/other")
    assert late.told == ["a channel was deleted, 1"]


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
    await admin.ok("DELETE", "channels/slow")
    assert not served.context.rates._buckets


async def test_a_sender_makes_no_canary(served: Served) -> None:
    assert await Asking(served, served.token).refused("POST", "canary") == (401, "unauthorized")
