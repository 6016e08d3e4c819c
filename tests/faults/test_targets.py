"""Targets that are away, fail, or have bad manners get everything in order all the same."""

from __future__ import annotations

import asyncio
from pathlib import Path
from random import Random

import pytest

from tests.faults.conftest import Judged
from tests.support.chatwoot import message, spoken
from tests.support.manners import MANNERS
from tests.support.relay import Relay, open_relay
from tests.support.seeds import short_or_deep
from tests.support.senders import post_all
from tests.support.target import (
    BROKEN,
    OK,
    Answering,
    Arrival,
    Saying,
    Target,
    attempts,
    open_target,
    say,
)
from tests.support.trial import STRICT, Trial
from tests.support.waiting import Stopwatch, until

GROWTH_MIB = 48.0  # of a client that was answered gigabytes
BACK_WITHIN_S = 15.0  # it is looked for every 5 s at least
CONCURRENCY = 8
WEBHOOKS = 1_000
CONVERSATIONS = 20


class Mood:
    """How a target behaves: badly now and then, each manner as often as the others.

    Attributes:
        used: The manners in the order in which they were used.
    """

    def __init__(self, rng: Random) -> None:
        self.used: list[str] = []
        self._rng = rng

    def __call__(self, _: Arrival) -> Saying:
        if self._rng.random() < 0.8:
            return say
        names = list(MANNERS)
        if not len(self.used) % len(names):
            self._rng.shuffle(names)
            self._next = names
        self.used.append(self._next[len(self.used) % len(names)])
        return MANNERS[self.used[-1]]


@pytest.mark.slow
@pytest.mark.parametrize("part", range(short_or_deep(1, 6)))
async def test_bad_manners_cost_no_webhook(
    part: int, trial: Trial, rng: Random, judged: Judged
) -> None:
    mood = Mood(rng)
    rounds = short_or_deep(1, 4)
    await trial.set_policy(**STRICT)
    client = await trial.connect("--timeout", "1")
    async with trial.talking() as talk:
        await talk.accepts(50)
        before = client.resident_mib()
        trial.target.saying = mood
        await until(lambda: len(mood.used) >= rounds * len(MANNERS))
    trial.target.saying = lambda _: say
    verdict = await trial.verdict()
    assert client.alive, client.errors
    assert client.resident_mib() - before < GROWTH_MIB
    judged(verdict, "a target's bad manners", len(mood.used), duplicates=len(mood.used))


async def test_a_stopped_target_gets_everything_once_it_is_back(
    trial: Trial, judged: Judged
) -> None:
    away_s = short_or_deep(3, 60)
    target = trial.target
    client = await trial.connect()
    async with trial.talking(pause_s=0.1) as talk:
        await target.received(50)
        await until(lambda: target.under_way)
        await target.stop()
        await asyncio.sleep(away_s)  # how long it is away is what is tested
        await talk.accepts(25)  # it is under load all the time
        posted, seen = set(trial.ledger.accepted), len(target.seen)
        await target.start()
        watch = Stopwatch()
        await until(lambda: len(target.seen) > seen)
        assert watch.elapsed_s < BACK_WITHIN_S
        await until(lambda: posted <= target.seen)

    judged(await trial.verdict(), "a target that is away", 1, duplicates=CONCURRENCY)
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
    await relay.becomes("channels/chatwoot/subscriptions/ana", target_down=True, backlog=40)
    await client.said("waiting")

    await target.start()
    await target.received(40)

    assert {arrival.attempt for arrival in target.arrivals} == {1}
    assert client.lines("failed") == []
    assert len(client.lines("waiting")) == 1


async def test_a_thousand_webhooks_of_the_night_arrive_in_the_morning(
    relay: Relay, target: Target
) -> None:
    token = await relay.make_token("ana", "subscribe")
    asleep = await relay.connect(token, "--to", target.address)
    asleep.kill()
    each = range(WEBHOOKS // CONVERSATIONS)

    answered = await asyncio.gather(
        *(
            post_all(relay.port, [message(relay.send_token, c, number) for number in each])
            for c in range(CONVERSATIONS)
        )
    )
    client = await relay.connect(token, "--to", target.address)
    await target.received(WEBHOOKS)

    [ready] = client.lines("ready")
    assert ready["channels"][0]["backlog"] == WEBHOOKS
    ids = sorted(answer.json["id"] for answers in answered for answer in answers)
    assert sorted(target.event_ids) == ids
    assert spoken(target.arrivals) == {c: list(each) for c in range(CONVERSATIONS)}
    assert {arrival.attempt for arrival in target.arrivals} == {1}


async def test_a_forward_and_a_client_get_a_conversation_in_order_though_each_fails_at_random(
    tmp_path: Path, target: Target, rng: Random
) -> None:
    taken: dict[int, list[Arrival]] = {1: [], 2: []}

    def moody(way: int) -> Answering:
        async def answer(arrival: Arrival) -> bytes:
            if rng.random() < 0.3:
                return BROKEN
            taken[way].append(arrival)
            return OK

        return answer

    async with (
        open_relay(tmp_path / "relay", forward_allow="127.0.0.1") as relay,
        open_target() as service,
    ):
        policy = {"retry_delays_s": [0.02] * 30, "strict_order": True}
        await relay.control("PATCH", "channels/chatwoot", {"policy": policy})
        token = await relay.make_token("ana", "subscribe")
        target.answer, service.answer = moody(1), moody(2)
        url = f"http://{service.address}/bot"
        await relay.control("POST", "forwards", {"channel": "chatwoot", "url": url})
        await relay.connect(token, "--to", target.address)

        await post_all(relay.port, [message(relay.send_token, 7, n) for n in range(50)])
        await until(lambda: all(len(arrivals) >= 50 for arrivals in taken.values()))

    for arrivals in taken.values():
        assert spoken(arrivals) == {7: list(range(50))}
    assert {a.request_target for a in taken[2]} == {"/bot"}
