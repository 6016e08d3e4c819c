"""How long the public port waits for what: its clock moves only when a test says so."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Sized
from pathlib import Path

import pytest

from relay_server import stopping
from relay_server.web import front, server
from tests.support.senders import Connection, chunked, connection, read_answer, request
from tests.support.waiting import settled, until
from tests.unit.server.support import Served, connections, serve_front


@pytest.fixture
async def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Served]:
    """A public port that looks at its deadlines all the time."""
    monkeypatch.setattr(front, "LOOK_S", 0.005)
    async with serve_front(tmp_path) as served:
        yield served


async def begun(served: Served, one: Connection, raw: bytes) -> front.FrontDoor:
    """Send the beginning of something, and wait until the front has read it."""
    await one.send(raw)
    await until(lambda: len(served.doors) == 1)
    [door] = served.doors
    before = door.deadline
    if raw:
        await until(lambda: door._raw or door.deadline != before or door._request.method)
    await settled()
    return door


def _came(gathered: Sized, count: int) -> bool:
    return len(gathered) == count


async def ends_at(served: Served, one: Connection, seconds: float) -> bytes:
    """Check that a connection lives until some seconds passed; returns what then came."""
    served.clock.advance(seconds - 0.01)
    await still(one, front.LOOK_S * 4)
    served.clock.advance(0.02)
    rest = await one.closed(3)
    served.clock.advance(server.LINGER_S)
    await served.all_left()
    return rest


async def still(one: Connection, seconds: float) -> None:
    """Check that nothing comes for as long as deadlines are looked at a few times."""
    with pytest.raises(TimeoutError):
        await one.closed(seconds)


async def test_the_bounds_are_those_that_are_promised() -> None:
    assert server.HEADER_DEADLINE_S == 5
    assert front.BODY_DEADLINE_S == 10
    assert front.STORE_DEADLINE_S + 0.25 <= 2.5
    assert stopping.DRAIN_S == 10
    assert stopping.LAST_WEBHOOK_S + 2 * server.SHUTDOWN_S > 20 > stopping.LAST_WEBHOOK_S


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
        assert await ends_at(served, one, server.HEADER_DEADLINE_S) == b""


async def test_a_slow_head_gets_no_more_time(served: Served) -> None:
    async with connection(served.port) as one:
        door = await begun(served, one, b"POST /webhook HTTP/1.1\r\n")
        deadline = door.deadline
        for number in range(4):
            served.clock.advance(1)
            await one.send(b"X-%d: y\r\n" % number)
            await until(functools.partial(_came, door._raw, number + 2))
        assert door.deadline == deadline
        assert await ends_at(served, one, server.HEADER_DEADLINE_S - 4) == b""


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
            await until(functools.partial(_came, door._request.body, number + 1))
        answer = await ends_at(served, one, front.BODY_DEADLINE_S - 9)
    assert answer.startswith(b"HTTP/1.1 408 ")


async def test_an_idle_connection(served: Served) -> None:
    async with connection(served.port) as one:
        assert (await one.exchange(request(token=served.token))).status == 200
        assert await ends_at(served, one, server.KEEPALIVE_S) == b""


async def test_an_idle_connection_that_begins_again(served: Served) -> None:
    async with connection(served.port) as one:
        assert (await one.exchange(request(token=served.token))).status == 200
        served.clock.advance(server.KEEPALIVE_S - 1)
        await begun(served, one, b"POST")
        assert await ends_at(served, one, server.HEADER_DEADLINE_S) == b""


async def test_a_store_that_is_slow(served: Served) -> None:
    served.store.gate.clear()
    async with connection(served.port) as one:
        await one.send(request(token=served.token))
        await until(lambda: served.store.waiting)
        answer = await ends_at(served, one, front.STORE_DEADLINE_S)
    served.store.gate.set()

    assert answer.startswith(b"HTTP/1.1 429 ")
    assert b"\r\nRetry-After: 3\r\n" in answer
    assert served.metric("relay_webhooks_total", channel="chatwoot", answer="429") == 1
    assert served.metric("relay_answer_seconds_count") == 1


async def test_what_is_refused_is_read_for_a_while(served: Served) -> None:
    async with connection(served.port) as one:
        await one.send(request(body=b"x" * 1_000, length=10_000, token="rly_wrong"))
        assert (await read_answer(one.reader)).status == 401
        [door] = served.doors
        await one.send(b"x" * 1_000)
        await settled()
        assert not door._request.body
        served.clock.advance(server.LINGER_S)
        await served.all_left()


async def test_500_unfinished_connections_are_let_go(served: Served) -> None:
    """Each of them has its own deadline, and meanwhile others are answered."""
    whole = request(token=served.token)
    head = b"POST /webhook HTTP/1.1\r\nHost: x"
    body = request(body=b"{", length=9, token=served.token)
    async with connections(served.port, 500) as many:
        for number, one in enumerate(many):
            await one.send(head if number % 2 else body)
        await until(lambda: len(served.doors) == 500)
        assert (await served.send(whole)).status == 200
        await until(lambda: len(served.doors) == 500)

        served.clock.advance(server.HEADER_DEADLINE_S)
        await until(lambda: len(served.doors) == 250)
        assert (await served.send(whole)).status == 200
        served.clock.advance(front.BODY_DEADLINE_S - server.HEADER_DEADLINE_S)
        answers = [await one.closed(3) for one in many[::2]]
        served.clock.advance(server.LINGER_S)
        await served.all_left()

    assert all(answer.startswith(b"HTTP/1.1 408 ") for answer in answers)
    assert await served.bodies() == [b"{}", b"{}"]


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
        assert await ends_at(served, one, server.HEADER_DEADLINE_S) == b""
