"""Processes that stand still for a while: SIGSTOP, and later SIGCONT, of server and clients.

Short is shorter than heartbeats and lease, long is longer than one of them; both are made short
here, so that "past the lease" takes seconds.

What is promised while a client is stopped: what was lent to it goes to another that shares the work
once its lease ran out, or at once when it is taken for gone; nothing is lost, and each event is
*first* taken in order within its key. What came to the stopped client may come again, so that there
are at most as many duplicates at each stop as can be under way to it: a window. Its late results
are refused, also failures.

What is not promised: that the target has one request of a key at a time. A request that the stopped
client had made is still open at the target, or waits in the client to be made when it goes on;
meanwhile the event comes by another client, and with it all that follows it in its key. So the
repeat may arrive beside, or after, later events of its key. It carries the same event id.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest

from tests.faults.conftest import Judged
from tests.support.chatwoot import message
from tests.support.processes import Running
from tests.support.relay import Constant
from tests.support.seeds import short_or_deep
from tests.support.target import BROKEN, OK, Arrival, attempts
from tests.support.trial import READER, Trial, busy, open_trial
from tests.support.waiting import until

WINDOW = 32
LEASE_S = 1.5
LIMITS = "relay_protocol.limits"
SHORT_LEASE: tuple[Constant, ...] = (
    (LIMITS, "LEASE_S", LEASE_S),
    (LIMITS, "WORKING_INTERVAL_S", 0.3),
)
HEARTBEAT_S = 0.6  # dead after 1.4 s
QUICK_HEART: tuple[Constant, ...] = ((LIMITS, "HEARTBEAT_S", HEARTBEAT_S),)
BRIEFLY_S = 0.3
SLOW_TALK_S = 0.15  # so that hardly anything waits beside what the stopped one holds
LOOKS_S = 2.0  # server and client look at the clock each second


@contextmanager
def stopped(process: Running) -> Iterator[None]:
    """A process stands still for as long as the block."""
    process.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.process.send_signal(signal.SIGCONT)


@pytest.mark.slow
@pytest.mark.parametrize(
    "limits",
    [
        pytest.param(SHORT_LEASE, marks=pytest.mark.deep, id="lease"),
        pytest.param(QUICK_HEART, id="heartbeats"),
    ],
)
async def test_another_takes_over_what_a_stopped_client_held(
    limits: tuple[Constant, ...], tmp_path: Path, rng: Random, judged: Judged
) -> None:
    times = short_or_deep(1, 8)
    async with open_trial(tmp_path / "trial", rng, constants=limits) as trial:
        clients = [await trial.connect("--share") for _ in range(2)]
        async with trial.talking(conversations=24, pause_s=SLOW_TALK_S) as talk:
            for _ in range(times):
                await talk.accepts(40)
                with stopped(rng.choice(clients)):
                    await until_taken(trial)
                    await talk.accepts(rng.randrange(60))
        assert all(client.alive for client in clients), [client.errors for client in clients]
        verdict = await trial.verdict()
        # On a busy machine one that was not stopped may be taken for gone, too.
        lost = sum(len(client.lines("reconnecting")) for client in clients)
    name = "SIGSTOP of a client past its lease or heartbeats"
    judged(verdict, name, times, duplicates=max(times, lost) * WINDOW)


async def until_taken(trial: Trial) -> None:
    """Wait until the target took all that was accepted up to now, whoever brings it."""
    accepted, reader = set(trial.ledger.accepted), trial.ledger.reader(READER)
    await until(lambda: accepted <= reader.taken)


@pytest.mark.slow
async def test_who_is_stopped_for_a_moment_goes_on_as_before(
    tmp_path: Path, rng: Random, judged: Judged
) -> None:
    """Server or client: the connection lives on, and nothing comes twice."""
    times = short_or_deep(3, 40)
    async with open_trial(tmp_path / "trial", rng, constants=SHORT_LEASE) as trial:
        client = await trial.connect()
        async with trial.talking() as talk:
            for _ in range(times):
                await talk.accepts(rng.randrange(5, 30))
                with stopped(rng.choice([client, trial.relay.server])):
                    await asyncio.sleep(rng.uniform(0, BRIEFLY_S))  # this is what is tested
        verdict = await trial.verdict()
        assert not client.lines("reconnecting")
    judged(verdict, "SIGSTOP of server or client for a moment", times)


@pytest.mark.slow
@pytest.mark.deep
@pytest.mark.parametrize("limits", [SHORT_LEASE, QUICK_HEART], ids=["lease", "heartbeats"])
async def test_a_server_stopped_for_long_goes_on_where_it_was(
    limits: tuple[Constant, ...], tmp_path: Path, rng: Random, judged: Judged
) -> None:
    """Leases run out and clients give it up; nothing comes twice, as they remember."""
    times = 6
    async with open_trial(tmp_path / "trial", rng, constants=limits) as trial:
        client = await trial.connect()
        async with trial.talking() as talk:
            for _ in range(times):
                await talk.accepts(40)
                with stopped(trial.relay.server):
                    await asyncio.sleep(LEASE_S + rng.uniform(0, LOOKS_S))  # this is what is tested
            await talk.accepts(20)
        assert client.alive, client.errors
        verdict = await trial.verdict()
    judged(verdict, "SIGSTOP of the server past lease and heartbeats", times)


@pytest.mark.slow
@pytest.mark.deep
async def test_a_target_that_does_not_answer_past_the_lease_gets_nothing_twice(
    tmp_path: Path, rng: Random, judged: Judged
) -> None:
    """Its client says that it still works on it."""
    times = 6
    async with open_trial(tmp_path / "trial", rng, constants=SHORT_LEASE) as trial:
        answers = asyncio.Event()
        usual = busy(rng)

        async def answer(arrival: Arrival) -> bytes:
            await answers.wait()
            return await usual(arrival)

        trial.answer_with(answer)
        answers.set()
        await trial.connect()
        async with trial.talking() as talk:
            for _ in range(times):
                await talk.accepts(20)
                answers.clear()
                await until(lambda: trial.target.under_way)
                await asyncio.sleep(LEASE_S + LOOKS_S)  # this is what is tested
                answers.set()
        verdict = await trial.verdict()
    judged(verdict, "target without answers past the lease", times)


@pytest.mark.slow
@pytest.mark.deep
async def test_what_a_stopped_client_says_late_counts_for_nothing(
    tmp_path: Path, rng: Random
) -> None:
    """Its request fails after another client had brought the event: it is not tried again.

    What was lent to it while it stood still comes a second time, though; and an attempt that was
    lent to it once more, before the other had it, is counted.
    """
    async with open_trial(tmp_path / "trial", rng, constants=SHORT_LEASE) as trial:
        first_may_fail = asyncio.Event()

        async def answer(arrival: Arrival) -> bytes:
            if len(trial.target.arrivals) > 1:
                return OK
            await first_may_fail.wait()
            return BROKEN

        trial.target.answer = answer
        slow = await trial.connect("--share")
        for number in range(3):
            await trial.relay.send(message(trial.relay.send_token, 1, number))
        await until(lambda: trial.target.under_way)
        quick = await trial.connect("--share")
        with stopped(slow):
            await quick.said("delivered", 3)
            first_may_fail.set()
            await until(lambda: not trial.target.under_way)
        await slow.said("failed")
        await trial.settle()
        events = await trial.relay.events()
    assert {e["deliveries"][0]["state"] for e in events} == {"delivered"}
    numbers = attempts(trial.target.arrivals)
    assert len(numbers[events[-1]["id"]]) == 2
    assert max(map(len, numbers.values())) == 2, "not tried again"
    first = list(dict.fromkeys(trial.target.event_ids))
    assert first == [event["id"] for event in reversed(events)]
