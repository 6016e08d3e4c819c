"""The thread that brings what is spooled to the database, in the order in which it came.

It works while `Appending` has no link: it makes one, brings all that waits, and gives the link to
it. What it cannot bring now it tries again, for ever. Other servers may have older ones: `turns`
says whose turn it is.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import chain, takewhile

import structlog

from relay_server.errors import (
    ChannelFull,
    ChannelNotFound,
    StoreBroken,
    StoreFull,
    StoreUnavailable,
)
from relay_server.store.bodies import BodyKeys, Damaged
from relay_server.store.feed import Change, EventsStored
from relay_server.store.postgres.database import Database
from relay_server.store.postgres.link import Link, Unstorable
from relay_server.store.postgres.rows import Answer, Row, append_rows, limit_of, sealed_anew
from relay_server.store.postgres.spool import Spool
from relay_server.store.postgres.turns import Turns
from relay_server.store.sql.catalogue import load
from relay_server.store.sql.positions import sequence_of

log = structlog.get_logger()

DRAIN_S = 2.0  # for some webhooks of a spool to be stored, or for what is asked for them
TURN_S = 0.05  # between two looks whether it is this one's turn
AGAIN_S = 0.3  # until it is tried again, on average: that it is not at once is what counts
FULL_AGAIN_S = 5.0  # the same for a full disk: each try takes a little of what is left for its log
REFUSED_AGAIN_S = 60.0  # between two tries to store what a full channel did not take
CLOSING_S = 5.0  # for a spool to be drained at a stop; the next start goes on
ALIAS = (
    "INSERT INTO aliases SELECT * FROM (VALUES {}) AS one (id, event)"
    " WHERE EXISTS (SELECT 1 FROM events e WHERE e.id = one.event) ON CONFLICT DO NOTHING"
)


class Draining:
    """A thread that brings what is spooled to the database."""

    def __init__(
        self,
        spool: Spool,
        bodies: BodyKeys,
        connect: Callable[[], Link],
        stored: Callable[[Link, Sequence[Change]], None],
        give: Callable[[Link], bool],
        fail: Callable[[StoreBroken], None],
    ) -> None:
        self._spool = spool
        self._bodies = bodies
        self._connect = connect
        self._stored = stored
        self._give = give
        self._fail = fail
        self._turns = Turns(spool)
        self._needed = threading.Event()
        self._closing = threading.Event()
        self._ends_at = 0.0
        self._thread = threading.Thread(target=self._run, name="relay-drain", daemon=True)
        self._thread.start()

    def need(self) -> None:
        """Have what waits brought, and a link given."""
        if not self._needed.is_set():
            self._turns = Turns(self._spool)
        self._needed.set()

    def close(self) -> None:
        """Bring what can be brought soon, and end."""
        self._ends_at = time.monotonic() + CLOSING_S
        self._closing.set()
        self._needed.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._is_over():
            if not self._needed.wait(REFUSED_AGAIN_S if self._spool.refused else None):
                self._work(self._try_refused)
            elif again_s := self._work(self._drain):
                self._closing.wait(random.uniform(0.5, 1.5) * again_s)  # noqa: S311  (no secret)

    def _work(self, work: Callable[[Link], None]) -> float:
        """Do something by a link of its own; in how many seconds again, where it went wrong."""
        try:
            link = self._connect()
            try:
                work(link)
            except BaseException:
                link.close()
                raise
        except StoreUnavailable as exc:
            log.debug("what is spooled stays there", error=str(exc))
            return FULL_AGAIN_S if isinstance(exc, StoreFull) else AGAIN_S
        except StoreBroken as exc:
            self._fail(exc)
            return AGAIN_S
        except Exception as exc:  # without this thread nothing is stored any more
            log.error("what is spooled cannot be stored", exc_info=exc)
            return AGAIN_S
        return 0.0

    def _is_over(self) -> bool:
        if not self._closing.is_set():
            return False
        return not self._spool.waiting or time.monotonic() > self._ends_at

    def _drain(self, link: Link) -> None:
        count, usual_s = 0, link.limit_s
        link.limit_s = DRAIN_S
        self._turns.back()
        while rows := self._next(link):
            count += len(rows)
            self._bring(link, rows)
            self._turns.brought()
        if count:
            log.info("what was spooled is stored", events=count, refused=self._spool.refused)
            self._turns.over(link)
        self._needed.clear()
        link.limit_s = usual_s
        if not self._give(link):  # more came
            self._needed.set()
            link.close()

    def _next(self, link: Link) -> Mapping[int, Row]:
        """What is to be brought next, once it is its turn; nothing at the end."""
        while not self._is_over() and (rows := self._spool.oldest()):
            if due := _until(rows, None if self._closing.is_set() else self._turns.up_to(link)):
                return due
            self._closing.wait(TURN_S)
        return {}

    def _try_refused(self, link: Link) -> None:
        """A channel that was full may have room; of others before it nothing may ever be taken."""
        link.limit_s = DRAIN_S
        channels, _ = load(Database(link))
        limits, after = {channel.number: limit_of(channel) for channel, _, _ in channels}, 0
        while not self._needed.is_set() and (rows := self._spool.oldest(refused=True, after=after)):
            now = {n: r._replace(max_bytes=limits.get(r.channel, 0)) for n, r in rows.items()}
            self._bring(link, now, again=True)
            after = max(rows)
        link.close()

    def _bring(self, link: Link, rows: Mapping[int, Row], *, again: bool = False) -> None:
        """Store some, each alone where there is one among them that the database cannot read."""
        try:
            self._store(link, rows, again=again)
        except (Unstorable, ValueError, Damaged) as exc:
            if len(rows) == 1:
                why = "it is damaged, or sealed with a key that is missing"
                reason = why if isinstance(exc, Damaged) else str(exc)
                self._settle(rows, dict.fromkeys(rows, reason), again=again)
                return
            for number, row in rows.items():
                self._bring(link, {number: row}, again=again)

    def _store(self, link: Link, rows: Mapping[int, Row], *, again: bool) -> None:
        numbers = sorted(rows, key=lambda number: rows[number].channel)  # the order within stays
        given = [sealed_anew(rows[n], self._bodies) for n in numbers]
        try:
            answers = append_rows(link, given, self._bodies, again=True, within_s=DRAIN_S)
            _note_aliases(link, given, answers)
        except StoreBroken as exc:  # not the spool's disk: it may be mended, or replaced
            raise StoreUnavailable(str(exc)) from exc
        found = dict(zip(numbers, answers, strict=True))
        refused = {n: why for n in numbers if (why := _refusal(rows[n], found[n]))}
        self._settle(rows, refused, again=again)
        self._stored(link, _changes(rows, found))

    def _settle(
        self, rows: Mapping[int, Row], refused: Mapping[int, str], *, again: bool = False
    ) -> None:
        self._spool.settle(rows, refused, again=again)
        if refused and not again:
            log.error(
                "webhooks that were answered 2xx cannot be stored: they stay in the spool",
                events=len(refused),
                reasons=sorted(set(refused.values())),
            )


def _until(rows: Mapping[int, Row], up_to: int | None) -> Mapping[int, Row]:
    """The first of some, that were received up to a time; all for None."""
    if up_to is None:
        return rows
    return dict(takewhile(lambda one: one[1].received_at <= up_to, rows.items()))


def _note_aliases(link: Link, rows: Sequence[Row], answers: Sequence[Answer]) -> None:
    """Have those that were stored under other ids found by what their senders were answered."""
    pairs = [(row.id, answer.event) for row, answer in zip(rows, answers, strict=True)]
    others = [(own, event) for own, event in pairs if event and event != own]
    if others:
        places = ", ".join(["(%s, %s)"] * len(others))
        link.rows(ALIAS.format(places), tuple(chain.from_iterable(others)))


def _refusal(row: Row, answer: Answer) -> str:
    match answer.state:
        case "g":
            return str(ChannelNotFound(f"number {row.channel}"))
        case "f":
            return str(ChannelFull(row.max_bytes))
        case _:
            return ""


def _changes(rows: Mapping[int, Row], answers: Mapping[int, Answer]) -> list[Change]:
    """How far each channel is now; readers read the events themselves."""
    up_to = dict[int, int]()
    for number, answer in answers.items():
        if answer.event == rows[number].id:
            up_to[rows[number].channel] = sequence_of(answer.place)
    return [EventsStored(channel, last) for channel, last in up_to.items()]
