"""Progress that waits is small, and survives transactions that fail or have little room."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple, TypeAlias

import apsw
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from relay_server.spans import Span, above, joined
from relay_server.store.sql import pending as pending_module
from relay_server.store.sql.pending import MIN_LEAN_ROWS, Pending
from relay_server.store.sql.positions import position
from relay_server.store.sqlite.database import Database, prepare
from relay_server.values import Claim, Mark, MarkState, Progress
from tests.support.events import attempt, mark
from tests.support.tries import tries

CLAIM = Claim(1, 1, Progress(0))
NEWER = Claim(1, 2, Progress(0))
REPLAY = Claim(-1, 1, Progress(0))
PLENTY = 1 << 40

Written: TypeAlias = tuple[int, list[int], int]


def fill(database: Database) -> None:
    """One subscription and a replay of it, each claimed once, and 99 events."""
    prepare(database)
    database.run("create_channel", name="chatwoot", config=b"", now=0)
    database.run("create_subscription", channel=1, name="ana", now=0, start=0, config=b"\x80")
    database.run("claim", number=1)
    replayed = {"start": 0, "until": 99, "rate_per_s": 1.0, "selection": b""}
    database.run("create_replay", subscription=1, channel=1, now=0, made_by="", **replayed)
    database.run("claim_replay", number=1)
    rows = [
        (position(1, n), f"evt_{n}", 0, 0, 0, "", "", None, None, b"", b"", None, None, None)
        for n in range(1, 100)
    ]
    database.run_rows("append", rows)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """A store's database with a subscription and a replay."""
    with closing(Database(tmp_path / "relay.db")) as database:
        fill(database)
        yield database


@pytest.fixture
def few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lean transaction takes four rows at most."""
    monkeypatch.setattr(pending_module, "MAX_LEAN_ROWS", 4)
    monkeypatch.setattr(pending_module, "MIN_LEAN_ROWS", 1)


def written(database: Database) -> Written:
    """Floor, marked sequences, number of attempts of the subscription."""
    marks = [row[0] for row in database.all("marks_above", reader=1, floor=0)]
    [row] = database.connection.execute(
        "SELECT floor, (SELECT count(*) FROM attempts WHERE subscription = 1) FROM subscriptions"
    ).fetchall()
    floor, attempts = map(int, row)  # type: ignore[arg-type]
    return floor, marks, attempts


def dead(database: Database) -> list[int]:
    """Of the subscription."""
    values = {"subscription": 1, "after": 0, "limit": 99, "reason": None}
    return [row[0] for row in database.all("list_dead", **values)]


def transact(
    pending: Pending, database: Database, rows: int | None = None, *, fits: bool = True
) -> None:
    """One transaction: lean if there is room for so many rows only; it may not fit."""
    database.begin()
    pending.write(database, rows)
    if fits:
        database.commit()
        pending.written()
    else:
        database.rollback()
        pending.failed()


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


def test_a_floor_that_a_database_lost_with_its_claim_says_nothing(database: Database) -> None:
    """Another took over that has neither: what is recorded under a new claim begins below it."""
    pending = Pending()
    pending.add(CLAIM, Progress(50))
    transact(pending, database)
    database.run("claim", number=1)
    database.connection.execute("UPDATE subscriptions SET floor = 10")

    pending.add(Claim(1, 2, Progress(10)), Progress(12))
    transact(pending, database)

    assert written(database)[0] == 12


def test_an_older_claim_never_displaces_a_newer_one(database: Database) -> None:
    pending = Pending()
    pending.add(CLAIM, Progress(0))
    pending.add(NEWER, Progress(7))
    database.run("claim", number=1)
    database.begin()
    pending.write(database)
    pending.add(CLAIM, Progress(3))
    database.rollback()
    pending.failed()

    pending.write(database)

    assert written(database)[0] == 7


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
    """Those of a replay, too, but never that what it delivered is not dead any more."""
    monkeypatch.setattr(pending_module, "MAX_ATTEMPTS", 3)
    pending = Pending()
    pending.add(CLAIM, Progress(5, tuple(mark(n, MarkState.DEAD) for n in range(1, 6))))
    for n in range(1, 6):
        pending.add(CLAIM, Progress(0, (), (attempt(n),)))
        pending.add(REPLAY, Progress(0, (), (attempt(n),)))
    transact(pending, database, fits=False)

    transact(pending, database)

    rows = database.connection.execute("SELECT subscription, sequence FROM attempts").fetchall()
    assert sorted(rows) == [(reader, n) for reader in (-1, 1) for n in (3, 4, 5)]
    assert dead(database) == []


def test_of_answers_that_wait_for_long_the_beginning_is_kept(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pending_module, "MAX_LONG_ATTEMPTS", 2)
    monkeypatch.setattr(pending_module, "MAX_SHORT_CHARS", 3)
    pending = Pending()
    for n in range(1, 5):
        answer = replace(attempt(n, 1, 503), text="broken", size=6, headers="server: x")
        pending.add(CLAIM, Progress(0, (), (answer,)))

    transact(pending, database)

    query = "SELECT text, size, headers FROM attempts ORDER BY sequence"
    assert database.connection.execute(query).fetchall() == [
        *[("broken", 6, "server: x")] * 2,
        *[("bro", 6, "")] * 2,
    ]


@pytest.mark.parametrize("rows", [None, 4], ids=["at-once", "in-parts"])
def test_what_was_given_up_and_then_delivered_is_not_dead_below_the_floor(
    database: Database, few_rows: None, rows: int | None
) -> None:
    """However little is written at once; what was given up and not delivered stays dead."""
    pending = Pending()
    begun = tuple(mark(n, MarkState.UNDER_WAY) for n in range(1, 9))
    pending.add(CLAIM, Progress(0, begun))
    transact(pending, database)
    given_up = {"subscription": 1, "reason": "given up", "now": 1}
    database.all("give_up", sequences="[1, 2, 5, 8]", **given_up)

    pending.add(CLAIM, Progress(9, (*(mark(n) for n in (1, 3, 5)), mark(8, MarkState.DEAD))))
    for _ in range(9):
        transact(pending, database, rows)

    assert written(database)[0] == 9
    assert dead(database) == [2, 8]


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


def test_while_nothing_can_be_written_the_latest_skipped_ones_are_kept(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pending_module, "MAX_SKIPS", 3)
    pending = Pending()
    for n in range(2, 20, 2):
        pending.add(CLAIM, Progress(0, skipped=(Span(n, n),)))

    pending.write(database)

    assert skipped(database) == {14, 16, 18}


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


# Lean: while webhooks are refused for want of room


DEAD_BELOW = list(range(1, 60, 2))
FLOOR = 60
ABOVE = list(range(62, 99))


def much_progress() -> Progress:
    """Every other delivery below the floor is dead; above it some are done, and some wait."""
    states = [mark(n, MarkState.DEAD) for n in DEAD_BELOW]
    states += [mark(n, MarkState.WAITING if n % 3 else MarkState.DELIVERED) for n in ABOVE]
    return Progress(FLOOR, tuple(states), tuple(attempt(n) for n in range(1, 99)))


def test_lean_progress_is_without_attempts_for_good(database: Database) -> None:
    """Those of a replay still say what is not dead any more."""
    pending = Pending()
    pending.add(CLAIM, much_progress())
    transact(pending, database, PLENTY)
    pending.add(REPLAY, Progress(3, (), (attempt(1), attempt(3))))
    transact(pending, database, PLENTY)
    database.begin()
    pending.write(database, PLENTY)
    pending.add(CLAIM, Progress(FLOOR, (), (attempt(98),)))
    pending.write_rest_of(database, 1)
    database.commit()

    transact(pending, database)

    assert written(database) == (FLOOR, DEAD_BELOW[2:] + ABOVE, 0)
    assert database.connection.execute("SELECT * FROM attempts").fetchall() == []


@pytest.mark.usefixtures("few_rows")
def test_a_floor_that_passes_many_marks_goes_in_steps(database: Database) -> None:
    """To delete them takes room, too."""
    pending = Pending()
    pending.add(CLAIM, Progress(0, tuple(mark(n) for n in range(2, 99))))
    transact(pending, database)
    pending.add(CLAIM, Progress(98))

    transact(pending, database, PLENTY)

    assert written(database) == (4, list(range(5, 99)), 0)
    while pending.waiting:
        transact(pending, database, PLENTY)
    assert written(database) == (98, [], 0)


def test_a_lean_transaction_that_failed_is_tried_smaller_however_much_seems_free(
    database: Database,
) -> None:
    pending = Pending()
    pending.add(CLAIM, Progress(0, tuple(mark(n) for n in range(1, 1_000))))
    for _ in range(9):
        transact(pending, database, PLENTY, fits=False)

    counts = []
    while pending.waiting:
        transact(pending, database, PLENTY)
        counts.append(len(written(database)[1]))

    assert counts[:3] == [MIN_LEAN_ROWS, 3 * MIN_LEAN_ROWS, 7 * MIN_LEAN_ROWS]
    assert counts[-1] == 999


@pytest.mark.usefixtures("few_rows")
def test_replays_wait_until_subscriptions_are_written(database: Database) -> None:
    """What a replay did is judged by how far its subscription is."""
    pending = Pending()
    pending.add(REPLAY, Progress(98, tuple(mark(n, MarkState.DEAD) for n in range(1, 99))))
    pending.add(CLAIM, Progress(98))

    transact(pending, database, PLENTY)

    assert (written(database)[0], database.all("marks_above", reader=-1, floor=0)) == (4, [])
    while pending.waiting:
        transact(pending, database, PLENTY)
    assert dead(database) == list(range(1, 99))


# Whatever happens in whatever order


class Model:
    """A subscription's deliveries, as they are in the end."""

    def __init__(self) -> None:
        self.states: dict[int, MarkState] = {}
        self.skipped: set[int] = set()  # by a filter

    @property
    def floor(self) -> int:
        """Up to here all is settled."""
        unsettled = (n for n in itertools.count(1) if n not in self.settled)
        return next(unsettled) - 1

    @property
    def settled(self) -> set[int]:
        return self.skipped | {n for n, state in self.states.items() if state.settled}

    def skip(self, span: Span) -> None:
        """A filter leaves these out, but for what is settled."""
        new = set(range(span.first, span.last + 1)) - self.settled
        self.skipped |= new
        self.states = {n: state for n, state in self.states.items() if n not in new}

    @property
    def marks(self) -> dict[int, MarkState]:
        """What is to be found in the database beside the floor."""
        floor, dead = self.floor, MarkState.DEAD
        return {n: state for n, state in self.states.items() if n > floor or state is dead}


class Changed(NamedTuple):
    """A delivery came to a state."""

    sequence: int
    state: MarkState


class Skipped(NamedTuple):
    """A filter left some out."""

    first: int
    last: int


class Transaction(NamedTuple):
    """One that fits or does not; `rows` is None where it is not lean."""

    rows: int | None
    fits: bool


class Taken(NamedTuple):
    """A claim by another connection, in a lean transaction that fits or does not."""

    fits: bool


STATES = (MarkState.UNDER_WAY, MarkState.WAITING, MarkState.DELIVERED, MarkState.DEAD)
SEQUENCES = st.integers(1, 12)
CHANGED = st.builds(Changed, SEQUENCES, st.sampled_from(STATES))
TRANSACTION = st.builds(Transaction, st.sampled_from([None, 1, 2, 5]), st.booleans())
SKIPPED = st.builds(lambda first, more: Skipped(first, first + more), SEQUENCES, st.integers(0, 3))
TAKEN = st.builds(Taken, st.booleans())
STEPS = st.lists(CHANGED | CHANGED | SKIPPED | TRANSACTION | TAKEN, max_size=50)


@tries(100)
@given(steps=STEPS)
@example(steps=[*(Changed(n, MarkState.WAITING) for n in (1, 2, 9, 3)), Transaction(2, True)])
def test_progress_survives_whatever_fails_and_however_little_fits(
    steps: list[Changed | Skipped | Transaction | Taken],
) -> None:
    """What is committed is whole up to its floor at any time, and in the end it is everything."""
    pending, model, claim = Pending(), Model(), CLAIM
    with pytest.MonkeyPatch.context() as patch, closing(Database(Path(":memory:"))) as database:
        patch.setattr(pending_module, "MIN_LEAN_ROWS", 1)
        fill(database)
        for step in steps:
            match step:
                case Changed(sequence, state):
                    if sequence not in model.settled:
                        model.states[sequence] = state
                        progress = Progress(model.floor, (mark(sequence, state),), (attempt(1),))
                        pending.add(claim, progress)
                case Skipped():
                    span = Span(*step)
                    model.skip(span)
                    pending.add(claim, Progress(model.floor, skipped=(span,)))
                case Transaction(rows, fits):
                    before = written(database)
                    transact(pending, database, rows, fits=fits)
                    if rows is not None:
                        check_lean(model, before, written(database), rows, skipped(database))
                case Taken(fits):
                    claim = claim_again(pending, database, fits=fits) or claim
                    assert not fits or claim.progress.floor == model.floor, "it sees all there is"
            floor, marked, _ = written(database)
            died = {n for n, s in model.states.items() if s is MarkState.DEAD and n <= floor}
            assert floor <= model.floor
            assert died <= set(marked), "the floor passed one that died without its mark"
        transact(pending, database)
        marks = {
            row[0]: MarkState(row[1]) for row in database.all("marks_above", reader=1, floor=0)
        }
        assert (written(database)[0], marks) == (model.floor, model.marks)
        assert skipped(database) == {n for n in model.skipped if n > model.floor}


def skipped(database: Database) -> set[int]:
    """What is kept as left out above the subscription's floor."""
    floor, *_ = written(database)
    rows = database.all("skips_around", readers="[1]", lowest=0, highest=99)
    spans = [Span(first, last) for _, first, last in rows]
    assert joined(spans) == spans
    return {n for span in above(spans, floor) for n in range(span.first, span.last + 1)}


def check_lean(
    model: Model, before: Written, after: Written, rows: int, left_out: set[int]
) -> None:
    """It takes no more rows than it may, and no later event is further than an earlier one."""
    (old_floor, old_marks, old_attempts), (floor, marks, attempts) = before, after
    new = set(marks) - set(old_marks)
    known = {*model.states, *model.skipped}
    behind = {n for n in known if floor < n <= max(new, default=0)} - {*marks, *left_out}
    assert floor - old_floor <= rows
    assert len(new) <= rows
    assert not behind
    assert attempts == old_attempts


def claim_again(pending: Pending, database: Database, *, fits: bool) -> Claim | None:
    """What the store does for a new claim, where there is little room."""
    database.begin()
    pending.write(database, 1)
    pending.write_rest_of(database, 1)
    epoch, floor, _ = database.one("claim", number=1) or (0, 0, False)
    if not fits:
        database.rollback()
        pending.failed()
        return None
    database.commit()
    pending.written()
    return Claim(1, epoch, Progress(floor))
