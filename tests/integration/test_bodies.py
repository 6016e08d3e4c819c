"""Bodies that are too large, too slow, or large and welcome; and connections that never end."""

from __future__ import annotations

import asyncio
import contextlib
import random
import statistics
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from relay_server.web import front, server
from tests.support.chatwoot import message, spoken
from tests.support.relay import Relay, open_relay, running
from tests.support.senders import Connection, chunked, connection, request
from tests.support.target import Target
from tests.support.waiting import until

MIB = 1_048_576


@pytest.fixture
async def hasty(tmp_path: Path) -> AsyncIterator[Relay]:
    """A server with short deadlines."""
    hasty = Relay(tmp_path)
    for module in ("relay_server.web.front", "relay_server.web.server"):
        hasty.constants.append((module, "HEADER_DEADLINE_S", 0.5))
    hasty.constants.append(("relay_server.web.front", "BODY_DEADLINE_S", 0.5))
    async with running(hasty):
        yield hasty


@contextlib.asynccontextmanager
async def unfinished(port: int, raw: bytes, count: int) -> AsyncIterator[list[Connection]]:
    """Connections on which only the beginning of a request was sent."""
    async with contextlib.AsyncExitStack() as stack:
        opened = [await stack.enter_async_context(connection(port)) for _ in range(count)]
        for one in opened:
            await one.send(raw)
        yield opened


async def test_a_body_at_the_limit_is_taken_and_one_byte_more_is_not(relay: Relay) -> None:
    token = relay.send_token
    fits, over = bytes(MIB), bytes(MIB + 1)

    assert (await relay.send(request(body=fits, token=token))).status == 200
    assert (await relay.send(chunked([fits], "/webhook", token))).status == 200
    for raw in [
        request(body=over, token=token),
        request(body=b"", length=MIB + 1, token=token),
        request(body=b"", length=10**18, token=token),
        chunked([over], "/webhook", token),
        chunked([bytes(65_536)] * 64, "/webhook", token),
        chunked([bytes(65_536)] * 64, "/c/chatwoot/x", token),
    ]:
        answer = await relay.send(raw)
        assert answer.status == 413, raw[:80]
        assert answer.json["error"]["code"] == "body_too_large"
    assert [event["size"] for event in await relay.events()] == [MIB, MIB]


async def test_a_length_that_lies_stores_nothing(relay: Relay) -> None:
    token = relay.send_token
    chunks, encoding = b"5\r\n12345\r\n0\r\n\r\n", ("Transfer-Encoding", "chunked")

    for raw in [
        request(body=b"12345", length=3, token=token),
        request(body=b"12345", length=-5, token=token),
        request(body=chunks, headers=[encoding], token=token),
        request(body=b"12345", headers=[("Content-Length", "3")], token=token),
    ]:
        assert (await relay.send(raw)).status == 400

    assert await relay.events() == []


async def test_a_channel_may_take_less_or_more(relay: Relay) -> None:
    await relay.control("PATCH", "channels/chatwoot", {"max_body_bytes": 10})
    assert (await relay.send(request(body=b"x" * 11, token=relay.send_token))).status == 413

    await relay.control("PATCH", "channels/chatwoot", {"max_body_bytes": 2 * MIB})
    assert (await relay.send(request(body=bytes(2 * MIB), token=relay.send_token))).status == 200


async def test_a_body_that_stops_coming_gets_408(hasty: Relay) -> None:
    token = hasty.send_token
    for raw in [
        request(body=b"half", length=8, token=token),
        chunked([b"half"], "/webhook", token).removesuffix(b"0\r\n\r\n"),
    ]:
        async with connection(hasty.port) as one:
            answer = await one.exchange(raw)
            assert answer.status == 408
            assert answer.json["error"]["code"] == "body_timeout"
            assert await one.closed(3) == b""
    assert await hasty.events() == []


async def test_headers_that_stop_coming_close_the_connection(hasty: Relay) -> None:
    whole = request(body=b"{}", token=hasty.send_token)
    beginnings = [
        b"",
        b"POST /web",
        whole.partition(b"\r\n\r\n")[0],
        b"GET /api/v1/whoami HTTP/1.1\r\nHost: relay\r\n",
    ]

    async def end_of(raw: bytes) -> bytes:
        async with connection(hasty.port) as one:
            await one.send(raw)
            return await one.closed(3)

    assert await asyncio.gather(*(end_of(raw) for raw in beginnings)) == [b""] * 4
    async with connection(hasty.port) as one:
        assert (await one.exchange(whole)).status == 200
        await one.send(whole[:20])
        assert await one.closed(3) == b"", "the second request of a connection as well"


async def test_the_header_deadline_holds_once_a_connection_asked_the_api(hasty: Relay) -> None:
    for path in ("/health/live", "/api/v1/whoami", "/nowhere"):
        raw = request(path, b"", method="GET", token=hasty.send_token)
        async with connection(hasty.port) as one:
            assert (await one.exchange(raw)).status in (200, 404)
            await one.send(raw[:20])
            assert await one.closed(3) == b"", path


async def test_a_slow_sender_does_not_escape_the_header_deadline(hasty: Relay) -> None:
    async with connection(hasty.port) as one:
        await one.send(b"POST /webhook HTTP/1.1\r\n")
        closing = asyncio.create_task(one.closed(5))
        began = time.monotonic()
        while not closing.done():
            await one.send(b"X-More: 1\r\n")
            await asyncio.wait([closing], timeout=0.05)

        assert await closing == b""
        assert time.monotonic() - began < 3


def test_the_deadlines_are_those_that_are_promised() -> None:
    assert (server.HEADER_DEADLINE_S, front.BODY_DEADLINE_S) == (5, 10)


async def test_500_unfinished_connections_do_not_slow_others(relay: Relay) -> None:
    token = relay.send_token
    begun = request(body=b"{", length=1_000, token=token)

    async def latency_ms() -> float:
        times = []
        for number in range(80):
            began = time.perf_counter()
            assert (await relay.send(message(token, 1, number))).status == 200
            times.append((time.perf_counter() - began) * 1000)
        return statistics.median(times)

    await latency_ms()  # the first ones pay for what is imported late
    alone = await latency_ms()
    async with (
        unfinished(relay.port, begun, 250) as bodies,
        unfinished(relay.port, b"POST /webhook HTTP/1.1\r\nHost: x", 250) as heads,
    ):
        crowded = await latency_ms()
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
        answers = await asyncio.gather(*(one.closed(20) for one in opened))

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
        await target.received(len(bodies), 40)

        assert sorted(target.bodies) == sorted(bodies)
        assert [len(body) for body in target.bodies if len(body) > MIB] == [
            25 * MIB,
            5 * MIB,
            3 * MIB,
        ]


def large_body(conversation: int, size: int) -> bytes:
    """A body of so many bytes that no part of looks like another."""
    begin = b'{"event":"message_created","conversation":{"id":%d},"x":"' % conversation
    filling = random.Random(conversation).randbytes(size // 2).hex().encode()
    return begin + filling[: size - len(begin) - 2] + b'"}'
