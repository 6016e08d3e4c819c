"""Two clients that share the work keep every conversation in order, whatever fails around them."""

from __future__ import annotations

import json
from random import Random

import pytest

from tests.faults.conftest import Judged
from tests.support.seeds import short_or_deep
from tests.support.target import BROKEN, OK, Arrival
from tests.support.trial import READER, STRICT, Trial
from tests.support.waiting import until

CONVERSATIONS = 50
STUCK = 0  # the conversation that the target takes nothing of, until the end
EACH = 6  # messages that every other conversation is through with, between two disturbances
WINDOW = 32


class Moody:
    """A target that fails at random, and always with one conversation."""

    def __init__(self, rng: Random) -> None:
        self.stuck = True
        self._rng = rng

    async def answer(self, arrival: Arrival) -> bytes:
        conversation = json.loads(arrival.body)["conversation"]["id"]
        if (self.stuck and conversation == STUCK) or self._rng.random() < 0.15:
            return BROKEN
        return OK


@pytest.mark.slow
async def test_order_holds_across_two_clients_and_restarts(
    trial: Trial, rng: Random, judged: Judged
) -> None:
    mood, times = Moody(rng), short_or_deep(4, 12)
    # A failure is tried again so often that no event dies, not even the one that is stuck.
    await trial.set_policy(**STRICT | {"retry_delays_s": [0.02] * 10 + [2.0] * 20})
    trial.answer_with(mood.answer)
    for _ in range(2):
        await trial.connect("--share")
    async with trial.talking(CONVERSATIONS, pause_s=0.1):
        for time in range(times):
            await until(lambda time=time: passed(trial, (time + 1) * EACH), 60)  # type: ignore[misc]
            await disturb(trial)
    mood.stuck = False
    judged(await trial.verdict(), "two that share", times, duplicates=times * WINDOW)


def passed(trial: Trial, number: int) -> bool:
    """Whether every conversation but the stuck one is through with so many messages."""
    taken = trial.ledger.reader(READER).taken
    counts = dict.fromkeys((str(c) for c in range(CONVERSATIONS) if c != STUCK), 0)
    for id_, said in trial.ledger.accepted.items():
        if said.key in counts:
            counts[said.key] += id_ in taken
    return min(counts.values()) >= number


async def disturb(trial: Trial) -> None:
    """Kill one of the clients, or stop or kill the server; and bring it back."""
    match trial.rng.choice(["client", "server", "restart"]):
        case "client":
            trial.rng.choice([client for client in trial.clients if client.alive]).kill()
            await trial.connect("--share")
        case "server":
            trial.relay.server.kill()
            await trial.relay.start()
        case _:
            trial.relay.server.terminate()
            await trial.relay.server.exit_status()
            await trial.relay.start()
