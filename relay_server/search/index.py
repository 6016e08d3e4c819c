"""`search.db`: what is kept of each event, so that filters are answered without its body.

Nothing here is truth. The file is written without an fsync, and thrown away where it might not say
what the store does: it has another version, is damaged, or the machine stopped while it was open
(the kernel keeps what a killed process wrote; a power cut may take any part of it). A row's number
is the event's position, channel and sequence in one, as in the store.

Each method works in the thread that calls it: those that write belong to one, `find` and `facts` to
another. SQLite's own errors come out of all of them.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import apsw

from relay_server.files import beside, sync
from relay_server.filters.document import Document
from relay_server.filters.facts import Facts, fold
from relay_server.filters.language import Filter
from relay_server.search.translate import Query, tags, translate
from relay_server.store.rules import CLOCK_JUMP_MS
from relay_server.values import MAX_SEQUENCE, ChannelNumber, Event, Range

FILE_NAME = "search.db"
VERSION = 4  # of the tables, and of what is written into them: another one is built anew
APPLICATION_ID = 0x52454C53  # "RELS"
BITS = MAX_SEQUENCE.bit_length()
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
MAX_KINDS = 1_000  # that are remembered by name, to find those that begin alike
MAX_EXPANDED = 64  # kinds that a beginning stands for; for more the events themselves are asked
FIRST_WINDOW = 2_048  # sequences that the first query of an answer goes through
WINDOW_GROWTH = 4  # times as many the next one, as long as there is time
UNSURE = 64  # events that are named at once where more is left to be asked of each

SCHEMA = f"""
CREATE TABLE session (boot TEXT NOT NULL);  -- of the machine, while the file is open
CREATE TABLE progress (
    channel INTEGER PRIMARY KEY, up_to INTEGER NOT NULL, events INTEGER NOT NULL);
CREATE TABLE kinds (kind TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE facts (
    position INTEGER PRIMARY KEY, id TEXT NOT NULL, received_at INTEGER NOT NULL,
    size INTEGER NOT NULL, kind TEXT NOT NULL, account TEXT NOT NULL, conversation TEXT NOT NULL,
    inbox TEXT NOT NULL, contact TEXT NOT NULL, name TEXT NOT NULL, direction TEXT NOT NULL,
    private INTEGER NOT NULL, message TEXT NOT NULL, says TEXT NOT NULL);
CREATE VIRTUAL TABLE words USING fts5(
    tags, name, text, content='', contentless_delete=1, tokenize="ascii tokenchars '_'");
-- Pieces that are merged at once: with more, words are written less often, and looked for in more.
INSERT INTO words (words, rank) VALUES ('automerge', 8);
INSERT INTO session VALUES ('');
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {VERSION};
"""  # noqa: S608


class Unusable(Exception):
    """The file is not, or perhaps not, what was written: it is to be built anew."""


class Seen(NamedTuple):
    """What events of a channel are of.

    Attributes:
        kind: The sender's name for what happened.
        inbox: By number; empty for none.
        newest: The sequence of the newest one that is of both.
    """

    kind: str
    inbox: str
    newest: int


class Looked(NamedTuple):
    """The next events that a filter may mean.

    Attributes:
        sequences: In the order of the look.
        reached: The last sequence that was looked at; those behind it are left for the next look.
        rest: What is left to be asked of each of them.
    """

    sequences: Sequence[int]
    reached: int
    rest: Filter


class Entry(NamedTuple):
    """What is written of an event: a row of each table, and its kind in lower case."""

    facts: tuple[Any, ...]
    words: tuple[Any, ...]
    kind: str


class Patience:
    """Ends a query that takes too long, and no other one.

    Attributes:
        over: It has come to its end.
    """

    def __init__(self) -> None:
        self.over = False
        self._lock = threading.Lock()
        self._watched: apsw.Connection | None = None

    @contextmanager
    def watched(self, connection: apsw.Connection) -> Iterator[None]:
        """Raise `apsw.InterruptError` where it is lost meanwhile."""
        with self._lock:
            self._watched = connection
        try:
            yield
        finally:
            with self._lock:
                self._watched = None

    def lose(self) -> None:
        """End the query, from another thread."""
        with self._lock:
            self.over = True
            if self._watched is not None:
                self._watched.interrupt()


class Index:
    """The database, by a connection that writes and one that reads.

    Raises:
        Unusable: It must be deleted first.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))  # payloads are for the owner's eyes
        self._writing = _connect(path)
        try:
            self._check()
            self._reading = _connect(path)
        except BaseException:
            self._writing.close()
            raise
        rows = self._writing.execute("SELECT kind FROM kinds LIMIT ?", (MAX_KINDS + 1,))
        self._kinds = {kind for (kind,) in rows}

    def progress(self) -> dict[ChannelNumber, tuple[int, int]]:
        """Up to which sequence each channel is indexed, and how many of its events are."""
        rows = self._writing.execute("SELECT channel, up_to, events FROM progress")
        return {channel: (up_to, events) for channel, up_to, events in rows}

    def id_at(self, channel: ChannelNumber, sequence: int) -> str | None:
        """The id of an event; None where it is not indexed."""
        found = self._writing.execute(
            "SELECT id FROM facts WHERE position = ?", (channel << BITS | sequence,)
        )
        return next((id_ for (id_,) in found), None)

    def known(self, of: Range) -> set[int]:
        """Which sequences are indexed."""
        rows = self._writing.execute(
            "SELECT position FROM facts WHERE position BETWEEN ? AND ?", _bounds(of)
        )
        return {at & MAX_SEQUENCE for (at,) in rows}

    def add(self, channel: ChannelNumber, up_to: int, entries: Sequence[Entry]) -> None:
        """Index events that are not yet, in order; their channel is indexed up to a sequence now.

        The more come together, the less FTS5 takes for each.
        """
        with self._writing:
            self._insert(entries)
            self._writing.execute(
                "INSERT INTO progress VALUES (?1, ?2, ?3) ON CONFLICT (channel)"
                " DO UPDATE SET up_to = max(up_to, ?2), events = events + ?3",
                (channel, up_to, len(entries)),
            )

    def remove(self, channel: ChannelNumber, sequences: Iterable[int]) -> None:
        """Forget events; those that are not known are let be."""
        positions = [(channel << BITS | sequence,) for sequence in sequences]
        with self._writing:
            before = self._writing.total_changes()
            self._writing.executemany("DELETE FROM facts WHERE position = ?", positions)
            gone = self._writing.total_changes() - before
            self._writing.executemany("DELETE FROM words WHERE rowid = ?", positions)
            self._writing.execute(
                "UPDATE progress SET events = events - ? WHERE channel = ?", (gone, channel)
            )

    def forget(self, channel: ChannelNumber, limit: int) -> bool:
        """Forget some events of a channel that is gone; whether there may be more."""
        rows = self._writing.execute(
            "SELECT position FROM facts WHERE position BETWEEN ? AND ? LIMIT ?",
            (*_bounds(Range(channel, 0, MAX_SEQUENCE)), limit),
        )
        sequences = [at & MAX_SEQUENCE for (at,) in rows]
        self.remove(channel, sequences)
        if len(sequences) < limit:
            self._writing.execute("DELETE FROM progress WHERE channel = ?", (channel,))
        return len(sequences) == limit

    def facts(self, channel: ChannelNumber, sequences: Iterable[int]) -> dict[int, Facts]:
        """What is known of events, by sequence."""
        found = dict[int, Facts]()
        for sequence in sequences:
            rows = self._reading.execute(
                "SELECT kind, account, conversation, inbox, contact, name, direction, private,"
                " message, says FROM facts WHERE position = ?",
                (channel << BITS | sequence,),
            )
            for kind, account, conversation, inbox, contact, name, by, private, *rest in rows:
                who = account, conversation, inbox, contact, name, by
                found[sequence] = Facts(kind, *who, bool(private), *rest)
        return found

    def seen(self, channel: ChannelNumber, among: int) -> list[Seen]:
        """Which kinds and inboxes the newest events of a channel are of, the newest first."""
        rows = self._reading.execute(
            "SELECT kind, inbox, max(position) AS newest FROM (SELECT kind, inbox, position"
            " FROM facts WHERE position BETWEEN ? AND ? ORDER BY position DESC LIMIT ?)"
            " GROUP BY kind, inbox ORDER BY newest DESC",
            (*_bounds(Range(channel, 0, MAX_SEQUENCE)), among),
        )
        return [Seen(kind, inbox, newest & MAX_SEQUENCE) for kind, inbox, newest in rows]

    def find(
        self, asked: Filter, of: Range, limit: int, until: float, patience: Patience
    ) -> Looked:
        """The next events that a filter may mean, within some time.

        Args:
            asked: The filter.
            of: Where to look.
            limit: For how many, at most; where more is to be asked of each, for `UNSURE`.
            until: By the monotonic clock, when no further query is begun.
            patience: While it lasts, words of which the beginning is given are looked up.
        """
        try:
            with patience.watched(self._reading):
                return self._look(asked, of, limit, until, prefixes=not patience.over)
        except apsw.InterruptError:
            # Many words begin so: whoever asks the events themselves soon finds one.
            return self._look(asked, of, limit, until, prefixes=False)

    def _look(
        self, asked: Filter, of: Range, limit: int, until: float, *, prefixes: bool
    ) -> Looked:
        query = translate(asked, self._beginning, prefixes=prefixes)
        limit = UNSURE if query.rest.terms else limit
        narrowed = self._narrowed(of, asked)
        if narrowed.first > narrowed.last:
            return Looked((), of.first if of.newest_first else of.last, query.rest)
        found, reached = list[int](), 0
        for window in _windows(narrowed, until, whole=query.prefixes):
            found += self._find(query, window, limit - len(found))
            reached = window.first if of.newest_first else window.last
            if len(found) == limit:
                return Looked(found, found[-1], query.rest)
        if reached == (narrowed.first if of.newest_first else narrowed.last):
            reached = of.first if of.newest_first else of.last
        return Looked(found, reached, query.rest)

    def close(self) -> None:
        """Close it as what it is: whole, also after a power cut."""
        self._reading.close()
        self._writing.pragma("synchronous", "full")
        self._writing.execute("UPDATE session SET boot = ''")
        self._writing.pragma("wal_checkpoint(TRUNCATE)")
        self._writing.close()
        sync(self._path)

    def abandon(self) -> None:
        """Let go of a file that is to be deleted."""
        for connection in (self._reading, self._writing):
            with suppress(apsw.Error):
                connection.close(True)

    def _check(self) -> None:
        """Have tables of this version, or raise `Unusable`."""
        version = int(self._writing.pragma("user_version"))
        if version == 0 and not self._writing.execute("SELECT 1 FROM sqlite_schema").fetchall():
            with self._writing:
                self._writing.execute(SCHEMA)
        elif version != VERSION or self._writing.pragma("application_id") != APPLICATION_ID:
            raise Unusable("it has another version")
        [(opened,)] = self._writing.execute("SELECT boot FROM session").fetchall()
        boot = _boot_id()
        if opened not in ("", boot):
            raise Unusable("the machine stopped while it was open")
        self._writing.execute("UPDATE session SET boot = ?", (boot,))

    def _insert(self, entries: Sequence[Entry]) -> None:
        _insert_rows(self._writing, "facts", [entry.facts for entry in entries])
        words = [entry.words for entry in entries]
        _insert_rows(self._writing, "words (rowid, tags, name, text)", words)
        new = {entry.kind for entry in entries} - self._kinds
        for kind in sorted(new)[: MAX_KINDS + 1 - len(self._kinds)]:
            self._writing.execute("INSERT OR IGNORE INTO kinds VALUES (?)", (kind,))
            self._kinds.add(kind)

    def _beginning(self, text: str) -> Sequence[str] | None:
        kinds = self._kinds.copy()
        found = [kind for kind in kinds if kind.startswith(text)]
        return None if len(kinds) > MAX_KINDS or len(found) > MAX_EXPANDED else found

    def _find(self, query: Query, window: Range, limit: int) -> list[int]:
        """Events of a window, looked at by one query."""
        conditions = [condition for condition, _ in query.conditions]
        values = list[Any]([*_bounds(window)])
        if query.wanted:
            unwanted = f" NOT ({query.unwanted})" if query.unwanted else ""
            source, at = "words w CROSS JOIN facts f ON f.position = w.rowid", "w.rowid"
            source = source if conditions else "words w"
            conditions.insert(0, "words MATCH ?")
            values.append(f"({query.wanted}){unwanted}")
        else:
            source, at = "facts f", "f.position"
            if query.unwanted:
                conditions.insert(
                    0,
                    "f.position NOT IN (SELECT rowid FROM words"
                    " WHERE rowid BETWEEN ?1 AND ?2 AND words MATCH ?)",
                )
                values.append(query.unwanted)
        values += (value for _, value in query.conditions)
        where = " AND ".join([f"{at} BETWEEN ?1 AND ?2", *conditions])
        order = "DESC" if window.newest_first else "ASC"
        sql = f"SELECT {at} FROM {source} WHERE {where} ORDER BY {at} {order} LIMIT ?"  # noqa: S608
        rows: list[Any] = self._reading.execute(sql, (*values, limit)).fetchall()
        return [position & MAX_SEQUENCE for (position,) in rows]

    def _narrowed(self, of: Range, asked: Filter) -> Range:
        """Where events lie that came at the times that a filter names.

        Events may lie out of order in time, but none of them by more than `CLOCK_JUMP_MS`.
        """
        first, last = of.first, of.last
        for term in asked.terms:
            if term.word == "after" and not term.negated:
                first = max(first, self._reached(of, term.number - CLOCK_JUMP_MS))
            elif term.word == "before" and not term.negated:
                last = min(last, self._reached(of, term.number + CLOCK_JUMP_MS))
        return of._replace(first=first, last=last)

    def _reached(self, of: Range, moment: int) -> int:
        """A sequence from which on all came at a time or later; `last` where none did."""
        low, high = of.first, of.last
        while low < high:
            middle = (low + high) // 2
            rows: list[Any] = self._reading.execute(
                "SELECT received_at FROM facts WHERE position BETWEEN ? AND ?"
                " ORDER BY position LIMIT 1",
                (of.channel << BITS | middle, of.channel << BITS | high),
            ).fetchall()
            if not rows or rows[0][0] >= moment:
                high = middle
            else:
                low = middle + 1
        return low


def entry_of(event: Event) -> Entry:
    """What is written of an event."""
    document = Document(event)
    head, of = event.head, document.facts
    at = event.channel << BITS | head.sequence
    start = at, head.id, head.received_at, len(event.body), head.kind
    who = of.account, of.conversation, of.inbox, of.contact, of.name, of.direction
    facts = (*start, *who, of.private, of.message, of.says)
    return Entry(facts, (at, tags(document), fold(of.name), document.text), head.kind.lower())


def delete(path: Path) -> None:
    """Delete the file of an index, and those beside it."""
    for suffix in ("-wal", "-shm", ""):
        beside(path, suffix).unlink(missing_ok=True)


def _connect(path: Path) -> apsw.Connection:
    connection = apsw.Connection(str(path))
    connection.set_busy_timeout(5_000)
    connection.pragma("journal_mode", "wal")
    connection.pragma("synchronous", "off")
    connection.pragma("journal_size_limit", 16_777_216)
    return connection


def _boot_id() -> str:
    """What is another one after each start of the machine; where none is known, none fits it."""
    try:
        return BOOT_ID.read_text("ascii").strip()
    except OSError:
        return f"unknown {time.time_ns()}"


def _bounds(of: Range) -> tuple[int, int]:
    return of.channel << BITS | of.first, of.channel << BITS | of.last


def _windows(of: Range, until: float, *, whole: bool) -> Iterator[Range]:
    """Parts of a range, each larger than the last, as long as the next one fits the time."""
    size = of.last - of.first + 1 if whole else FIRST_WINDOW
    first, last = of.first, of.last
    while first <= last:
        began = time.monotonic()
        if of.newest_first:
            part = of._replace(first=max(first, last - size + 1), last=last)
            last = part.first - 1
        else:
            part = of._replace(first=first, last=min(last, first + size - 1))
            first = part.last + 1
        yield part
        now = time.monotonic()
        if now + (now - began) > until:
            return
        if now + WINDOW_GROWTH * (now - began) <= until:
            size *= WINDOW_GROWTH


def _insert_rows(connection: apsw.Connection, table: str, rows: Sequence[Sequence[Any]]) -> None:
    """Insert rows by one statement: after each, FTS5 writes what it has gathered.

    SQLite keeps none: there would be one for each number of rows, of up to a megabyte.
    """
    if rows:
        one = f"({', '.join('?' * len(rows[0]))})"
        sql = f"INSERT INTO {table} VALUES {', '.join([one] * len(rows))}"  # noqa: S608
        connection.execute(sql, tuple(chain.from_iterable(rows)), can_cache=False)
