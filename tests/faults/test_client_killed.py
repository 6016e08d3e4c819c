"""A client that is killed while its target works loses nothing."""

from __future__ import annotations

import asyncio
import random

import pytest

from tests.support.chatwoot import message, spoken
from tests.support.relay import Relay
from tests.support.senders import post_all
from tests.support.target import OK, Arrival, Target, attempts
from tests.support.waiting import until

SEED = 20_260_702
ROUNDS = 20
WINDOW = 32
CONVERSATIONS = 48
NUMBERS = 6  # of each conversation in each round


@pytest.mark.slow
@pytest.mark.timeout(120)
async def test_a_killed_client_loses_nothing_and_repeats_only_what_was_under_way(
    relay: Relay, target: Target
) -> None:
    rng = random.Random(SEED)

    async def answer(_: Arrival) -> bytes:
        await asyncio.sleep(rng.uniform(0.0, 0.08))  # the work that a target does
        return OK

    target.answer = answer
    token = await relay.make_token("ana", "subscribe")
    arguments = ("--to", target.address, "--concurrency", str(WINDOW))
    (await relay.connect(token, *arguments)).kill()
    accepted: set[str] = set()
    repeatable: set[str] = set()

    for number in range(ROUNDS):
        accepted |= await post_round(relay, number)
        client = await relay.connect(token, *arguments)
        await until(lambda: len(target.under_way) >= WINDOW)
        await asyncio.sleep(rng.uniform(0.0, 0.15))  # the moment of the kill is what is tested
        settled = {line["event_id"] for line in client.lines("delivered")}
        client.kill()
        repeatable |= accepted - settled
    await relay.connect(token, *arguments)
    await until(lambda: accepted <= target.seen, 30)
    await until(lambda: not target.under_way)

    tries = attempts(target.arrivals)
    assert set(tries) == accepted, f"seed {SEED}"
    for id_, numbers in tries.items():
        assert numbers == sorted(set(numbers)), f"seed {SEED}: {id_} came as {numbers}"
    again = {id_ for id_, numbers in tries.items() if len(numbers) > 1}
    assert ROUNDS < len(again) <= ROUNDS * WINDOW, f"seed {SEED}"
    assert again <= repeatable, f"seed {SEED}"
    for conversation, said in spoken(target.arrivals).items():
        assert said == sorted(said), f"seed {SEED}, conversation {conversation}"


async def post_round(relay: Relay, number: int) -> set[str]:
    """Post the next few webhooks of every conversation; returns the events' ids."""
    numbers = range(number * NUMBERS, (number + 1) * NUMBERS)
    answered = await asyncio.gather(
        *(
            post_all(relay.port, [message(relay.send_token, c, n) for n in numbers])
            for c in range(CONVERSATIONS)
        )
    )
    return {answer.json["id"] for answers in answered for answer in answers}
