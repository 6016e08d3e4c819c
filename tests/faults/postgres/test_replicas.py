"""Two servers on one database: it dies under them, or its standby is promoted."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import psycopg
import pytest

from relay_server.store.postgres import turns
from tests.faults.postgres.conftest import DATABASE, open_replicas
from tests.faults.postgres.test_database_away import drained
from tests.support.chatwoot import message
from tests.support.postgres import Cluster
from tests.support.relay import Relay, make_reader
from tests.support.target import Target, open_target
from tests.support.waiting import until_true

pytestmark = pytest.mark.slow

Replicas = tuple[Relay, Relay]


async def send_to_both(replicas: Replicas, first: int, count: int) -> None:
    """Send webhooks of one conversation, to one and the other by turns."""
    for n in range(first, first + count):
        relay = replicas[n % 2]
        assert (await relay.send(message(relay.send_token, 1, n))).status == 200


async def lists(relay: Relay, count: int) -> list[dict[str, Any]]:
    """All events that a server lists, once it was told of so many: another one stored some."""

    async def listed() -> list[dict[str, Any]]:
        found = await relay.events()
        return found if len(found) == count else []

    return await until_true(listed)


def asked(cluster: Cluster, query: str) -> list[tuple[Any, ...]]:
    """What a database answers."""
    with psycopg.connect(cluster.url(DATABASE), autocommit=True) as connection:
        return connection.execute(query.encode()).fetchall()


def sessions(cluster: Cluster) -> int:
    """How many links of servers a database has, but for commits that wait for ever."""
    [(count,)] = asked(
        cluster,
        "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'relay/%'"
        " AND wait_event IS DISTINCT FROM 'SyncRep'",
    )
    return int(count)


async def test_readers_claim_anew_and_the_old_primary_is_left_alone(
    primary: Cluster, standby: Cluster, tmp_path: Path, target: Target
) -> None:
    async with (
        open_replicas(tmp_path, primary, standby) as replicas,
        open_target() as others,
        open_target() as later,
    ):
        first, second = replicas
        token = await make_reader("ana", first, second)
        ana = await first.connect(token, "--to", target.address)
        bia = await second.connect(await make_reader("bia", first, second), "--to", others.address)
        await send_to_both(replicas, 0, 4)
        await target.received(4)
        await others.received(4)

        shared = (await first.control("GET", "status"))["store"]["database"]
        assert (shared["primary"], shared["timeline"]) == (f"127.0.0.1:{primary.port}", 1)
        assert [(one["state"], one["sync"]) for one in shared["standbys"]] == [
            ("streaming", "sync")
        ]
        with primary.frozen():
            await send_to_both(replicas, 4, 4)
            await asyncio.to_thread(standby.promote)
            await send_to_both(replicas, 8, 4)
            await target.received(12)
            await others.received(12)
            owners = asked(standby, "SELECT owner, epoch >> 32 FROM relay.subscriptions")
            assert {epoch for _, epoch in owners} == {1}
            assert len({owner for owner, _ in owners}) == 2

        async def is_left_alone() -> bool:
            return await asyncio.to_thread(sessions, primary) == 0

        await until_true(is_left_alone)
        assert ana.alive, ana.errors
        assert bia.alive, bia.errors
        await second.connect(token, "--to", later.address)
        assert await ana.exit_status() == 5
        await send_to_both(replicas, 12, 2)
        await later.received(2)
        await others.received(14)
        assert await is_left_alone()
        for one in (target, others):
            assert len(set(one.event_ids)) == len(one.event_ids)
        assert len(target.event_ids) == 12
        listed = [event["id"] for event in await lists(first, 14)]
        assert listed == [event["id"] for event in await lists(second, 14)]
        assert len(set(listed)) == 14


async def test_what_both_spooled_is_stored_in_the_order_in_which_it_came(
    primary: Cluster, tmp_path: Path
) -> None:
    """To a quarter of a second, where each for itself would bring all of one first."""
    async with open_replicas(tmp_path, primary) as replicas:
        await send_to_both(replicas, 0, 2)
        await asyncio.to_thread(primary.kill)
        for n in range(2, 22):
            await send_to_both(replicas, n, 1)
            await asyncio.sleep(0.1)  # the times at which they came are what is tested
        await asyncio.to_thread(primary.start)
        for relay in replicas:
            await drained(relay)
        times = [event["received_at"] for event in reversed(await lists(replicas[0], 22))]
        behind = [max(times[: n + 1]) - time for n, time in enumerate(times)]
        assert max(behind) <= turns.ASIDE_MS
