"""Who looks for a primary that is away, and how often."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from unittest.mock import create_autospec

import pytest

from relay_server.store.postgres import primary
from relay_server.store.postgres.finding import LinkLost
from relay_server.store.postgres.link import Link, Watch
from relay_server.store.postgres.primary import Primary

WATCH = create_autospec(Watch)


class Database:
    """One that is there, or is not.

    Attributes:
        timeline: Of the primary that answers.
        asked: How often a link to it was made, or tried to be.
        answers: Set while it says whether it is there.
    """

    def __init__(self) -> None:
        self.is_there, self.asked, self.timeline = False, 0, 1
        self.answers = threading.Event()
        self.answers.set()

    def link(self, _: str) -> Link:
        self.asked += 1
        self.answers.wait()
        if not self.is_there:
            raise LinkLost("it is away")
        link = object.__new__(Link)
        link.timeline, link.close = self.timeline, lambda: None  # type: ignore[method-assign]
        return link


class Clock:
    """Stands in for `time`: it goes on where a test has it."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def monotonic(self) -> float:
        return self.now_s


def tries(looked: Primary, count: int) -> int:
    """How many of some at once get no link."""

    def is_refused(_: int) -> bool:
        try:
            looked.connect("read")
        except LinkLost as exc:
            assert "it is away" in str(exc)  # noqa: PT017  (each that is refused says why)
            return True
        return False

    with ThreadPoolExecutor(count) as threads:
        return sum(threads.map(is_refused, range(count)))


def test_while_it_is_away_one_looks_and_all_others_are_told_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock()
    monkeypatch.setattr(primary, "time", clock)
    database = Database()
    looked = Primary(database.link, WATCH)
    assert tries(looked, 1) == 1
    assert tries(looked, 20) == 20
    assert database.asked == 1

    clock.now_s += primary.LONGEST_S
    database.answers.clear()
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(tries, looked, 1)
        while database.asked < 2:
            time.sleep(0.001)  # a thread of another has no event
        assert tries(looked, 8) == 8
        database.answers.set()
        assert first.result() == 1
    assert database.asked == 2


def test_once_it_is_back_everybody_gets_links(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(primary, "SHORTEST_S", 0.0)
    monkeypatch.setattr(primary, "LONGEST_S", 0.0)
    database = Database()
    looked = Primary(database.link, WATCH)
    assert tries(looked, 1) == 1
    database.is_there = True
    assert tries(looked, 1) == 0
    assert tries(looked, 9) == 0
    assert database.asked == 11


def test_of_two_primaries_the_one_promoted_last_is_taken_and_no_older_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All calls to the one before end with the first link to it."""
    monkeypatch.setattr(primary, "LONGEST_S", 0.0)
    monkeypatch.setattr(primary, "SHORTEST_S", 0.0)
    database, watch, told = Database(), create_autospec(Watch), list[int]()
    database.is_there = True
    looked = Primary(database.link, watch)
    looked.on_promoted = lambda: told.append(database.timeline)
    assert tries(looked, 2) == 0
    assert told == []
    watch.abandon_before.assert_not_called()

    database.timeline = 3
    assert tries(looked, 2) == 0
    assert told == [3]
    watch.abandon_before.assert_called_once_with(3)

    database.timeline = 1
    with pytest.raises(LinkLost, match="only an old primary answers"):
        looked.connect("append")
