"""Stopping either end on request, and what the other end does."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time

from tests.support.chatwoot import message, spoken
from tests.support.relay import Relay
from tests.support.senders import connection, load, request
from tests.support.target import OK, Arrival, Target
from tests.support.waiting import until


async def test_a_server_that_is_stopped_ends_with_0_and_its_client_comes_back_quietly(
    relay: Relay, target: Target
) -> None:
    client = await relay.connect(await relay.make_token("ana", "subscribe"), "--to", target.address)
    await relay.send(message(relay.send_token, 1, 1))
    await target.received(1)

    relay.server.terminate()
    assert await relay.server.exit_status(5) == 0
    await relay.start()
    await until(lambda: client.lines("reconnected"), 10)
    await relay.send(message(relay.send_token, 1, 2))
    await target.received(2)

    assert client.errors == ""
    assert len(client.lines("reconnecting")) == 1
    assert client.lines("failed") == []
    assert {arrival.attempt for arrival in target.arrivals} == {1}


async def test_a_restart_under_load_keeps_what_was_answered(relay: Relay, target: Target) -> None:
    await relay.connect(await relay.make_token("ana", "subscribe"), "--to", target.address)
    token = relay.send_token
    async with load(relay.port, lambda c, n: message(token, c, n)) as going:
        await target.received(100)
        relay.server.terminate()
        assert await relay.server.exit_status(20) == 0
        await relay.start()
        await going.accepts(50)
        await going.stop()
    await until(lambda: going.accepted <= target.seen, 20)

    assert going.refused == []
    for conversation, numbers in spoken(target.arrivals).items():
        assert numbers == sorted(set(numbers)), conversation


async def test_a_webhook_that_is_half_here_is_answered_for_or_not_at_all(relay: Relay) -> None:
    raw = request(body=b"half", token=relay.send_token)
    accepted = []
    async with connection(relay.port) as one:
        await one.send(raw[:-2])
        await relay.metrics()  # by now the server has read what came before
        relay.server.terminate()
        await until(lambda: "stopping" in relay.server.errors)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            answer = await one.exchange(raw[-2:])
            accepted = [answer.json["id"]] if answer.status < 300 else []
    assert await relay.server.exit_status(20) == 0

    await relay.start()
    assert [event["id"] for event in await relay.events()] == accepted


async def test_a_second_signal_ends_the_server_at_once(relay: Relay) -> None:
    token = await relay.make_token("root", "admin")
    async with connection(relay.port) as slow:
        await slow.send(request("/api/v1/tokens", b"", length=10, token=token))
        await relay.metrics()  # by now the server has read what came before
        relay.server.terminate()
        await until(lambda: "stopping" in relay.server.errors)
        assert not await relay.is_ready()
        relay.server.terminate()
        assert await relay.server.exit_status(2) == 1
    assert await relay.start() < 5


async def test_a_stopped_client_finishes_what_its_target_has_and_gives_back_the_rest(
    relay: Relay, target: Target
) -> None:
    goes_on = asyncio.Event()

    async def answer(_: Arrival) -> bytes:
        await goes_on.wait()
        return OK

    target.answer = answer
    token = await relay.make_token("ana", "subscribe")
    client = await relay.connect(token, "--to", target.address)
    for conversation in range(20):
        await relay.send(message(relay.send_token, conversation, 1))
    await target.received(8)

    client.process.send_signal(signal.SIGINT)
    await until(lambda: client.lines("stopping"))
    goes_on.set()

    assert await client.exit_status(10) == 0
    assert len(client.lines("delivered")) == 8
    await relay.connect(token, "--to", target.address)
    await target.received(20)
    assert {arrival.attempt for arrival in target.arrivals} == {1}


async def test_a_second_interrupt_does_not_wait_for_the_target(
    relay: Relay, target: Target
) -> None:
    async def answer(_: Arrival) -> bytes:
        await asyncio.get_running_loop().create_future()
        return OK

    target.answer = answer
    client = await relay.connect(await relay.make_token("ana", "subscribe"), "--to", target.address)
    await relay.send(message(relay.send_token, 1, 1))
    await target.received(1)

    client.terminate()
    await until(lambda: client.lines("stopping"))
    interrupted_at = time.monotonic()
    client.terminate()

    assert await client.exit_status(5) == 1
    assert time.monotonic() - interrupted_at < 2
    assert "comes again" in client.errors


async def test_a_client_waits_for_a_relay_that_is_not_there_yet(
    relay: Relay, target: Target
) -> None:
    token = await relay.make_token("ana", "subscribe")
    relay.server.kill()
    client = relay.begin_connect(token, "--to", target.address)
    await until(lambda: client.lines("reconnecting"))

    await relay.start()
    await until(lambda: client.lines("ready"), 20)

    assert len(client.lines("reconnecting")) == 1
