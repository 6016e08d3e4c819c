"""Too much of something, on the public port: rates, wrong tokens, connections, API requests."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from relay_server import stopping
from relay_server.configs import HmacAuth
from relay_server.values import Scope
from relay_server.web import server
from relay_server.web.limits import FAILURE_WINDOW_S, FAILURES
from tests.support.chatwoot import webhook
from tests.support.senders import Answer, Connection, connection, handshake, request
from tests.support.waiting import until
from tests.unit.server.support import Served, connections, serve_front

WRONG = "rly_wrong"
PROXIES = ("127.0.0.0/8",)


def facts(answer: Answer) -> tuple[int, str, str | None]:
    """Status, code, Retry-After."""
    return answer.status, answer.json["error"]["code"], dict(answer.headers).get("Retry-After")


@pytest.fixture
async def proxied(tmp_path: Path) -> AsyncIterator[Served]:
    """A public port that believes what a proxy on this host says."""
    async with serve_front(tmp_path, trusted_proxies=PROXIES) as served:
        yield served


# Rates.


async def test_a_rate_refuses_what_comes_too_fast_on_any_channel(served: Served) -> None:
    await served.make_channel("other", rate_per_s=1.0)
    await served.configure(rate_per_s=1.0)
    with capture_logs() as logs:
        for path in ("/webhook", "/c/other/x"):
            raw = request(path, token=served.token)
            assert [(await served.send(raw)).status for _ in range(2)] == [200, 200]
            for _ in range(5):
                assert facts(await served.send(raw)) == (429, "rate_limited", "1")
    lines = [e for e in logs if e["event"] == "rate of a channel exceeded"]
    assert [line["channel"] for line in lines] == ["chatwoot", "other"], "one each, not a line each"
    assert len(await served.bodies()) == 2
    assert served.metric("relay_limited_total", limit="rate") == 10
    served.clock.advance(1.0)
    assert (await served.send(request(token=served.token))).status == 200
    assert (await served.send(request(token=served.token))).status == 429


async def test_without_a_rate_any_number_is_taken(served: Served) -> None:
    async with connection(served.port) as one:
        for _ in range(200):
            assert (await one.exchange(request(token=served.token))).status == 200


async def test_who_is_not_let_in_uses_up_no_rate(served: Served) -> None:
    secret = served.context.sealer.seal(b"s" * 20)
    await served.configure(rate_per_s=0.5, hmac=HmacAuth("chatwoot", (secret,), log_only=False))
    for raw in (request(token=WRONG), request(token=served.token), webhook("/webhook", b"{}", [])):
        assert (await served.send(raw)).status in (400, 401)
    assert len(served.context.rates) == 0


# Wrong tokens.


def wrong_ones(token: str) -> dict[str, bytes]:
    """A request with a wrong token to each thing that asks for one."""
    return {
        "webhook": request(token=token),
        "unknown channel": request("/c/unknown/x", token=token),
        "API": request("/api/v1/whoami", b"", method="GET", token=token),
        "WebSocket": handshake(token),
    }


async def fail(served: Served, count: int = FAILURES) -> None:
    raws = list(wrong_ones(WRONG).values())
    for n in range(count):
        assert facts(await served.send(raws[n % len(raws)])) == (401, "unauthorized", None)


async def test_after_twenty_failures_wrong_ones_are_told_to_stay_away(served: Served) -> None:
    await fail(served)
    with capture_logs() as logs:
        answers = {name: await served.send(raw) for name, raw in wrong_ones(WRONG).items()}
        answers["none"] = await served.send(request())
    for name, answer in answers.items():
        assert facts(answer) == (429, "too_many_failures", "60"), name
    assert len({answer.body for answer in answers.values()}) == 1
    assert [e["event"] for e in logs] == ["too many failures"], "one line for all of them"
    assert served.metric("relay_limited_total", limit="failures") == 5
    served.clock.advance(FAILURE_WINDOW_S)
    await fail(served)


async def test_a_good_token_is_let_in_at_once_from_the_same_address(served: Served) -> None:
    reader = await served.make_token("ana", Scope.SUBSCRIBE)
    await fail(served)
    assert (await served.send(request(token=WRONG))).status == 429
    assert (await served.send(request(token=served.token))).status == 200
    whoami = request("/api/v1/whoami", b"", method="GET", token=reader)
    assert (await served.send(whoami)).status == 200
    async with connection(served.port) as one:
        assert (await one.exchange(handshake(reader))).status == 101


async def test_wrong_signatures_count_like_wrong_tokens(served: Served) -> None:
    secret = served.context.sealer.seal(b"s" * 20)
    await served.configure(hmac=HmacAuth("chatwoot", (secret,), log_only=False))
    for _ in range(FAILURES):
        assert (await served.send(request(token=served.token))).status == 401
    assert facts(await served.send(request(token=served.token))) == (429, "too_many_failures", "60")
    assert facts(await served.send(request(token=WRONG))) == (429, "too_many_failures", "60")


async def test_addresses_are_told_apart_behind_a_known_proxy_alone(proxied: Served) -> None:
    def as_from(address: str, raw: bytes) -> bytes:
        return raw.replace(b"\r\n\r\n", f"\r\nX-Forwarded-For: {address}\r\n\r\n".encode(), 1)

    raws = list(wrong_ones(WRONG).values())
    for n in range(FAILURES):
        raw = as_from(f"2001:db8::{n:x}", raws[n % len(raws)])
        assert (await proxied.send(raw)).status == 401
    for raw in raws:
        assert (await proxied.send(as_from("2001:db8::ffff", raw))).status == 429
        assert (await proxied.send(as_from("2001:db8:0:1::1", raw))).status == 401
        assert (await proxied.send(as_from("x, 203.0.113.9", raw))).status == 401


async def test_what_a_stranger_says_of_its_address_is_not_believed(served: Served) -> None:
    raws = [
        request(token=WRONG, headers=[("X-Forwarded-For", f"203.0.113.{n}")])
        for n in range(FAILURES + 1)
    ]
    assert [(await served.send(raw)).status for raw in raws] == [401] * FAILURES + [429]


# Connections.


async def test_one_address_has_so_many_connections_and_no_more(tmp_path: Path) -> None:
    async with serve_front(tmp_path, max_connections_per_address=3) as served:
        with capture_logs() as logs:
            async with connections(served.port, 3) as open_ones:
                await until(lambda: len(served.doors) == 3)
                for _ in range(5):
                    async with connection(served.port) as one:
                        assert await one.closed(3) == b""
                answer = await open_ones[0].exchange(request(token=served.token))
                assert answer.status == 200
            await until(lambda: served.front.connections.open == 0)
        assert (await served.send(request(token=served.token))).status == 200
    assert [e["limit"] for e in logs if e["event"] == "too many connections"] == [
        "connections_per_address"
    ]
    assert served.metric("relay_limited_total", limit="connections_per_address") == 5


async def test_all_have_so_many_connections_proxies_too(tmp_path: Path) -> None:
    async with (
        serve_front(
            tmp_path, trusted_proxies=PROXIES, max_connections=3, max_connections_per_address=1
        ) as served,
        connections(served.port, 3),
    ):
        await until(lambda: len(served.doors) == 3)
        async with connection(served.port) as one:
            assert await one.closed(3) == b""
        assert served.metric("relay_limited_total", limit="connections") == 1


async def test_a_connection_that_was_handed_over_counts_until_it_is_lost(tmp_path: Path) -> None:
    async with serve_front(tmp_path, max_connections_per_address=2) as served:
        token = await served.make_token("ana", Scope.SUBSCRIBE)
        async with connection(served.port) as tunnel:
            assert (await tunnel.exchange(handshake(token))).status == 101
            assert (len(served.doors), served.front.connections.open) == (0, 1)
            live = request("/health/live", b"", method="GET")
            for _ in range(5):
                assert (await served.send(live)).status == 200
                await until(lambda: served.front.connections.open == 1)
            async with connection(served.port), connection(served.port) as third:
                assert await third.closed(3) == b""
        await until(lambda: served.front.connections.open == 0)
        assert len(served.front.connections) == 0


# API requests.


async def test_so_many_api_requests_are_answered_at_once(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "MAX_API_REQUESTS", 2)
    root = await served.make_token("root", Scope.ADMIN)
    slow = request("/api/v1/tokens", b"", length=10, token=root)
    whoami = request("/api/v1/whoami", b"", method="GET", token=root)
    async with connections(served.port, 2) as held:
        for one in held:
            await one.send(slow)
        await until(lambda: served.context.api_requests == 2)
        assert facts(await served.send(whoami)) == (503, "busy", "1")
        async with connection(served.port) as tunnel:
            assert (await tunnel.exchange(handshake(root))).status == 101
        assert (await served.send(request(token=served.token))).status == 200
    await until(lambda: served.context.api_requests == 0)
    assert (await served.send(whoami)).status == 200
    assert served.metric("relay_limited_total", limit="requests") == 1


# While it stops.


async def test_answers_end_their_connections_while_it_stops(served: Served) -> None:
    async with connection(served.port) as kept:
        raw = request(token=served.token)
        assert "Connection" not in dict((await kept.exchange(raw)).headers)
        served.context.stopping = True
        answer = await kept.exchange(raw)
        assert (answer.status, dict(answer.headers)["Connection"]) == (200, "close")
        assert await kept.closed(3) == b""
    assert (await served.send(raw)).status == 200, "it still takes what comes"


async def test_who_waits_to_be_accepted_is_taken_before_the_port_is_closed(served: Served) -> None:
    """Closing a port resets whoever the kernel has accepted and the server has not."""
    server = await asyncio.get_running_loop().create_server(
        served.front, "127.0.0.1", 0, backlog=1_024
    )
    port = server.sockets[0].getsockname()[1]
    waiting = [socket.create_connection(("127.0.0.1", port)) for _ in range(300)]
    await stopping._stop_listening(server)

    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))
    for one in waiting:
        reader, writer = await asyncio.open_connection(sock=one)
        answer = await Connection(reader, writer).exchange(request(token=served.token))
        assert answer.status == 200
        writer.transport.abort()
