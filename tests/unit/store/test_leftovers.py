"""What is left in the tables of what is settled and gone: nothing that grows for ever."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import apsw

from relay_server.store.sqlite.store import FILE_NAME
from relay_server.values import MarkState, Progress
from tests.support.events import mark
from tests.support.stores import append_many, make_channel, make_subscription, open_test_store


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
        store.record(claim, Progress(0, (mark(2), mark(4), mark(5, MarkState.DEAD))))
        await store.flush()
        assert await store.remove(channel.number, [2, 4]) == 2
        before = marks(tmp_path)

        assert await store.drop_oldest(channel.number, 2) == 2

        assert before == [(ana.number, 2, 3), (ana.number, 4, 3), (ana.number, 5, 4)]
        assert marks(tmp_path) == [(ana.number, 4, 3), (ana.number, 5, 4)]
