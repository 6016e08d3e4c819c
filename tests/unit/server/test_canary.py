"""The webhook that the server sends itself: it goes their way, and says where it ended."""

from __future__ import annotations

import asyncio
import json
import ssl
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock

import msgspec
import pytest
from aiohttp import web
from structlog.testing import capture_logs

from relay_server import canary
from relay_server.canary import NAME, Canary, own_port
from relay_server.configs import HmacAuth
from relay_server.errors import InvalidValue, StoreFull, StoreUnavailable
from relay_server.listening import ops_app
from relay_server.operations import Caller
from relay_server.operations.channels import CANARY_LIFETIME_MS, delete_forgotten_canaries
from relay_server.operations.trial import STEPS, try_channel
from relay_server.signing import SCHEMES
from relay_server.values import Scope
from relay_server.web.server import BoundedRunner
from tests.support.certificates import make_certificate
from tests.support.relay import open_relay
from tests.support.senders import exchange, request
from tests.support.waiting import until, until_true
from tests.unit.server.asking import Asking
from tests.unit.server.support import Served, serve_front


def made(served: Served) -> Canary:
    """The canary of a server."""
    context = served.context
    parts = served.store, context.hub, served.clock, context.metrics
    context.canary = Canary(*parts, every_s=60)
    return context.canary


async def failure(served: Served, one: Canary, tls: ssl.SSLContext | None = None) -> str:
    """Send one: where it ended before its way's end."""
    return (await one.round(("127.0.0.1", served.port), tls)).failure


async def test_it_is_delivered_each_time_and_seen_by_nobody(
    served: Served, admin: Asking, ana: Asking
) -> None:
    one = made(served)
    for _ in range(3):
        assert await failure(served, one) == ""
    assert len(await served.bodies(NAME)) == 3
    assert served.metric("relay_webhooks_total", channel="canary", answer="200") == 3
    for path in ("channels", "tokens", "status"):
        assert "canary-" not in json.dumps(await admin.ok("GET", path))
    for who in (ana, Asking(served, await served.make_token("canary", Scope.SUBSCRIBE))):
        assert await who.refused("GET", f"channels/{NAME}") == (404, "channel_not_found")


async def fails_late(served: Served, one: Canary, why: str) -> None:
    """Send some until one is late with that step: on a busy machine it may be with one before."""
    late = f"within {canary.DEADLINE_S:g} s"
    while (found := await failure(served, one)) != f"{why} {late}":
        assert found.endswith(late), found


async def test_what_is_wrong_is_named(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """And it is well again by itself."""
    one = made(served)
    assert await failure(served, one) == ""

    served.store.error = StoreFull("the disk is full")
    assert await failure(served, one) == "it was refused: the disk is full (503)"
    served.store.error = None
    refused = await one.round(("127.0.0.1", 1), None)
    assert refused.failure.startswith("it was not answered: ")

    with monkeypatch.context() as hurried:
        hurried.setattr(canary, "DEADLINE_S", 0.3)
        served.store.gate.clear()
        await fails_late(served, one, "it was not answered")
        served.store.gate.set()

        [reads] = await served.store.subscriptions(NAME)

        async def pause(why: str) -> None:
            await served.store.change_subscription(
                reads.number, lambda config: msgspec.structs.replace(config, paused=why)
            )

        await pause("by hand")
        await fails_late(served, one, "it was stored, and not delivered")
        await pause("")

        hurried.setattr(served.store, "record", lambda *_: None)
        await fails_late(served, one, "it was delivered, and the store has no result of it")
    assert await failure(served, one) == ""


async def test_it_is_well_again_after_it_could_not_be_read(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it would post for ever what nobody reads."""
    one = made(served)
    with monkeypatch.context() as patched:
        patched.setattr(served.store, "claim", AsyncMock(side_effect=StoreFull("no room")))
        assert await failure(served, one) == "the canary channel was not made: no room"
    assert await failure(served, one) == ""


async def test_what_somebody_deleted_is_made_anew(served: Served) -> None:
    one = made(served)
    assert await failure(served, one) == ""
    await served.store.delete_channel(NAME)
    assert await failure(served, one) == ""


async def test_its_channel_goes_once_it_is_switched_off(served: Served) -> None:
    one = made(served)
    await failure(served, one)
    served.clock.advance(CANARY_LIFETIME_MS / 1_000 + 1)
    await delete_forgotten_canaries(served.context)
    assert await failure(served, one) == ""
    assert len(await served.bodies(NAME)) == 2, "it was not made anew"

    served.context.canary = None
    await delete_forgotten_canaries(served.context)
    assert NAME not in served.store.catalog.channels


async def test_it_crosses_a_port_that_speaks_tls(tmp_path: Path) -> None:
    files = make_certificate(tmp_path)
    certificate = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificate.load_cert_chain(files.cert, files.key)
    async with serve_front(tmp_path, certificate) as served:
        one = made(served)
        rounds = one.run(own_port([("0.0.0.0", served.port)], secure=True), stopping=lambda: False)
        running = asyncio.create_task(rounds)
        await until(lambda: one.last)
        running.cancel()
        assert one.last is not None
        assert one.last.failure == ""


async def test_how_it_went_is_in_readiness_metrics_status_and_log(
    served: Served, admin: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, one = served.context, made(served)
    monkeypatch.setattr(one, "_every_s", 0.01)
    context.listening = True
    runner = BoundedRunner(ops_app(context))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]

    async def readiness() -> dict[str, Any]:
        answer = await exchange(port, request("/health/ready", b"", method="GET"))
        assert answer.status == 200, "a failing canary makes nothing unready"
        return dict(answer.json["canary"])

    assert (await readiness())["ok"] is None
    with capture_logs() as logs:
        at = ("127.0.0.1", served.port), None
        running = asyncio.create_task(one.run(at, stopping=lambda: False))
        await until(lambda: served.metric("relay_canary_ok") == 1)
        served.store.error = StoreFull("the disk is full")
        await until(lambda: served.metric("relay_canaries_total", result="failed") >= 2)
        failing, status = await readiness(), await admin.ok("GET", "status")
        served.store.error = None
        await until(lambda: served.metric("relay_canary_ok") == 1)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    await runner.cleanup()

    assert failing["failure"] == "it was refused: the disk is full (503)"
    assert (status["canary"]["ok"], status["canary"]["age_s"]) == (False, 0)
    assert [line["event"] for line in logs if "canary" in line["event"]] == [
        "the canary failed",
        "the canary is well again",
    ]


async def test_a_server_that_is_set_so_sends_them(tmp_path: Path) -> None:
    async with open_relay(tmp_path, canary_s="1") as relay:

        async def is_well() -> bool:
            return "relay_canary_ok 1.0" in await relay.metrics()

        await until_true(is_well)
        _, output, _ = relay.command("status")
        assert "The canary was delivered in " in output
        await relay.control("DELETE", f"channels/{NAME}")
        assert await relay.backlog() == 0


async def test_a_channel_is_tried_by_its_rules_and_nothing_is_left(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, secret = served.context, served.context.sealer.seal(b"secret")
    await served.configure(hmac=HmacAuth("chatwoot", (secret,)), allow_from=("192.0.2.1/32",))
    context.own_port = ("127.0.0.1", served.port), None
    who = Caller(context)
    before = [*served.store.catalog.channels], [*served.store.catalog.tokens]
    tried = await try_channel(who, "chatwoot")
    assert (tried.failure, tried.done, tried.signed) == ("", [*STEPS], True)

    served.store.error = StoreFull("the disk is full")
    tried = await try_channel(who, "chatwoot")
    assert (tried.failure, tried.done) == ("it was refused: the disk is full (429)", ["made"])
    served.store.error = None
    assert before == ([*served.store.catalog.channels], [*served.store.catalog.tokens])
    assert await served.bodies() == []

    away = AsyncMock(side_effect=StoreUnavailable("the database is away"))
    for what in ("create_channel", "delete_channel"):
        monkeypatch.setattr(served.store, what, away)
    tried = await try_channel(who, "chatwoot")
    assert tried.failure == "the canary channel was not made: the database is away"

    async with context.making_canary:
        with pytest.raises(InvalidValue, match="another test"):
            await try_channel(who, "chatwoot")


async def test_the_api_tries_a_channel_for_administrators(
    served: Served, admin: Asking, ana: Asking
) -> None:
    served.context.own_port = ("127.0.0.1", served.port), None
    tried = await admin.ok("POST", "channels/chatwoot/test")
    assert tried | {"took_ms": 0} == {
        "channel": "chatwoot",
        "done": [*STEPS],
        "failure": "",
        "took_ms": 0,
        "signed": False,
    }
    assert await ana.refused("POST", "channels/chatwoot/test") == (403, "forbidden")
    assert await admin.refused("POST", "channels/none/test") == (404, "channel_not_found")
    assert await served.bodies() == []


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_a_try_is_signed_as_each_sender_signs(scheme: str, served: Served) -> None:
    await served.configure(hmac=HmacAuth(scheme, (served.context.sealer.seal(b"c2VjcmV0"),)))
    served.context.own_port = ("127.0.0.1", served.port), None
    tried = await try_channel(Caller(served.context), "chatwoot")
    assert (tried.failure, tried.done) == ("", [*STEPS])
