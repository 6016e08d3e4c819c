"""The date jumps, of the server and of clients: hours, days, ten years, to 1970 and back.

libfaketime gives a process another date; its monotonic clock goes on, as it does when a machine's
date is set. Nothing that the promise speaks of depends on the date: order is by sequence, leases,
retries and deadlines go by the monotonic clock. What does go by the date: `received_at`, event ids
(unique all the same), a signature's timestamp, and how long delivered and dead ones are kept.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.utils import parsedate_to_datetime
from pathlib import Path
from random import Random

import pytest

from tests.faults.conftest import Judged
from tests.support import chatwoot
from tests.support.faketime import FakeDate, leave_no_traces
from tests.support.relay import Constant, Relay
from tests.support.seeds import is_deep, short_or_deep
from tests.support.target import BROKEN, OK, Arrival
from tests.support.trial import Trial, open_trial
from tests.support.waiting import until, until_true

HOUR_S, DAY_S, YEAR_S = 3_600, 86_400, 31_557_600
TO_1970 = 3_600 - int(time.time())  # an hour into it: dates before it are none that Linux can have
JUMPS = (HOUR_S, -HOUR_S, DAY_S, -DAY_S, 10 * YEAR_S, TO_1970, 0)
NEAR_S = 60
QUICK_UPKEEP: tuple[Constant, ...] = (("relay_server.app", "UPKEEP_S", 1.0),)
FOREVER_DAYS = 36_500


@asynccontextmanager
async def dated(folder: Path, rng: Random, date: FakeDate) -> AsyncIterator[Trial]:
    """A trial whose server has a date of its own."""
    async with open_trial(folder, rng, constants=QUICK_UPKEEP) as trial:
        trial.relay.server.kill()
        trial.relay.server_prefix = date.prefix
        await trial.relay.start()
        yield trial
    leave_no_traces(trial.relay.processes)


async def offset_of(relay: Relay) -> float:
    """How far from the true one the date is that the server says."""
    answer = await relay.send(b"GET /health/live HTTP/1.1\r\nHost: relay\r\n\r\n")
    said = parsedate_to_datetime(dict(answer.headers)["Date"])
    return said.timestamp() - time.time()


async def jump(relay: Relay, date: FakeDate, offset_s: int) -> None:
    """Let the server's date jump, and wait until it has."""
    date.set(offset_s)

    async def has_jumped() -> bool:
        return abs(await offset_of(relay) - offset_s) <= NEAR_S

    await until_true(has_jumped)


@pytest.mark.slow
@pytest.mark.parametrize(
    "who", ["both", *(pytest.param(who, marks=pytest.mark.deep) for who in ("server", "client"))]
)
async def test_nothing_is_lost_when_the_date_jumps(
    who: str, tmp_path: Path, rng: Random, judged: Judged
) -> None:
    """Under load, and now and then across a restart; everything comes once and in order."""
    jumps = rng.sample(JUMPS, short_or_deep(1, len(JUMPS)))
    dates = FakeDate(tmp_path / "server"), FakeDate(tmp_path / "client")
    async with dated(tmp_path / "trial", rng, dates[0]) as trial:
        await keep_all(trial)
        trial.relay.client_prefix = dates[1].prefix
        client = await trial.connect()
        async with trial.talking() as talk:
            for offset_s in jumps:
                await talk.accepts(20)
                if who != "server":
                    dates[1].set(offset_s)
                if who != "client":
                    await jump(trial.relay, dates[0], offset_s)
                await talk.accepts(40)
                if is_deep() and rng.random() < 0.5:
                    trial.relay.server.kill()
                    await trial.relay.start()
            await talk.accepts(20)
        assert client.alive, client.errors
        verdict = await trial.verdict()
        await all_is_told(trial)
    judged(verdict, f"date jumps: {who}", len(jumps))


async def keep_all(trial: Trial) -> None:
    """Delivered events stay, however old they seem: their delivery ids are to be known again."""
    await trial.relay.control("PATCH", "channels/chatwoot", {"retention_days": FOREVER_DAYS})


async def all_is_told(trial: Trial) -> None:
    """Odd dates are shown, and sequences are what they are."""
    events = await trial.relay.events()
    numbers = [event["sequence"] for event in events]
    assert numbers == sorted(set(numbers), reverse=True)
    assert len({event["id"] for event in events}) == len(events)
    for command in (["events", "list"], ["status"]):
        status, _, said = await asyncio.to_thread(trial.relay.command, *command)
        assert status == 0, said


@pytest.mark.slow
@pytest.mark.deep
async def test_what_is_undelivered_outlives_a_jump_of_ten_years(
    tmp_path: Path, rng: Random, judged: Judged
) -> None:
    """What was delivered is older than it may be, and goes at the next clean-up; the rest stays."""
    date = FakeDate(tmp_path / "server")
    async with dated(tmp_path / "trial", rng, date) as trial:
        client = await trial.connect()
        async with trial.talking() as talk:
            await talk.accepts(50)
        await trial.settle()
        client.kill()
        async with trial.talking() as talk:
            await talk.accepts(50)
        waiting = await trial.relay.backlog()
        await jump(trial.relay, date, 10 * YEAR_S)
        await until(lambda: "old events deleted" in trial.relay.server.errors)
        assert await trial.relay.backlog() == waiting
        await trial.connect()
        judged(await trial.verdict(), "date jumps: retention", 1)


@pytest.mark.slow
@pytest.mark.deep
@pytest.mark.parametrize("offset_s", [-DAY_S, 10 * YEAR_S])
async def test_retries_come_when_they_are_due_whatever_the_date(
    offset_s: int, tmp_path: Path, rng: Random
) -> None:
    """Never at once and never not; where the next server has an earlier date, as long again."""
    date = FakeDate(tmp_path / "server")
    date.set(offset_s)
    async with dated(tmp_path / "trial", rng, date) as trial:
        await trial.set_policy(retry_delays_s=[2.0] * 5)

        async def answer(arrival: Arrival) -> bytes:
            return OK if arrival.attempt > 2 else BROKEN

        trial.target.answer = answer
        await trial.connect()
        await trial.relay.send(chatwoot.message(trial.relay.send_token, 1, 1))
        await trial.target.received(1)
        await jump(trial.relay, date, -HOUR_S)
        await trial.target.received(2)
        await is_recorded(trial.relay, attempts=2)
        trial.relay.server.kill()
        date.set(0)
        await trial.relay.start()
        await trial.target.received(3)
        await trial.settle()
        first, second, third = trial.target.arrivals
    assert 1.5 < second.at - first.at < 6, "±20 %, and time for a machine that is busy"
    assert third.at - second.at < 15
    assert offset_s < 0 or third.at - second.at > 1.5


async def is_recorded(relay: Relay, attempts: int) -> None:
    """Wait until it is in the store that a delivery is tried again."""

    async def is_so() -> bool:
        [event] = await relay.events()
        [delivery] = event["deliveries"]
        return bool(delivery["state"] == "waiting" and delivery["attempt"] == attempts)

    await until_true(is_so)


@pytest.mark.slow
@pytest.mark.deep
async def test_signatures_hold_while_the_date_is_right_and_tokens_always(
    tmp_path: Path, rng: Random
) -> None:
    """A server whose date is an hour off takes every timestamp for too old or too early."""
    date = FakeDate(tmp_path / "server")
    async with dated(tmp_path / "trial", rng, date) as trial:
        relay = trial.relay
        secret = {"hmac_secrets": [chatwoot.SECRET], "token": False}
        await relay.control("PATCH", "channels/chatwoot", secret)
        assert await signed(relay) == 200
        await jump(relay, date, HOUR_S)
        assert await signed(relay) == 401
        assert "too far from now" in relay.server.errors
        await trial.connect()  # with its token
        await jump(relay, date, 0)
        assert await signed(relay) == 200


async def signed(relay: Relay) -> int:
    """The answer's status to a webhook that Chatwoot signed just now."""
    body = chatwoot.fixture(chatwoot.NAMES[0])
    return (await relay.send(chatwoot.webhook("/webhook", body, chatwoot.headers(body)))).status
