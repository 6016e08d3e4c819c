"""What bodies that are large or never end cost others, and what a server weighs."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.chatwoot import message, spoken
from tests.support.relay import Relay, open_relay, running
from tests.support.senders import Connection, chunked, connection, request
from tests.support.target import Target
from tests.support.waiting import until

MIB = 1_048_576
SERVER_MIB = 80  # at most, while nothing happens


async def test_an_idle_server_is_small(tmp_path: Path, target: Target) -> None:
    relay = Relay(tmp_path)
    relay.server_prefix = ["env"]  # a fork has more imported than it needs
    async with running(relay):
        await relay.connect(await relay.make_token("ana", "subscribe"), "--to", target.address)
        await relay.send(message(relay.send_token, 1, 1))
        await target.received(1)

        assert relay.server.resident_mib() <= SERVER_MIB


@contextlib.asynccontextmanager
async def unfinished(port: int, raw: bytes, count: int) -> AsyncIterator[list[Connection]]:
    """Connections on which only the beginning of a request was sent."""
    async with contextlib.AsyncExitStack() as stack:
        opened = [await stack.enter_async_context(connection(port)) for _ in range(count)]
        for one in opened:
            await one.send(raw)
        yield opened


async def test_500_unfinished_connections_do_not_slow_others(relay: Relay) -> None:
    """By the quickest of many answers: the others were slowed by whatever else the machine does."""
    token = relay.send_token
    begun = request(body=b"{", length=1_000, token=token)

    async def quickest_ms() -> float:
        times = []
        for number in range(80):
            began = time.perf_counter()
            assert (await relay.send(message(token, 1, number))).status == 200
            times.append((time.perf_counter() - began) * 1000)
        return min(times)

    alone = await quickest_ms()
    async with (
        unfinished(relay.port, begun, 250) as bodies,
        unfinished(relay.port, b"POST /webhook HTTP/1.1\r\nHost: x", 250) as heads,
    ):
        crowded = await quickest_ms()
        assert len(bodies) + len(heads) == 500
        assert all(not one.reader.at_eof() for one in bodies), "they were open all the time"

    assert crowded < 2 * alone + 1, (alone, crowded)


@pytest.mark.slow
async def test_refused_and_unfinished_bodies_cost_no_memory(relay: Relay) -> None:
    """Deadlines are the real ones here: the process is the real one, so that its size means it."""
    token, part = relay.send_token, bytes(900_000)
    for _ in range(4):
        await relay.send(request(body=part, token=token))
    before = relay.server.resident_mib()

    for _ in range(40):
        raw = chunked([bytes(65_536)] * 64, "/webhook", token)
        assert (await relay.send(raw)).status == 413
    foreign = request(body=part, length=MIB, token="rly_wrong")
    async with unfinished(relay.port, foreign, 60):
        assert relay.server.resident_mib() - before < 30, "who may not send is not read"
    async with unfinished(relay.port, request(body=part, length=MIB, token=token), 60) as opened:
        answers = await asyncio.gather(*(one.closed() for one in opened))

    assert all(answer.startswith(b"HTTP/1.1 408 ") for answer in answers)
    await until(lambda: relay.server.resident_mib() - before < 30)  # they weigh 51 MiB together


async def test_small_webhooks_pass_large_ones_of_other_conversations(
    relay: Relay, target: Target
) -> None:
    """The window holds all of them, the large ones first."""
    token = await relay.make_token("ana", "subscribe")
    (await relay.connect(token, "--to", target.address)).kill()
    large = [large_body(conversation, MIB) for conversation in range(3)]
    for body in large:
        assert (await relay.send(request(body=body, token=relay.send_token))).status == 200
    for conversation in range(3, 23):
        await relay.send(message(relay.send_token, conversation, 1))

    await relay.connect(token, "--to", target.address)
    await target.received(23)

    assert sorted(spoken(target.arrivals[:20])) == list(range(3, 23))
    assert sorted(target.bodies[20:]) == sorted(large)


async def test_the_largest_bodies_arrive_whole_and_in_order(tmp_path: Path, target: Target) -> None:
    async with open_relay(tmp_path / "relay", max_body_bytes=str(25 * MIB)) as relay:
        await relay.connect(await relay.make_token("ana", "subscribe"), "--to", target.address)
        bodies = [large_body(1, 25 * MIB), large_body(1, 5 * MIB), large_body(1, 3 * MIB), b"{}"]

        for body in bodies:
            assert (await relay.send(request(body=body, token=relay.send_token))).status == 200
        over = request(body=bytes(25 * MIB + 1), token=relay.send_token)
        assert (await relay.send(over)).status == 413
        await target.received(len(bodies))

        assert [body for body in target.bodies if len(body) > MIB] == bodies[:3]
        assert bodies[3] in target.bodies, "of another conversation"


def large_body(conversation: int, size: int) -> bytes:
    """A body of so many bytes that no part of looks like another."""
    begin = b'{"event":"message_created","conversation":{"id":%d},"x":"' % conversation
    filling = random.Random(conversation).randbytes(size // 2).hex().encode()
    return begin + filling[: size - len(begin) - 2] + b'"}'
