"""A standby is promoted under two servers: whoever read goes on, under a claim that it gave."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.faults.postgres.conftest import DATABASE, KEY, place_of
from tests.support.chatwoot import message
from tests.support.postgres import Cluster
from tests.support.processes import ending
from tests.support.relay import Relay, running
from tests.support.target import Target, open_target
from tests.support.waiting import until_true

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

Replicas = tuple[Relay, Relay]


@pytest.fixture
async def replicas(primary: Cluster, standby: Cluster, tmp_path: Path) -> AsyncIterator[Replicas]:
    """Two that run on a primary and its standby; the same token sends to both."""
    settings = {"store_url": place_of(primary, standby), "secret_key": KEY}
    async with AsyncExitStack() as stack:
        first, second = Relay(tmp_path / "a", **settings), Relay(tmp_path / "b", **settings)
        for relay in (first, second):
            relay.folder.mkdir()
        await stack.enter_async_context(running(first))
        stack.enter_context(ending(second.processes))
        await second.start()
        second.send_token = first.send_token
        yield first, second


async def send_to_both(replicas: Replicas, first: int, count: int) -> None:
    """Send webhooks of one conversation, to one and the other by turns."""
    for n in range(first, first + count):
        relay = replicas[n % 2]
        assert (await relay.send(message(relay.send_token, 1, n))).status == 200


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
    primary: Cluster, standby: Cluster, replicas: Replicas, target: Target
) -> None:
    first, second = replicas
    token = await first.make_token("ana", "subscribe")
    async with open_target() as others, open_target() as later:
        ana = await first.connect(token, "--to", target.address)
        bia = await second.connect(
            await first.make_token("bia", "subscribe"), "--to", others.address
        )
        await send_to_both(replicas, 0, 4)
        await target.received(4)
        await others.received(4)

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
        listed = [event["id"] for event in await first.events()]
        assert listed == [event["id"] for event in await second.events()]
        assert len(set(listed)) == 14
