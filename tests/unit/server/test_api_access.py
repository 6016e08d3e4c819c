"""The JSON API: who may ask what, on the public port and on the host."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from relay_server.control import open_api
from relay_server.errors import InvalidValue, StoreUnavailable
from relay_server.files import SOCKET_NAME
from relay_server.listening import serve_control
from relay_server.values import Scope
from relay_server.web import api
from relay_server.web.limits import FAILURE_WINDOW_S
from relay_terminal.values import Secret
from tests.support.clock import START_MS
from tests.support.senders import handshake, request
from tests.support.stores import MemoryStore
from tests.unit.server.asking import Asking, append
from tests.unit.server.support import Served


@pytest.mark.parametrize("token", [None, "", "rly_wrong", "é", "x" * 5_000])
async def test_without_a_good_token_everything_is_401(served: Served, token: str | None) -> None:
    nobody = Asking(served, token)
    for route in [r for r in [*api.routes, *api.public_routes] if not r.for_anybody]:
        path = re.sub(r"\{.*?\}", "chatwoot", route.path).removeprefix("/")
        assert await nobody.refused(route.method, path, {}) == (401, "unauthorized"), path
        served.clock.advance(FAILURE_WINDOW_S)  # many of these within it get 429


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
    assert await ana.refused("GET", f"events/{secret}") == (404, "event_not_found")
    assert await ana.refused("DELETE", "canary/other") == (404, "channel_not_found")

    status = await admin.ok("GET", "status")
    assert [c["name"] for c in status["channels"]] == ["chatwoot", "other"]
    assert (await admin.ok("GET", f"events/{secret}"))["channel"] == "other"


async def test_only_an_administrator_administers(ana: Asking) -> None:
    for method, path in [
        ("POST", "channels"),
        ("PATCH", "channels/chatwoot"),
        ("DELETE", "channels/chatwoot"),
        ("PATCH", "channels/chatwoot/subscriptions/ana"),
        ("POST", "channels/chatwoot/subscriptions/ana/pause"),
        ("GET", "tokens"),
        ("POST", "tokens"),
        ("DELETE", "tokens/ana"),
        ("GET", "forwards"),
        ("POST", "forwards"),
        ("GET", "forwards/chatwoot/forward"),
        ("PATCH", "forwards/chatwoot/forward"),
        ("DELETE", "forwards/chatwoot/forward"),
        ("POST", "dead/discard"),
    ]:
        assert await ana.refused(method, path, {}) == (403, "forbidden"), path


async def test_a_token_of_one_channel_reaches_nothing_of_another(served: Served) -> None:
    """Whatever it asks for, the other channel might as well not be there."""
    await served.make_channel("other")
    token = await served.make_token("bo", Scope.SUBSCRIBE, channels=["chatwoot"])
    bo = Asking(served, token)
    await served.store.subscribe("other", "eve", None, START_MS)
    for method, path, body in (
        ("GET", "channels/other", None),
        ("GET", "channels/other/subscriptions/eve", None),
        ("POST", "channels/other/subscriptions/eve/resume", None),
        ("GET", "events?channel=other", None),
        ("GET", "dead?channel=other", None),
        ("GET", "replays?channel=other", None),
        ("POST", "replays", {"channel": "other", "selection": {"all": True}}),
    ):
        there = await bo(method, path, body)
        gone = await bo(method, path.replace("other", "gone"), _renamed(body))
        assert (there.status, there.json["error"]["code"]) == (404, "channel_not_found")
        assert there.body.replace(b"other", b"gone") == gone.body
    assert "other" not in json.dumps(await bo.ok("GET", "status"))


def _renamed(body: object) -> object:
    return json.loads(json.dumps(body).replace("other", "gone"))


async def test_other_ways_of_showing_a_token_are_none(served: Served, admin: Asking) -> None:
    """A browser adds cookies and passwords by itself, to requests that other pages make."""
    for target, fields in (
        ("/api/v1/whoami", [("Cookie", f"token={admin.token}")]),
        ("/api/v1/whoami", [("Authorization", f"Basic {admin.token}")]),
        ("/api/v1/whoami", [("Proxy-Authorization", f"Bearer {admin.token}")]),
        (f"/api/v1/whoami?token={admin.token}", []),
    ):
        assert (await served.send(request(target, b"", fields, method="GET"))).status == 401


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "file://"])
async def test_another_page_in_a_browser_can_read_nothing(
    served: Served, admin: Asking, origin: str
) -> None:
    """No answer names an origin that may read it, and no preflight is granted."""
    asks = [("Origin", origin), ("Access-Control-Request-Method", "DELETE")]
    for method, token, status in (("OPTIONS", None, 405), ("GET", admin.token, 200)):
        raw = request("/api/v1/channels", b"", asks, method=method, token=token)
        answer = await served.send(raw)
        assert answer.status == status
        assert not [name for name, _ in answer.headers if name.lower().startswith("access-control")]


async def test_answers_of_the_api_are_json_and_nothing_else(served: Served, admin: Asking) -> None:
    """A browser that is led there takes them for no page, whatever a sender wrote."""
    event = await append(served, kind="<script>alert(1)</script>", body=b"<script>")
    answers = [
        await admin("GET", "events"),
        await admin("GET", f"events/{event}"),
        await admin("GET", "<script>"),
        await admin("GET", "events/<script>"),
        await admin("POST", "channels", {"name": "<script>"}),
        await Asking(served, "rly_wrong")("GET", "whoami"),
        await served.send(handshake("rly_wrong")),
        await served.send(request("/nowhere", method="GET")),
    ]
    assert {answer.status for answer in answers} >= {200, 401, 404}
    for answer in answers:
        headers = {name.lower(): value for name, value in answer.headers}
        assert headers["content-type"].partition(";")[0] == "application/json"
        assert headers["x-content-type-options"] == "nosniff"


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


async def test_status_tells_an_admin_what_is_spooled_where_the_database_is_away(
    served: Served, admin: Asking, ana: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away() -> None:
        raise StoreUnavailable("no route to db1")

    monkeypatch.setattr(served.store, "channel_status", away)
    assert await admin.refused("GET", "status") == (503, "store_unavailable")
    served.store.space.spool(True, waiting=60, stuck=0, refusal="")
    said = (await admin("GET", "status")).json["error"]
    assert said["code"] == "database_away"
    assert "60 wait in this server's spool. Why it does not: no route to db1" in said["message"]
    assert await ana.refused("GET", "status") == (503, "store_unavailable")
    served.store.space.spool(True, waiting=60, stuck=0, refusal="the spool is full")
    assert await admin.refused("GET", "status") == (503, "store_unavailable")


async def test_health_is_public_and_says_no_more(served: Served) -> None:
    answer = await served.send(request("/health/live", b"", method="GET"))
    assert (answer.status, answer.json) == (200, {"status": "live"})
    for private in ("/metrics", "/health/ready"):
        assert (await served.send(request(private, b"", method="GET"))).status == 404


async def test_a_backup_is_no_matter_of_the_network(admin: Asking, tmp_path: Path) -> None:
    body = {"file": str(tmp_path / "copy.db")}
    assert await admin.refused("POST", "backup", body) == (403, "forbidden")
    assert not (tmp_path / "copy.db").exists()


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

    async def backup(_: MemoryStore, file: Path) -> list[str]:
        copied.append(file)
        return ["k1"]

    monkeypatch.setattr(MemoryStore, "backup", backup)
    async with host(served) as api:
        assert (await api.call("GET", "whoami"))["scopes"] == ["admin"]
        status = await api.call("GET", "status")
        assert status["settings"]["port"] == {"value": 8802, "source": "default"}
        assert status["connections"] == 0
        assert (await api.call("GET", f"events?channel={name}"))["events"] == []
        said = await api.call("POST", "backup", {"file": "/x/y"})
        assert said == {"file": "/x/y", "body_keys": ["k1"]}
    assert copied == [Path("/x/y")]


async def test_secrets_among_the_settings_are_masked(served: Served) -> None:
    served.context.settings = dataclasses.replace(
        served.context.settings, secret_key=Secret("FIXTUREsecret")
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
