"""What others do to the database, and the network to the way there: webhooks are answered."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing, contextmanager

import psycopg
import pytest

from tests.faults.conftest import Judged
from tests.faults.postgres.conftest import DATABASE, Opening
from tests.faults.postgres.test_database_away import AWAY_S, check, drained, spooled
from tests.support.postgres import Cluster
from tests.support.proxy import Link, open_proxy
from tests.support.seeds import short_or_deep

pytestmark = pytest.mark.slow

TIMES = short_or_deep(1, 3)
MANY = short_or_deep(60, 200)
HEAVY = "SELECT count(*) FROM generate_series(1, 30000000) AS one (n) WHERE n % 7 = 3"


@contextmanager
def session(
    cluster: Cluster, database: str, *, commits: bool = False
) -> Iterator[psycopg.Connection]:
    """Somebody else's, in a transaction unless it commits at once."""
    with closing(psycopg.connect(cluster.url(database), autocommit=commits)) as connection:
        yield connection


@pytest.mark.deep
async def test_others_lock_its_tables(primary: Cluster, opening: Opening, judged: Judged) -> None:
    """As a migration does, or somebody at a prompt who went for lunch."""
    async with opening() as trial:
        client = await trial.connect()
        async with trial.talking() as talk:
            for table in ("events", "channels"):
                await talk.accepts(MANY)
                with session(primary, DATABASE) as other:
                    other.execute(f"LOCK TABLE relay.{table}".encode())
                    await asyncio.sleep(AWAY_S)  # the time is what is tested
                    assert await spooled(trial.relay)
                await drained(trial.relay)
            await talk.accepts(MANY)
        assert client.alive, client.errors
        await check(trial, judged, "its tables locked by others", 2)


@pytest.mark.deep
async def test_others_write_for_long_and_ask_much(
    primary: Cluster, opening: Opening, judged: Judged
) -> None:
    """Readers go by sequences, which wait for no transaction of others."""
    horizon = "SELECT pg_snapshot_xmin(pg_current_snapshot())::text"
    async with opening() as trial:
        await trial.connect()
        with (
            session(primary, "postgres") as writing,
            session(primary, "postgres", commits=True) as asking,
            session(primary, DATABASE, commits=True) as looking,
        ):
            writing.execute("CREATE TABLE somebodys (n bigint)")
            asked = asyncio.create_task(asyncio.to_thread(asking.execute, HEAVY))
            [before] = looking.execute(horizon).fetchall()
            async with trial.talking() as talk:
                await talk.accepts(MANY)
            await trial.settle()
            taken = len(trial.ledger.reader("ana").taken)
            [after] = looking.execute(horizon).fetchall()
            asking.cancel()
            await asyncio.gather(asked, return_exceptions=True)
        assert taken == len(trial.ledger.accepted)
        assert before == after, "the control: who reads below it has nothing until others end"
        await check(trial, judged, "others write for long and ask much", 1)


@pytest.mark.parametrize("how", ["cut", pytest.param("silent", marks=pytest.mark.deep)])
async def test_the_network_to_it_fails(
    how: str, primary: Cluster, opening: Opening, judged: Judged
) -> None:
    def silence(link: Link, on: bool = True) -> None:
        link.up.swallow(on)
        link.down.swallow(on)

    async with open_proxy(primary.port) as way:
        url = f"postgresql://postgres@127.0.0.1:{way.port}/{DATABASE}"
        async with opening(store_url=url) as trial:
            client = await trial.connect()
            async with trial.talking() as talk:
                for _ in range(TIMES):
                    await talk.accepts(MANY)
                    if how == "cut":
                        await way.stop()
                    else:
                        way.on_link = silence
                        for link in way.links:
                            silence(link)
                    await talk.accepts(MANY)
                    assert await spooled(trial.relay)
                    if how == "cut":
                        await way.start()
                    else:
                        way.on_link = lambda _: None
                        for link in way.links:
                            link.cut()
                    await drained(trial.relay)
                await talk.accepts(MANY)
            assert client.alive, client.errors
            await check(trial, judged, f"the network to PostgreSQL {how}", TIMES)
