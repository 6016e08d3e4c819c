"""What is left in the tables of what is settled and gone: nothing that grows for ever."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import apsw

from relay_server.store.sqlite.store import FILE_NAME
from relay_server.values import MarkState, Progress
from tests.support.events import attempt, mark
from tests.support.stores import (
    append_many,
    make_channel,
    make_replay,
    make_subscription,
    open_test_store,
    record,
)


def marks(data_dir: Path) -> list[tuple[int, int, int]]:
    """Subscription, sequence and state of each."""
    with closing(apsw.Connection(str(data_dir / FILE_NAME))) as connection:
        rows = connection.execute("SELECT subscription, sequence, state FROM deliveries")
        return sorted(tuple(map(int, row)) for row in rows)  # type: ignore[misc]


async def test_marks_of_events_that_were_gone_before_go_when_the_floor_is_past_them(
    tmp_path: Path,
) -> None:
    """Above it they stay: what waits is counted by them."""
    async with open_test_store("sqlite", tmp_path) as store:
        await make_channel(store, "other")
        channel = await make_channel(store)
        ana, claim = await make_subscription(store)
        await append_many(store, channel, 6)
        await record(store, claim, Progress(0, (mark(2), mark(4), mark(5, MarkState.DEAD))))
        assert await store.remove(channel.number, [2, 4]) == 2
        before = marks(tmp_path)

        assert await store.drop_oldest(channel.number, 2) == 2

        assert before == [(ana.number, 2, 3), (ana.number, 4, 3), (ana.number, 5, 4)]
        assert marks(tmp_path) == [(ana.number, 4, 3), (ana.number, 5, 4)]


async def test_below_the_floor_nothing_is_left_and_above_it_all_that_counts(tmp_path: Path) -> None:
    """Of the replay's own subscription alone."""
    async with open_test_store("sqlite", tmp_path) as store:
        channel = await make_channel(store)
        bia, its = await make_subscription(store, name="bia")
        ana, hers = await make_subscription(store, name="ana")
        await append_many(store, channel, 6)
        await make_replay(store, bia)
        dead = tuple(mark(n, MarkState.DEAD) for n in (1, 2, 3))
        store.record(hers, Progress(2, (*dead, mark(5))))
        store.record(its, Progress(0, (mark(1), mark(2), mark(3))))
        _, claimed = await make_replay(store, ana)

        await record(store, claimed, Progress(3, (), (attempt(1, 1, 500), attempt(2), attempt(3))))

    assert marks(tmp_path) == [
        *((bia.number, n, MarkState.DELIVERED) for n in (1, 2, 3)),
        (ana.number, 1, MarkState.DEAD),
        (ana.number, 3, MarkState.DELIVERED),
        (ana.number, 5, MarkState.DELIVERED),
    ]
