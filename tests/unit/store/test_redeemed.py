"""What is left in the tables of deliveries that a replay ended."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import apsw

from relay_server.store.sqlite.store import FILE_NAME
from relay_server.values import Claim, MarkState, Progress, Selection
from tests.support.clock import START_MS
from tests.support.events import attempt, mark
from tests.support.stores import append_many, make_channel, make_subscription, open_test_store


async def test_below_the_floor_nothing_is_left_and_above_it_all_that_counts(tmp_path: Path) -> None:
    """Of the replay's own subscription alone."""
    async with open_test_store("sqlite", tmp_path) as store:
        channel = await make_channel(store)
        bia, its = await make_subscription(store, name="bia")
        ana, hers = await make_subscription(store, name="ana")
        await append_many(store, channel, 6)
        await store.create_replay(bia, Selection(), 20.0, START_MS)
        dead = tuple(mark(n, MarkState.DEAD) for n in (1, 2, 3))
        store.record(hers, Progress(2, (*dead, mark(5))))
        store.record(its, Progress(0, (mark(1), mark(2), mark(3))))
        replay = await store.create_replay(ana, Selection(), 20.0, START_MS)
        claimed = await store.claim(replay.number)
        assert isinstance(claimed, Claim)

        store.record(claimed, Progress(3, (), (attempt(1, 1, 500), attempt(2), attempt(3))))
        await store.flush()

        with closing(apsw.Connection(str(tmp_path / FILE_NAME))) as connection:
            rows = connection.execute(
                "SELECT subscription, sequence, state FROM deliveries ORDER BY 1, 2"
            ).fetchall()

    assert rows == [
        *((bia.number, n, MarkState.DELIVERED) for n in (1, 2, 3)),
        (ana.number, 1, MarkState.DEAD),
        (ana.number, 3, MarkState.DELIVERED),
        (ana.number, 5, MarkState.DELIVERED),
    ]
