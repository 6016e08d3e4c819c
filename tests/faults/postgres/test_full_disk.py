"""The database's disk is full: nothing is deleted, the database lives, and webhooks are spooled."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path
from random import Random

import psycopg
import pytest

from tests.faults.conftest import Judged
from tests.faults.postgres.conftest import DATABASE, KEY
from tests.faults.postgres.test_database_away import check, drained, spooled
from tests.support.disks import MIB, SmallDisk, small_disk
from tests.support.postgres import Cluster, folder_of_its_own, need_postgres
from tests.support.relay import Constant
from tests.support.seeds import short_or_deep
from tests.support.senders import post_all, request
from tests.support.trial import STRICT, Trial, open_trial
from tests.support.waiting import Stopwatch, until_true

pytestmark = pytest.mark.slow

SMALL_LOG = ("max_wal_size=48MB", "min_wal_size=32MB")
BUSY_UPKEEP: tuple[Constant, ...] = (
    *(("relay_server.app", f"UPKEEP_{name}S", 0.1) for name in ("", "FULL_", "LOOK_")),
    ("relay_server.store.postgres.draining", "FULL_AGAIN_S", 1.0),
)
KEPT_S = 2.0  # events of another channel
PACE_S = 0.05  # of twelve conversations: some 200 webhooks a second
MANY = short_or_deep(100, 2_000)
AGAIN_S = 30.0  # from when there is room until all goes on
ROWS = 25_000  # whose pages are more than its log has room for


@pytest.fixture
def small() -> Iterator[tuple[Cluster, SmallDisk]]:
    """A cluster whose files and log are on a disk of its own."""
    need_postgres()
    folder = folder_of_its_own()
    with small_disk(folder, 160 * MIB) as disk, Cluster(SMALL_LOG, folder) as cluster:
        cluster.create(DATABASE)
        yield cluster, disk
    shutil.rmtree(folder, ignore_errors=True)


def webhook(trial: Trial, number: int) -> bytes:
    """One of the other channel."""
    return request(f"/c/old/{number}", b"{}", token=trial.relay.send_token)


def deleted(cluster: Cluster) -> int:
    """How many events the database deleted."""
    with psycopg.connect(cluster.url(DATABASE)) as connection:
        query = "SELECT n_tup_del FROM pg_stat_user_tables WHERE relname = 'events'"
        [(count,)] = connection.execute(query).fetchall()
    return int(count)


async def test_webhooks_are_spooled_and_all_goes_on_once_there_is_room(
    small: tuple[Cluster, SmallDisk], tmp_path: Path, rng: Random, judged: Judged
) -> None:
    """To delete takes room in the database's log: without any the whole server would end."""
    cluster, disk = small
    where = {"store_url": cluster.url(DATABASE), "secret_key": KEY}
    async with (
        open_trial(tmp_path / "trial", rng, constants=BUSY_UPKEEP, **where) as trial,
        trial.measuring(),
    ):
        await trial.set_policy(**STRICT)
        await trial.connect()
        old = {"name": "old", "retention_days": KEPT_S / 86_400}
        await trial.relay.control("POST", "channels", old)
        async with trial.talking(pause_s=PACE_S) as talk:
            await talk.accepts(MANY)
            await post_all(trial.port, [webhook(trial, number) for number in range(20)])
            disk.fill()
            await talk.accepts(MANY)
            before = deleted(cluster)
            await asyncio.sleep(KEPT_S)  # the time is what is tested: these may go by now
            assert await spooled(trial.relay)
            assert deleted(cluster) == before
            disk.clear()
            watch = Stopwatch()
            await drained(trial.relay)
            assert watch.elapsed_s <= AGAIN_S
            await talk.accepts(MANY)

            async def is_clean() -> bool:
                return not await trial.relay.events("old")

            await until_true(is_clean)
        await check(trial, judged, "the database's disk full", 1)
    assert "PANIC" not in (cluster.folder / "log").read_text()


@pytest.mark.deep
def test_the_control_who_deletes_on_a_full_disk_ends_the_database(
    small: tuple[Cluster, SmallDisk],
) -> None:
    """To insert fails, and is all: it wants room for the table first."""
    cluster, disk = small
    with psycopg.connect(cluster.url(DATABASE), autocommit=True) as connection:
        connection.execute("CREATE TABLE lines (body text)")
        lines = "INSERT INTO lines SELECT repeat('x', 1900) FROM generate_series(1, %s)"
        connection.execute(lines, (ROWS,))
        connection.execute("CHECKPOINT")
        connection.execute("CHECKPOINT")
        disk.fill()
        with pytest.raises(psycopg.errors.DiskFull):
            connection.execute("INSERT INTO lines SELECT body FROM lines")
        with pytest.raises(psycopg.OperationalError):
            connection.execute("DELETE FROM lines")
    assert "PANIC" in (cluster.folder / "log").read_text()
