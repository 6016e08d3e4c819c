"""The public port's limits: how long it waits for what, and how much it takes of whom.

Its clock moves only when a test says so.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from relay_server import stopping
from relay_server.configs import HmacAuth
from relay_server.values import Scope
from relay_server.web import api, front, server
from relay_server.web.limits import FAILURE_WINDOW_S, FAILURES
from relay_server.web.server import HEADER_DEADLINE_S, KEEPALIVE_S, LINGER_S
from tests.support.chatwoot import webhook
from tests.support.senders import (
    Answer,
    Connection,
    chunked,
    connection,
    handshake,
    read_answer,
    request,
)
from tests.support.waiting import settled, until
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
    assert not served.context.rates._buckets


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
    lines = [e["event"] for e in logs if e["event"] != "webhook refused"]
    assert lines == ["too many failures"], "one line for all of them"
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
                        assert await one.closed() == b""
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
            assert await one.closed() == b""
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
                assert await third.closed() == b""
        await until(lambda: served.front.connections.open == 0)
        assert not served.front.connections._by_group


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


# Deadlines.


@pytest.fixture(autouse=True)
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """The public port looks at its deadlines all the time."""
    monkeypatch.setattr(front, "LOOK_S", 0.005)


def test_the_bounds_are_those_that_are_promised() -> None:
    assert HEADER_DEADLINE_S == 5
    assert front.BODY_DEADLINE_S == 10
    assert front.STORE_DEADLINE_S + 0.25 <= 2.5
    assert stopping.DRAIN_S == 10
    assert stopping.LAST_WEBHOOK_S + 2 * server.SHUTDOWN_S > 20 > stopping.LAST_WEBHOOK_S


async def begun(served: Served, one: Connection, raw: bytes) -> front.FrontDoor:
    """Send the beginning of something, and wait until the front has read it."""
    await one.send(raw)
    await until(lambda: len(served.doors) == 1)
    [door] = served.doors
    before = door.deadline
    if raw:
        await until(lambda: door._request.raw or door.deadline != before or door._request.method)
    await settled()
    return door


def _came(door: front.FrontDoor, count: int) -> bool:
    return len(door._request.body) == count


def _raws(door: front.FrontDoor, count: int) -> bool:
    return len(door._request.raw) == count


async def ends_at(served: Served, one: Connection, seconds: float) -> bytes:
    """Check that a connection lives until some seconds passed; returns what then came."""
    served.clock.advance(seconds - 0.01)
    await still(one, front.LOOK_S * 4)
    served.clock.advance(0.02)
    rest = await one.closed()
    served.clock.advance(LINGER_S)
    await served.all_left()
    return rest


async def still(one: Connection, seconds: float) -> None:
    """Check that nothing comes for as long as deadlines are looked at a few times."""
    with pytest.raises(TimeoutError):
        await one.closed(seconds)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\r\n",
        b"POST /web",
        b"POST /webhook HTTP/1.1\r\nHost: relay\r\n",
        b"GET /api/v1/whoami HTTP/1.1\r\nHost: relay\r\n",
    ],
)
async def test_a_head_that_does_not_end(served: Served, raw: bytes) -> None:
    async with connection(served.port) as one:
        await begun(served, one, raw)
        assert await ends_at(served, one, HEADER_DEADLINE_S) == b""


async def test_a_slow_head_gets_no_more_time(served: Served) -> None:
    async with connection(served.port) as one:
        door = await begun(served, one, b"POST /webhook HTTP/1.1\r\n")
        deadline = door.deadline
        for number in range(4):
            served.clock.advance(1)
            await one.send(b"X-%d: y\r\n" % number)
            await until(functools.partial(_raws, door, number + 2))
        assert door.deadline == deadline
        assert await ends_at(served, one, HEADER_DEADLINE_S - 4) == b""


@pytest.mark.parametrize("form", ["length", "chunked", "nothing", "continue"])
async def test_a_body_that_does_not_end(served: Served, form: str) -> None:
    expect = [("Expect", "100-continue")]
    raw = {
        "length": request(body=b"half", length=8, token=served.token),
        "chunked": chunked([b"half"], "/webhook", served.token).removesuffix(b"0\r\n\r\n"),
        "nothing": request(body=b"", length=8, token=served.token),
        "continue": request(body=b"", length=8, headers=expect, token=served.token),
    }[form]
    async with connection(served.port) as one:
        await begun(served, one, raw)
        if form == "continue":
            await one.reader.readuntil(b"\r\n\r\n")
        answer = await ends_at(served, one, front.BODY_DEADLINE_S)

    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'"code":"body_timeout"' in answer
    assert await served.events() == []


async def test_a_slow_body_gets_no_more_time(served: Served) -> None:
    async with connection(served.port) as one:
        door = await begun(served, one, request(body=b"", length=100, token=served.token))
        for number in range(9):
            served.clock.advance(1)
            await one.send(b"x")
            await until(functools.partial(_came, door, number + 1))
        answer = await ends_at(served, one, front.BODY_DEADLINE_S - 9)
    assert answer.startswith(b"HTTP/1.1 408 ")


async def test_an_idle_connection(served: Served) -> None:
    async with connection(served.port) as one:
        assert (await one.exchange(request(token=served.token))).status == 200
        assert await ends_at(served, one, KEEPALIVE_S) == b""


async def test_an_idle_connection_that_begins_again(served: Served) -> None:
    async with connection(served.port) as one:
        assert (await one.exchange(request(token=served.token))).status == 200
        served.clock.advance(KEEPALIVE_S - 1)
        await begun(served, one, b"POST")
        assert await ends_at(served, one, HEADER_DEADLINE_S) == b""


async def test_a_slow_store_gets_a_retry_and_a_repeat_is_known(served: Served) -> None:
    raw = request(headers=[("X-Chatwoot-Delivery", "d-1")], token=served.token)
    served.store.gate.clear()
    async with connection(served.port) as one:
        await one.send(raw)
        await until(lambda: served.store.waiting)
        answer = await ends_at(served, one, front.STORE_DEADLINE_S)

    assert answer.startswith(b"HTTP/1.1 429 ")
    assert b"\r\nRetry-After: 3\r\n" in answer
    assert b'"code":"store_timeout"' in answer
    assert served.metric("relay_webhooks_total", channel="chatwoot", answer="429") == 1
    assert served.metric("relay_answer_seconds_count") == 1
    served.store.gate.set()
    await until(lambda: not served.store.waiting)
    await settled()
    again = await served.send(raw)
    [event] = await served.events()
    assert again.json == {"id": event.head.id}


async def test_what_is_refused_is_read_for_a_while(served: Served) -> None:
    async with connection(served.port) as one:
        await one.send(request(body=b"x" * 1_000, length=10_000, token="rly_wrong"))
        assert (await read_answer(one.reader)).status == 401
        [door] = served.doors
        await one.send(b"x" * 1_000)
        await settled()
        assert not door._request.body
        served.clock.advance(LINGER_S)
        await served.all_left()


async def test_a_connection_that_is_lost_meanwhile_stops_no_deadline(served: Served) -> None:
    """The one that looks at deadlines meets connections that are gone already."""
    async with connections(served.port, 20) as many:
        for one in many:
            await one.send(request(body=b"half", length=8, token=served.token))
        await until(lambda: len(served.doors) == 20)
        for door in list(served.doors):
            door._transport.abort()
            door.expire()
        await served.all_left()
    async with connection(served.port) as one:
        await begun(served, one, b"POST")
        assert await ends_at(served, one, HEADER_DEADLINE_S) == b""


async def test_few_requests_with_an_events_body_are_read_at_once(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "MAX_EVENT_REQUESTS", 2)
    root = await served.make_token("root", Scope.ADMIN)
    slow = request("/api/v1/events", b"", length=1_000_000, token=root)
    async with connections(served.port, 2) as held:
        for one in held:
            await one.send(slow)
        await until(lambda: served.context.event_requests == 2)
        asked = request("/api/v1/events", b"{}", token=root)
        assert facts(await served.send(asked)) == (503, "busy", "1")
        stranger = request("/api/v1/events", b"{}", token="rly_unknown")
        assert (await served.send(stranger)).status == 401
        whoami = request("/api/v1/whoami", b"", method="GET", token=root)
        assert (await served.send(whoami)).status == 200
    await until(lambda: served.context.event_requests == 0)
    assert (await served.send(asked)).status == 422
