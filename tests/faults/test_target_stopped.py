"""A target that is away is waited for, and finds everything in order when it is back."""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.support.chatwoot import message, spoken
from tests.support.relay import Relay
from tests.support.senders import load
from tests.support.target import OK, Arrival, Target, attempts, say_ok
from tests.support.waiting import until

BACK_WITHIN_S = 5.0
CONCURRENCY = 8


@pytest.mark.parametrize(
    "away_s",
    [3.0, pytest.param(60.0, marks=[pytest.mark.slow, pytest.mark.timeout(100)])],
    ids=["briefly", "a minute"],
)
async def test_a_stopped_target_gets_everything_once_it_is_back(
    relay: Relay, target: Target, away_s: float
) -> None:
    async def answer(_: Arrival) -> bytes:
        await asyncio.sleep(0.02)  # so that something is under way when it stops
        return OK

    target.answer = answer
    client = await relay.connect(await relay.make_token("ana", "subscribe"), "--to", target.address)
    token = relay.send_token
    async with load(relay.port, lambda c, n: message(token, c, n), pause_s=0.1) as going:
        await target.received(50)
        await until(lambda: target.under_way)
        await target.stop()
        await asyncio.sleep(away_s)  # how long it is away is what is tested
        target.answer = say_ok
        await target.start()
        back_at, posted = time.monotonic(), set(going.accepted)
        await until(lambda: posted <= target.seen, BACK_WITHIN_S)
        await going.stop()
    await until(lambda: going.accepted <= target.seen)

    assert max(a.at for a in target.arrivals[: len(posted)]) - back_at < BACK_WITHIN_S
    assert len(posted) > away_s * 25, "it was under load all the time"
    for conversation, said in spoken(target.arrivals).items():
        assert said == sorted(said), conversation
    again = [numbers for numbers in attempts(target.arrivals).values() if numbers != [1]]
    assert len(again) <= CONCURRENCY, "no more was under way"
    assert all(numbers in ([1, 2], [2]) for numbers in again), "the first of [2] was not read"
    assert len(client.lines("waiting")) == 1
    assert len(client.lines("resumed")) == 1


async def test_a_target_that_was_never_there_costs_no_attempt(relay: Relay, target: Target) -> None:
    await target.stop()
    client = await relay.connect(await relay.make_token("ana", "subscribe"), "--to", target.address)
    for number in range(40):
        await relay.send(message(relay.send_token, number % 4, number))
    await until(lambda: client.lines("waiting"))
    [subscription] = (await relay.control("GET", "status"))["subscriptions"]
    assert (subscription["target_down"], subscription["backlog"]) == (True, 40)

    await target.start()
    await target.received(40)

    assert {arrival.attempt for arrival in target.arrivals} == {1}
    assert client.lines("failed") == []
    assert len(client.lines("waiting")) == 1
