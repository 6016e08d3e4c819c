"""Webhooks that come while nobody reads, and targets that fail."""

from __future__ import annotations

import asyncio
import random

import pytest

from tests.support.chatwoot import message, spoken
from tests.support.relay import Relay
from tests.support.senders import post_all
from tests.support.target import BROKEN, OK, Arrival, Target, attempts
from tests.support.waiting import until

WEBHOOKS = 1_000
CONVERSATIONS = 20
# The first failure is retried after about 5 s, or when the target says.
RETRY_SOON = BROKEN.replace(b"\r\n\r\n", b"\r\nRetry-After: 1\r\n\r\n")


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


@pytest.mark.parametrize("seed", [1, 2])
async def test_a_target_that_fails_at_random_gets_each_conversation_in_order(
    relay: Relay, target: Target, seed: int
) -> None:
    rng = random.Random(seed)

    broken: set[str] = set()

    async def answer(arrival: Arrival) -> bytes:
        if arrival.attempt > 1 or rng.random() > 0.15:
            return OK
        broken.add(arrival.event_id)
        return RETRY_SOON

    target.answer = answer
    await relay.connect(await relay.make_token("ana", "subscribe"), "--to", target.address)

    for number in range(10):
        for conversation in range(6):
            await relay.send(message(relay.send_token, conversation, number))
    await until(lambda: len(target.arrivals) == 60 + len(broken) > 60, 30)

    tries = attempts(target.arrivals)
    assert {id_ for id_, numbers in tries.items() if numbers == [1, 2]} == broken, f"seed {seed}"
    assert len(tries) == 60
    for conversation, numbers in spoken(target.arrivals).items():
        assert numbers == sorted(numbers), f"seed {seed}, conversation {conversation}"
