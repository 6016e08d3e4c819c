"""What the store keeps, looks at and answers at once, as long as nobody says otherwise."""

from __future__ import annotations

from pathlib import Path

import pytest

from relay_server.store import integrity, readers
from relay_server.store.integrity import MAX_PROBLEMS
from relay_server.store.recent import MAX_BYTES, MAX_EVENTS, Recent
from relay_server.values import Event, ReplayState, Selection
from tests.support.clock import START_MS
from tests.support.events import event_head
from tests.support.stores import append_many, make_channel, make_subscription, open_test_store


@pytest.mark.parametrize(("weight", "fits"), [(1, MAX_EVENTS), (MAX_BYTES // 8, 8)])
def test_what_is_kept_in_memory_is_bounded(weight: int, fits: int) -> None:
    """Both in number and in bytes."""
    recent = Recent()
    for sequence in range(1, fits + 2):
        recent.add(Event(1, event_head(sequence), b""), weight)

    assert recent.outlines(0, 1) is None, "the first fell out"
    assert len(recent.outlines(1, fits) or ()) == fits


@pytest.mark.parametrize(("text", "bound"), [(None, "LOOK_AT"), ("nowhere", "LOOK_AT_BODIES")])
async def test_one_look_of_a_replay_goes_so_far(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None, bound: str
) -> None:
    """It finds nothing, and has come further all the same; the next look goes on."""
    monkeypatch.setattr(readers, bound, 3)
    async with open_test_store("sqlite", tmp_path) as store:
        channel = await make_channel(store)
        subscription, _ = await make_subscription(store)
        await append_many(store, channel, 10)
        selection = Selection(text=text) if text else Selection(kind="nothing")
        replay = await store.create_replay(subscription, selection, 20.0, START_MS)

        first = await store.select(channel.number, replay, 0, 256)
        second = await store.select(channel.number, replay, first.read_up_to, 256)

    assert (list(first.outlines), first.read_up_to, second.read_up_to) == ([], 3, 6)


async def test_the_newest_replays_are_listed_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readers, "MAX_LISTED_REPLAYS", 2)
    async with open_test_store("sqlite", tmp_path) as store:
        await make_channel(store)
        subscription, _ = await make_subscription(store)
        made = []
        for _ in range(3):
            replay = await store.create_replay(subscription, Selection(), 20.0, START_MS)
            await store.end_replay(replay.number, ReplayState.STOPPED, START_MS)
            made.append(replay.number)

        listed = [replay.number for replay in await store.replays()]

    assert listed == made[:0:-1]


def test_of_many_problems_a_few_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    many = [f"problem {n}" for n in range(MAX_PROBLEMS + 1)]
    monkeypatch.setattr(integrity, "_inconsistencies", lambda _: iter(many))

    class Sound:
        """A database in which SQLite finds nothing."""

        connection = property(lambda self: self)

        def execute(self, _: str) -> Sound:
            return self

        def fetchall(self) -> list[tuple[str]]:
            return [("ok",)]

    assert integrity.problems(Sound()) == many[:MAX_PROBLEMS]  # type: ignore[arg-type]
