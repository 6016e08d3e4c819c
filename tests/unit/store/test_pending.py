"""Progress that waits is small, and survives transactions that fail."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import apsw
import pytest

from relay_server.store.sqlite import pending as pending_module
from relay_server.store.sqlite.database import Database, prepare
from relay_server.store.sqlite.pending import MIN_PIECE, Pending
from relay_server.store.sqlite.positions import position
from relay_server.values import Claim, Mark, MarkState, Progress
from tests.support.events import attempt, mark

CLAIM = Claim(1, 1, Progress(0))
NEWER = Claim(1, 2, Progress(0))


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """A store's database with one subscription, claimed once, and events."""
    with closing(Database(tmp_path / "relay.db")) as database:
        prepare(database)
        database.run("create_channel", name="chatwoot", config=b"", now=0)
        database.run("create_subscription", channel=1, name="ana", now=0, start=0, config=b"\x80")
        database.run("claim", number=1)
        rows = [
            (position(1, n), f"evt_{n}", 0, 0, 0, "", "", None, None, b"", b"", None, None)
            for n in range(1, 100)
        ]
        database.run_rows("append", rows)
        yield database


def written(database: Database) -> tuple[int, list[int], int]:
    """Floor, marked sequences, number of attempts."""
    marks = [row[0] for row in database.all("marks_above", reader=1, floor=0)]
    connection = database.connection
    [row] = connection.execute(
        "SELECT floor, (SELECT count(*) FROM attempts) FROM subscriptions"
    ).fetchall()
    floor, attempts = map(int, row)  # type: ignore[arg-type]
    return floor, marks, attempts


def test_only_the_first_addition_asks_to_be_written(database: Database) -> None:
    pending = Pending()

    asked = [pending.add(CLAIM, Progress(n)) for n in range(3)]
    pending.write(database)

    assert asked == [True, False, False]
    assert not pending.waiting
    assert pending.add(CLAIM, Progress(3))


def test_what_a_floor_says_is_not_written_twice(database: Database) -> None:
    pending = Pending()
    pending.add(CLAIM, Progress(1, (mark(1), mark(2, MarkState.DEAD), mark(3), mark(5))))
    pending.add(CLAIM, Progress(3, (), (attempt(1), attempt(3))))

    pending.write(database)

    assert written(database) == (3, [2, 5], 2)


def test_a_failed_transaction_loses_nothing(database: Database) -> None:
    pending = Pending()
    pending.add(CLAIM, Progress(2, (mark(3), mark(4, MarkState.UNDER_WAY)), (attempt(3),)))

    database.begin()
    pending.write(database)
    pending.add(CLAIM, Progress(1, (mark(4, MarkState.DEAD), mark(6)), (attempt(4),)))
    database.rollback()
    pending.failed()
    pending.write(database)

    assert written(database) == (2, [3, 4, 6], 2)
    assert database.all("marks_above", reader=1, floor=3)[0][:2] == (4, MarkState.DEAD)


def test_progress_is_kept_when_writing_it_fails(database: Database) -> None:
    """The disk may be full in the middle of it, before the transaction could be handed over."""
    pending = Pending()
    pending.add(CLAIM, Progress(1, (mark(2, MarkState.DEAD),), (attempt(2),)))
    database.connection.execute("ALTER TABLE attempts RENAME TO hidden")

    database.begin()
    with pytest.raises(apsw.SQLError):
        pending.write(database)
    database.rollback()
    pending.failed()

    assert pending.waiting
    database.connection.execute("ALTER TABLE hidden RENAME TO attempts")
    pending.write(database)
    assert written(database) == (1, [2], 1)


def test_a_newer_claim_ends_what_an_older_one_had(database: Database) -> None:
    pending = Pending()
    pending.add(CLAIM, Progress(9, (mark(12),)))
    pending.add(NEWER, Progress(1))
    pending.add(CLAIM, Progress(10))
    pending.write(database)
    assert written(database) == (0, [], 0)  # claimed once only: the newer one is not known yet

    pending.add(Claim(1, 3, Progress(0)), Progress(4))
    pending.failed()
    database.run("claim", number=1)
    database.run("claim", number=1)
    pending.write(database)

    assert written(database) == (4, [], 0)


def test_a_subscription_that_is_gone_leaves_nothing(database: Database) -> None:
    pending = Pending()
    pending.add(
        Claim(99, 1, Progress(0)), Progress(0, (Mark(1, MarkState.DEAD, 1),), (attempt(1),))
    )

    pending.write(database)

    assert database.all("marks_above", reader=99, floor=0) == []
    assert written(database) == (0, [], 0)


def test_attempts_that_cannot_be_written_are_bounded(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pending_module, "MAX_ATTEMPTS", 3)
    pending = Pending()
    for n in range(1, 6):
        pending.add(CLAIM, Progress(0, (), (attempt(n),)))
    database.begin()
    pending.write(database)
    pending.add(CLAIM, Progress(0, (), (attempt(6),)))
    database.rollback()
    pending.failed()

    pending.write(database)

    found = database.connection.execute("SELECT sequence FROM attempts").fetchall()
    assert [n for (n,) in found] == [4, 5, 6]


def test_marks_that_cannot_be_written_are_bounded_but_for_those_that_matter(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pending_module, "MAX_MARKS", 20)
    pending = Pending()
    pending.add(CLAIM, Progress(0, (mark(1, MarkState.DEAD), mark(2, MarkState.UNDER_WAY))))
    for n in range(3, 1_000):
        pending.add(CLAIM, Progress(0, (mark(n),)))
        assert len(pending._changes[1].marks) <= 21

    pending.write(database)

    _, marked, _ = written(database)
    assert marked[:2] == [1, 2]
    assert marked[-1] == 999
    assert marked[2:] == list(range(marked[2], 1_000)), "the oldest are forgotten"


def test_a_dead_delivery_below_the_floor_outlives_the_bound(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pending_module, "MAX_MARKS", 20)
    pending = Pending()
    for n in range(1, 100):
        state = MarkState.DEAD if n % 2 else MarkState.DELIVERED
        pending.add(CLAIM, Progress(n, (mark(n, state),)))

    pending.write(database)

    assert written(database)[1] == list(range(1, 100, 2))


# In pieces, after a transaction that did not fit


def fail_once(pending: Pending, database: Database) -> None:
    """Have a transaction fail, as if it did not fit."""
    database.begin()
    pending.write(database)
    database.rollback()
    pending.failed()


def committed(pending: Pending, database: Database) -> None:
    """One more transaction, which fits."""
    database.begin()
    pending.write(database)
    database.commit()
    pending.written()


DEAD_BELOW = list(range(1, 60, 2))
FLOOR = 60


def much_progress() -> Progress:
    """Every other delivery below the floor is dead; above it some are done, and some wait."""
    states = [mark(n, MarkState.DEAD) for n in DEAD_BELOW]
    states += [mark(n, MarkState.WAITING if n % 3 else MarkState.DELIVERED) for n in range(62, 99)]
    return Progress(
        FLOOR, tuple(states), tuple(attempt(n, k) for n in range(1, 99) for k in (1, 2))
    )


def test_what_did_not_fit_is_written_in_pieces_that_grow(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pending_module, "MIN_PIECE", 4)
    pending = Pending()
    pending.add(CLAIM, much_progress())
    for _ in range(4):
        fail_once(pending, database)

    counts = [0]
    while pending.waiting:
        committed(pending, database)
        _, marks, attempts = written(database)
        counts.append(len(marks) + attempts)

    steps = [after - before for before, after in itertools.pairwise(counts)]
    assert steps[0] <= 4
    assert all(step <= 4 << n for n, step in enumerate(steps))
    assert written(database) == (FLOOR, DEAD_BELOW + list(range(62, 99)), 2 * 98)
    assert not pending.left


def test_each_piece_leaves_a_whole_state_behind(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a crash nobody is missing that died, and no later event is ahead of an earlier one."""
    monkeypatch.setattr(pending_module, "MIN_PIECE", 1)
    pending = Pending()
    pending.add(CLAIM, much_progress())

    while pending.waiting:
        fail_once(pending, database)
        committed(pending, database)
        floor, marks, _ = written(database)
        assert [n for n in marks if n <= floor] == [n for n in DEAD_BELOW if n <= floor]
        above = [n for n in marks if n > floor]
        assert not above or floor == FLOOR
        assert above == list(range(62, 62 + len(above)))


def test_a_floor_that_passes_many_marks_goes_in_steps(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To delete them takes room, too."""
    monkeypatch.setattr(pending_module, "MIN_PIECE", 10)
    pending = Pending()
    pending.add(CLAIM, Progress(0, tuple(mark(n) for n in range(2, 99))))
    committed(pending, database)
    pending.add(CLAIM, Progress(98))

    fail_once(pending, database)
    committed(pending, database)

    assert written(database) == (11, list(range(12, 99)), 0)
    while pending.waiting:
        committed(pending, database)
    assert written(database) == (98, [], 0)


def test_a_piece_is_of_all_readers_together_subscriptions_first(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a replay did is judged by how far its subscription is."""
    monkeypatch.setattr(pending_module, "MIN_PIECE", 20)
    replayed = {"start": 0, "until": 98, "rate_per_s": 1.0, "selection": b""}
    database.run("create_replay", subscription=1, channel=1, now=0, made_by="", **replayed)
    database.run("claim_replay", number=1)
    pending = Pending()
    replay = Claim(-1, 1, Progress(0))
    pending.add(replay, Progress(98, tuple(mark(n, MarkState.DEAD) for n in range(1, 99))))
    pending.add(CLAIM, Progress(98, (), tuple(attempt(n) for n in range(1, 99))))

    fail_once(pending, database)
    pending._piece = 20
    committed(pending, database)

    assert written(database)[2] == 20
    assert database.all("marks_above", reader=-1, floor=0) == []
    while pending.waiting:
        committed(pending, database)
    died = database.all("list_dead", first=position(1, 0), subscription=1, after=0, limit=99)
    assert len(died) == 98


def test_whoever_claims_a_subscription_sees_what_the_pieces_left(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pending_module, "MIN_PIECE", 4)
    pending = Pending()
    pending.add(CLAIM, much_progress())
    fail_once(pending, database)
    pending._piece = 4

    for fits in (False, True):
        database.begin()
        pending.write(database)
        pending.write_all_of(database, 1)
        if fits:
            database.commit()
            pending.written()
        else:
            database.rollback()
            pending.failed()
            assert written(database) == (0, [], 0)

    assert written(database) == (FLOOR, DEAD_BELOW + list(range(62, 99)), 2 * 98)
    assert not pending.waiting


def test_an_older_claim_never_displaces_a_newer_one(database: Database) -> None:
    pending = Pending()
    pending.add(CLAIM, Progress(0))
    pending.add(Claim(1, 2, Progress(0)), Progress(7))
    database.run("claim", number=1)
    database.begin()
    pending.write(database)
    pending.add(CLAIM, Progress(3))
    database.rollback()
    pending.failed()

    pending.write(database)

    assert written(database)[0] == 7


def test_a_piece_that_cannot_be_smaller_gets_on(database: Database) -> None:
    """Though no transaction fitted for as long as anybody tried."""
    pending = Pending()
    pending.add(CLAIM, much_progress())
    for _ in range(9):
        fail_once(pending, database)

    committed(pending, database)

    _, marks, attempts = written(database)
    assert 0 < len(marks) + attempts <= MIN_PIECE


def test_a_floor_s_step_ends_before_the_mark_that_is_too_many(database: Database) -> None:
    """Of those that go when it passes: of this reader, behind the last floor, and not kept."""
    kept = [(1, 12, MarkState.DEAD), (1, 13, MarkState.DISCARDED)]
    outside = [(1, 10, MarkState.DELIVERED), (1, 18, MarkState.DELIVERED)]
    going = [(1, n, MarkState.DELIVERED) for n in (11, 14, 15)] + [(1, 17, MarkState.WAITING)]
    others = [(2, n, MarkState.DELIVERED) for n in range(9, 20)]
    rows = [
        (reader, sequence, int(state), 1, 0, 0, None, "", 0)
        for reader, sequence, state in kept + outside + going + others
    ]
    database.run_rows("mark", rows)

    passed = {"reader": 1, "before": 10, "floor": 17}
    found = [database.value("nth_passed_mark", nth=nth, **passed) for nth in range(5)]

    assert found == [11, 14, 15, 17, None]
