"""The database dies, freezes or is replaced under load: every webhook is answered all the same.

What is answered 2xx meanwhile lies in the server's spool, and comes to readers once the database is
back: nothing is lost, nothing twice, each key in order, and its sequences have no gap.
"""

from __future__ import annotations

import asyncio
import re
import shutil
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest

from tests.faults.conftest import Judged
from tests.faults.postgres.conftest import Opening, check_answers
from tests.support.postgres import Cluster
from tests.support.relay import Relay
from tests.support.seeds import short_or_deep
from tests.support.trial import READER, Trial
from tests.support.waiting import Stopwatch, until_true

pytestmark = pytest.mark.slow

WINDOW = 32
AWAY_S = 3.0
AGAIN_S = 5.0  # after a start
PROMOTED_S = 2.5  # after a promotion
PROMOTIONS = 5
TIMES = short_or_deep(1, 10)
MANY = short_or_deep(60, 200)


async def spooled(relay: Relay, metric: str = "relay_spooled") -> int:
    """What waits on the server's disk."""
    lines = (await relay.metrics()).splitlines()
    [count] = [line.split()[1] for line in lines if line.startswith(f"{metric} ")]
    return round(float(count))


async def drained(relay: Relay) -> None:
    """Return once nothing waits there."""

    async def is_empty() -> bool:
        return not await spooled(relay)

    await until_true(is_empty)


async def check(trial: Trial, judged: Judged, fault: str, times: int = TIMES) -> None:
    """Judge a trial in which no webhook was to be refused."""
    verdict = await trial.verdict()
    judged(verdict, fault, times, duplicates=WINDOW * times)
    assert all(one.answered is not None for one in trial.ledger.said)
    check_answers(trial)
    await check_gapless(trial)


async def find_answered(trial: Trial) -> None:
    """Have the ledger know by its event's id what was answered by that of a repeat.

    The server died with the first answer, and the sender came again during an outage.
    """
    await trial.settle()
    taken = trial.ledger.reader(READER).taken
    for one in trial.ledger.said:
        if one.event_id is not None and one.event_id not in taken:
            found = await trial.relay.control("GET", f"events/{one.event_id}")
            one.event_id = found["id"]


async def check_gapless(trial: Trial, unanswered: int = 0) -> None:
    """Each is stored once, and nothing is between them, but for so many that were not answered."""
    sequences = [event["sequence"] for event in await trial.relay.events()]
    assert sequences == list(range(len(sequences), 0, -1))
    assert 0 <= len(sequences) - len(trial.ledger.accepted) <= unanswered


async def test_killed_and_started_again(primary: Cluster, opening: Opening, judged: Judged) -> None:
    async with opening() as trial:
        client = await trial.connect()
        async with trial.talking() as talk:
            for _ in range(TIMES):
                await talk.accepts(MANY)
                await asyncio.to_thread(primary.kill)
                await talk.accepts(MANY)
                assert await spooled(trial.relay)
                assert await trial.relay.is_ready()
                said = await trial.relay.refused("status")
                assert re.search(r"taken meanwhile: \d+ wait in this server's spool", said)
                await asyncio.to_thread(primary.start)
                await talk.accepts(MANY)
        await drained(trial.relay)
        assert client.alive, client.errors
        await check(trial, judged, "PostgreSQL killed")


async def test_frozen_and_its_standby_promoted(
    primary: Cluster, standby: Cluster, opening: Opening, judged: Judged
) -> None:
    """As a machine that the network has lost: it takes connections, and answers nothing."""
    async with opening(standby) as trial:
        client = await trial.connect()
        with ExitStack() as stack:
            async with trial.talking() as talk:
                await talk.accepts(MANY)
                stack.enter_context(primary.frozen())
                await talk.accepts(MANY)
                await asyncio.to_thread(standby.promote)
                watch = Stopwatch()
                await drained(trial.relay)
                assert watch.elapsed_s < PROMOTED_S
                await talk.accepts(MANY)
            assert client.alive, client.errors
            await check(trial, judged, "PostgreSQL frozen, its standby promoted", 1)


@pytest.mark.deep
@pytest.mark.parametrize("promoted_s", [1.0, 5.0])
async def test_killed_and_its_standby_promoted(
    primary: Cluster, standby: Cluster, opening: Opening, judged: Judged, promoted_s: float
) -> None:
    """Again and again: what took over gets a standby of its own, in the place of the dead one."""
    async with opening(standby) as trial:
        client = await trial.connect()
        async with trial.talking() as talk:
            for _ in range(PROMOTIONS):
                await talk.accepts(MANY)
                await asyncio.to_thread(primary.kill)
                await asyncio.sleep(promoted_s)  # as long as nobody notices
                await asyncio.to_thread(standby.promote)
                watch = Stopwatch()
                await drained(trial.relay)
                assert watch.elapsed_s < PROMOTED_S
                await talk.accepts(MANY)
                shutil.rmtree(primary.data)
                await asyncio.to_thread(primary.follow, standby)
                primary, standby = standby, primary
        assert client.alive, client.errors
        fault = f"PostgreSQL killed, its standby promoted after {promoted_s:g} s"
        await check(trial, judged, fault, PROMOTIONS)


@pytest.mark.deep
async def test_an_operator_who_ends_the_wait_for_a_standby_loses_nothing(
    primary: Cluster, standby: Cluster, opening: Opening, judged: Judged
) -> None:
    """He makes seen what no standby has, and the primary dies with it; its control is told so."""
    waiting = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
    async with opening(standby) as trial:
        await trial.connect()
        with psycopg.connect(primary.url(), autocommit=True) as operator:
            operator.execute("CREATE TABLE naive (n bigint)")
            async with trial.talking() as talk:
                await talk.accepts(MANY)
                await asyncio.to_thread(standby.kill)
                with psycopg.connect(primary.url(), autocommit=True) as naive:
                    told = asyncio.create_task(
                        asyncio.to_thread(naive.execute, "INSERT INTO naive VALUES (1)")
                    )
                    for _ in range(3):
                        await asyncio.sleep(AWAY_S / 3)  # some wait by then
                        operator.execute(waiting)
                    assert (await told).rowcount == 1
                await talk.accepts(MANY)
                await asyncio.to_thread(primary.kill)
                await asyncio.to_thread(standby.start)
                await asyncio.to_thread(standby.promote)
                await talk.accepts(MANY)
        with psycopg.connect(standby.url()) as now:
            assert now.execute("SELECT count(*) FROM naive").fetchall() == [(0,)], "the control"
        await drained(trial.relay)
        await check(trial, judged, "an operator ends waits for a standby", 1)


async def test_its_standby_frozen(
    primary: Cluster, standby: Cluster, opening: Opening, judged: Judged
) -> None:
    """Nothing is confirmed that the standby has not: so commits wait, and webhooks do not."""
    async with opening(standby) as trial:
        await trial.connect()
        async with trial.talking() as talk:
            for _ in range(TIMES):
                await talk.accepts(MANY)
                with standby.frozen():
                    await asyncio.sleep(AWAY_S)  # the time is what is tested
                    assert await spooled(trial.relay)
                await talk.accepts(MANY)
        await drained(trial.relay)
        await check(trial, judged, "a standby frozen")


@pytest.mark.parametrize("room", ["0", "30000"])
async def test_without_room_in_the_spool_webhooks_are_refused(
    room: str, primary: Cluster, opening: Opening, judged: Judged
) -> None:
    """The control of all the others, too: with no spool at all nobody is answered 2xx."""
    async with opening(spool_max_bytes=room) as trial:
        await trial.connect()
        async with trial.talking() as talk:
            await talk.accepts(MANY)
            await asyncio.to_thread(primary.kill)

            async def is_refused() -> bool:
                return any(one.refused in (429, 503) for one in trial.ledger.said)

            await until_true(is_refused)
            assert bool(await spooled(trial.relay)) is (room != "0")
            assert "relay_store_taking 0.0" in await trial.relay.metrics()
            await asyncio.to_thread(primary.start)
            await talk.accepts(MANY)
        judged(await trial.verdict(), f"PostgreSQL killed, {room} bytes of spool", 1, duplicates=32)
        assert "relay_store_taking 1.0" in await trial.relay.metrics()


async def test_a_server_that_dies_leaves_its_spool_to_the_next(
    primary: Cluster, opening: Opening, judged: Judged
) -> None:
    async with opening() as trial:
        await trial.connect()
        for _ in range(TIMES):
            async with trial.talking() as talk:
                await talk.accepts(MANY)
                await asyncio.to_thread(primary.kill)
                await talk.accepts(MANY)
                trial.relay.server.kill()
                await asyncio.to_thread(primary.start)
                await trial.relay.start()
                watch = Stopwatch()
                await drained(trial.relay)
                assert watch.elapsed_s < AGAIN_S
                await talk.accepts(MANY)
        await find_answered(trial)
        verdict = await trial.verdict()
        judged(verdict, "PostgreSQL and the server killed", TIMES, duplicates=WINDOW * TIMES)
        unanswered = sum(one.answered is None for one in trial.ledger.said)
        await check_gapless(trial, unanswered)  # as of those whose answer died with the server
        assert len(folders(trial.relay)) == 1
        trial.relay.server.terminate()
        assert await trial.relay.server.exit_status() == 0
        assert not folders(trial.relay)


async def test_a_server_starts_without_its_database(
    primary: Cluster, opening: Opening, judged: Judged
) -> None:
    """By the channels and tokens that it remembers: webhooks go into its spool."""
    async with opening() as trial:
        client = await trial.connect()
        async with trial.talking() as talk:
            await talk.accepts(MANY)
        trial.relay.server.terminate()
        assert await trial.relay.server.exit_status() == 0
        await asyncio.to_thread(primary.kill)
        await trial.relay.start()
        assert await trial.relay.is_ready()
        async with trial.talking() as talk:
            await talk.accepts(MANY)
        assert await spooled(trial.relay)
        await asyncio.to_thread(primary.start)
        await drained(trial.relay)
        assert client.alive, client.errors
        await check(trial, judged, "a server started while PostgreSQL was away")


def folders(relay: Relay) -> list[Path]:
    """The spools there are."""
    return list((relay.data_dir / "spool").iterdir())
