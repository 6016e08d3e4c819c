"""Kept connections: used again soon, last one first, and closed when they idle."""

from __future__ import annotations

import asyncio
import socket

import pytest

from relay_http import pool as pool_module
from relay_http.connection import Connection
from relay_http.pool import Pool
from relay_http.target import Target
from tests.support.raw_target import raw_target
from tests.support.waiting import until


async def open_some(pool: Pool, count: int) -> list[Connection]:
    """As many new connections."""
    return [await pool.connect() for _ in range(count)]


async def test_the_connection_used_last_is_used_next() -> None:
    """So that the others can idle and go."""
    async with raw_target() as server:
        pool = Pool(server.target, 8)
        first, second = await open_some(pool, 2)
        pool.give_back(first)
        pool.give_back(second)

        assert pool.take() is second
        assert pool.take() is first
        assert pool.take() is None
        pool.close()


async def test_no_more_are_kept_than_wanted() -> None:
    """The rest is closed."""
    async with raw_target() as server:
        pool = Pool(server.target, 2)
        connections = await open_some(pool, 3)
        for connection in connections:
            pool.give_back(connection)

        assert [connection.is_open for connection in connections] == [True, True, False]
        pool.close()
        assert not any(connection.is_open for connection in connections)


async def test_an_idle_connection_is_closed_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that was given back later stays longer."""
    monkeypatch.setattr(pool_module, "_IDLE_S", 0.2)
    loop = asyncio.get_running_loop()
    async with raw_target() as server:
        pool = Pool(server.target, 8)
        first, second = await open_some(pool, 2)
        pool.give_back(first)
        await asyncio.sleep(0.1)
        given_back = loop.time()
        pool.give_back(second)

        await until(lambda: not first.is_open)
        await until(lambda: not second.is_open)
        assert loop.time() - given_back > 0.15
        assert pool.take() is None


async def test_a_connection_in_use_is_not_swept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only those that nobody took."""
    monkeypatch.setattr(pool_module, "_IDLE_S", 0.05)
    async with raw_target() as server:
        pool = Pool(server.target, 8)
        taken, idle = await open_some(pool, 2)
        pool.give_back(taken)
        assert pool.take() is taken
        pool.give_back(idle)

        await until(lambda: not idle.is_open)
        assert taken.is_open
        taken.close()


async def test_a_connection_that_the_target_closed_is_not_given() -> None:
    """It is known before anything is sent."""
    writers: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(lambda _, writer: writers.append(writer), "127.0.0.1", 0)
    async with server:
        pool = Pool(Target("127.0.0.1", server.sockets[0].getsockname()[1]), 8)
        connection = await pool.connect()
        pool.give_back(connection)
        await until(lambda: writers)
        writers[0].close()
        await until(lambda: not connection.is_open)

        assert pool.take() is None
        pool.close()


async def test_a_connection_that_may_not_be_used_again_is_closed() -> None:
    """Whoever made the pool says so, and the next one that may is given."""
    async with raw_target() as server:
        good: list[Connection] = []
        pool = Pool(server.target, 8, usable=lambda connection: connection in good)
        first, second = await open_some(pool, 2)
        good.append(first)
        pool.give_back(first)
        pool.give_back(second)

        assert pool.take() is first
        assert not second.is_open
        first.close()


async def test_it_is_known_where_a_connection_leads_and_since_when() -> None:
    """As the socket says it."""
    async with raw_target() as server:
        before = asyncio.get_running_loop().time()
        connection = await Pool(server.target, 8).connect()

        assert connection.peer == "127.0.0.1"
        assert before <= connection.opened_at <= asyncio.get_running_loop().time()
        connection.close()


async def test_a_closed_pool_keeps_nothing() -> None:
    """What comes back afterwards is closed at once."""
    async with raw_target() as server:
        pool = Pool(server.target, 8)
        connection = await pool.connect()
        pool.close()
        pool.give_back(connection)

        assert not connection.is_open


async def test_small_requests_are_not_held_back() -> None:
    """Nagle's algorithm would wait 40 ms for more."""
    async with raw_target() as server:
        pool = Pool(server.target, 8)
        connection = await pool.connect()
        raw = connection._transport.get_extra_info("socket")

        assert raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        connection.close()


@pytest.mark.parametrize("host", ["nowhere.invalid", "a..b", "x" * 64])
async def test_a_name_that_leads_nowhere_is_an_os_error(host: str) -> None:
    """Whatever the resolver calls it."""
    with pytest.raises(OSError):  # noqa: PT011 - whichever of them
        await Pool(Target(host, 8000), 8).connect()
