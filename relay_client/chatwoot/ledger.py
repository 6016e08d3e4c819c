"""What a bot has taken on, in a file of its own: the promise behind its 200.

A *turn* is the bot's: the messages of a customer that one answer is owed for. It is

    WAITING ──due──▶ THINKING ──▶ SENDING ──▶ SENT
      ▲  more to come   │            │
      └─────────────────┤            │ final refusal, too many failures, or the bot's own wish
                        ├──▶ LEFT    ▼
                        └────────▶ HANDING ──▶ HANDED, or GIVEN_UP where Chatwoot refuses that, too

Each step is committed (WAL, fsync) before what it announces is done. So whoever opens the file
after a kill finds every turn that is owed, with what was last begun: a reply is asked for again; an
answer that is `SENDING` may have been sent or not, and is looked for before it is sent again.

A message opens a turn, or joins the conversation's turn that waits or thinks, once: whatever comes
with its account and id again is a repeat. A conversation has at most one turn in each of WAITING
and the states behind it, and the older one is served first.

Called on the loop's thread: a transaction costs a write to the log and one fsync, and an answer
six of them. A hundred answers that fall due at once, on a disk whose fsync takes 2.7 ms, hold the
loop for 1.7 s of 4.5 s, and for 150 ms in one go: less than any reply takes. In return, nothing is
between a look at the ledger and what is written because of it.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apsw

from relay_chatwoot.handoff import Made, Step
from relay_client.chatwoot.events import Key
from relay_protocol.errors import RelayError
from relay_terminal.words import _

BURST_MOST_S = 30.0  # a burst's answer is put off no longer after its first message
MOST_WAITING = 10_000  # turns; beyond them webhooks are refused, and the relay keeps them
MOST_MESSAGES = 200  # of a turn, whose bodies are read at once; beyond them the same
KEPT_S = 30 * 86_400.0  # a settled turn, and the ids of its messages: as long as the relay replays
IN_MEMORY = ":memory:"  # a ledger for tests and trials, gone with the process
BUSY_MS = 2_000  # for another program's lock on the file
VERSION = 1

_SCHEMA = f"""
CREATE TABLE turns (
    id INTEGER PRIMARY KEY,
    account INTEGER NOT NULL, conversation INTEGER NOT NULL,
    state INTEGER NOT NULL,
    opened_at REAL NOT NULL, due_at REAL NOT NULL, settled_at REAL,
    tries INTEGER NOT NULL DEFAULT 0, fails INTEGER NOT NULL DEFAULT 0,
    rounds INTEGER NOT NULL DEFAULT 0,
    answer TEXT NOT NULL DEFAULT '', upto INTEGER NOT NULL DEFAULT 0, newest INTEGER,
    reason TEXT NOT NULL DEFAULT '', steps TEXT NOT NULL DEFAULT '{{}}'
);
CREATE INDEX open_turns ON turns (account, conversation, id) WHERE settled_at IS NULL;
CREATE INDEX settled_turns ON turns (settled_at) WHERE settled_at IS NOT NULL;
CREATE TABLE taken (
    account INTEGER NOT NULL, message INTEGER NOT NULL,
    turn INTEGER NOT NULL REFERENCES turns ON DELETE CASCADE,
    body BLOB NOT NULL,
    PRIMARY KEY (account, message)
) WITHOUT ROWID;
CREATE INDEX taken_of_turn ON taken (turn);
CREATE TABLE people (
    account INTEGER NOT NULL, conversation INTEGER NOT NULL, since REAL NOT NULL,
    PRIMARY KEY (account, conversation)
) WITHOUT ROWID;
CREATE TABLE said (
    account INTEGER NOT NULL, message INTEGER NOT NULL,
    conversation INTEGER NOT NULL, contact INTEGER, author TEXT NOT NULL,
    text TEXT NOT NULL, at REAL NOT NULL,
    PRIMARY KEY (account, message)
) WITHOUT ROWID;
CREATE INDEX said_in ON said (account, conversation, message);
CREATE INDEX said_by ON said (account, contact);
CREATE INDEX said_at ON said (at);
PRAGMA user_version = {VERSION};
"""


class LedgerUnusable(RelayError, code="bot_ledger", status=503):
    """A bot's ledger cannot be read or written: nothing was taken."""

    message = "the ledger {0} cannot be used: {1}"
    hint = "Look at the disk, and at who owns the file."


class LedgerTaken(LedgerUnusable, code="bot_ledger_taken", status=503):
    """Another bot has the ledger."""

    message = "another bot has the ledger {0}"
    hint = (
        "It may run in another terminal, or in the background: stop it there."
        " BOT_LEDGER names another file."
    )


class TooMuchWaits(RelayError, code="bot_full", status=503):
    """More conversations, or messages of one, wait for a bot's answer than it takes."""

    message = "{0} wait for an answer already"


class State(enum.IntEnum):
    """How far a turn is, or how it ended. The numbers are stored: do not change them."""

    WAITING = 1
    THINKING = 2
    SENDING = 3
    HANDING = 4
    SENT = 5
    LEFT = 6
    HANDED = 7
    GIVEN_UP = 8


@dataclass(frozen=True, slots=True)
class Turn:
    """An answer that is owed.

    Attributes:
        due_at: When it goes on, in Unix seconds.
        tries: How often its reply was asked for; while `SENDING`, how often the answer was sent.
        fails: How many calls to Chatwoot failed in a row.
        rounds: How often there was no answer after all, because the customer wrote on.
        answer: What is sent.
        upto: The newest message that the answer is to.
        newest: The conversation's newest message before the answer was sent, where it is known.
        reason: Why people get it, or nobody answered.
        steps: Of handing it to people, those begun and done.
    """

    id: int
    key: Key
    state: State
    opened_at: float
    due_at: float
    tries: int
    fails: int
    rounds: int
    answer: str
    upto: int
    newest: int | None
    reason: str
    steps: Mapping[Step, Made]


_COLUMNS = (
    *("id", "account", "conversation", "state", "opened_at", "due_at", "tries", "fails", "rounds"),
    *("answer", "upto", "newest", "reason", "steps"),
)
_TURN = f"SELECT {', '.join(_COLUMNS)} FROM turns"  # noqa: S608


class Ledger:
    """What a bot owes to customers, in a file; one bot at a time has it.

    Args:
        path: `":memory:"` for one that is gone with the process.
        alone: Keep other bots out.

    Raises:
        LedgerUnusable: It cannot be opened, or is another program's, or another process has it.
    """

    def __init__(self, path: Path | str, *, alone: bool = True) -> None:
        self.path = Path(path)
        try:
            self._held = _hold(self.path) if alone else None
            self.connection = _open(self.path)
        except (apsw.Error, OSError) as exc:
            raise LedgerUnusable(self.path, exc) from exc

    def close(self) -> None:
        self.connection.close()
        if self._held is not None:
            self._held.close()

    @contextmanager
    def writing(self) -> Iterator[apsw.Connection]:
        """A transaction, on disk once the block is left."""
        try:
            with self.connection:
                yield self.connection
        except apsw.Error as exc:
            raise LedgerUnusable(self.path, exc) from exc

    # What comes in

    def take(
        self, key: Key, message: int, body: bytes, now: float, due_at: float, *, anew: bool = False
    ) -> bool:
        """Take a customer's message on; False if it was taken before.

        It puts off what waits in the conversation, but never beyond `BURST_MOST_S`.

        Args:
            key: Its conversation.
            message: Its id.
            body: Of the webhook that told of it.
            now: In Unix seconds.
            due_at: When an answer is thought of, unless more comes.
            anew: Take it on though it was answered.

        Raises:
            TooMuchWaits: It would be a turn too many, or a message of one.
        """
        with self.writing() as db:
            known = (
                "SELECT settled_at IS NOT NULL FROM taken JOIN turns ON turn = id"
                " WHERE taken.account = ? AND message = ?"
            )
            is_settled = self._value(known, key.account, message)
            if is_settled is not None and not (anew and is_settled):
                return False
            turn = self._joined(key, now, due_at)
            row = (key.account, message, turn, body)
            db.execute("INSERT OR REPLACE INTO taken VALUES (?, ?, ?, ?)", row)
            return True

    def is_known(self, account: int, message: int) -> bool:
        """Whether a customer's message was taken on, be it settled or not."""
        sql = "SELECT 1 FROM taken WHERE account = ? AND message = ?"
        return self._value(sql, account, message) is not None

    def _joined(self, key: Key, now: float, due_at: float) -> int:
        joins = (*key, State.WAITING, State.THINKING)
        found = self.connection.execute(
            "SELECT id, opened_at FROM turns WHERE settled_at IS NULL"
            " AND account = ? AND conversation = ? AND state IN (?, ?) ORDER BY id DESC",
            joins,
        ).fetchone()
        if found is None and self.open_turns() >= MOST_WAITING:
            raise TooMuchWaits(_("{number} conversations").format(number=MOST_WAITING))
        if found is None:
            return self._opened(key, now, due_at)
        turn, opened_at = int(found[0]), float(found[1])
        if self._value("SELECT count(*) FROM taken WHERE turn = ?", turn) >= MOST_MESSAGES:
            raise TooMuchWaits(_("{number} messages of it").format(number=MOST_MESSAGES))
        due_at = min(due_at, opened_at + BURST_MOST_S)
        self.connection.execute("UPDATE turns SET due_at = ? WHERE id = ?", (due_at, turn))
        return turn

    def _opened(self, key: Key, now: float, due_at: float) -> int:
        self.connection.execute(
            "INSERT INTO turns (account, conversation, state, opened_at, due_at)"
            " VALUES (?, ?, ?, ?, ?)",
            (*key, State.WAITING, now, due_at),
        )
        return self.connection.last_insert_rowid()

    def withdraw(self, account: int, message: int) -> None:
        """A message was deleted: no answer is owed for it that nobody has thought of yet."""
        with self.writing() as db:
            db.execute(
                "UPDATE taken SET body = x'' WHERE account = ? AND message = ?", (account, message)
            )

    def peoples_turn(self, key: Key, now: float) -> None:
        """It is people's, and something happened there: the bot is quiet until its turn is back."""
        with self.writing() as db:
            db.execute("INSERT OR REPLACE INTO people VALUES (?, ?, ?)", (*key, now))

    def bots_again(self, key: Key) -> None:
        """The conversation was ended, or given back to the bot."""
        with self.writing() as db:
            db.execute("DELETE FROM people WHERE account = ? AND conversation = ?", key)

    def is_peoples(self, key: Key) -> bool:
        """Whether somebody of the team answered there, and it was not the bot's turn since."""
        sql = "SELECT 1 FROM people WHERE account = ? AND conversation = ?"
        return self._value(sql, *key) is not None

    # What is owed

    def owed(self) -> list[Key]:
        """The conversations with a turn that is not settled."""
        sql = "SELECT DISTINCT account, conversation FROM turns WHERE settled_at IS NULL"
        return [Key(*row) for row in self.connection.execute(sql)]

    def open_turns(self) -> int:
        sql = "SELECT count(*) FROM turns WHERE settled_at IS NULL"
        return int(self._value(sql))

    def next_turn(self, key: Key) -> Turn | None:
        """The oldest turn of a conversation that is not settled."""
        sql = (
            f"{_TURN} WHERE settled_at IS NULL"
            " AND account = ? AND conversation = ? ORDER BY id LIMIT 1"
        )
        row = self.connection.execute(sql, key).fetchone()
        return None if row is None else _turn(row)

    def messages(self, turn: Turn) -> dict[int, bytes]:
        """The webhooks that a turn is owed for, by their messages' ids, without those withdrawn."""
        sql = "SELECT message, body FROM taken WHERE turn = ? AND body != x'' ORDER BY message"
        return {int(id_): bytes(body) for id_, body in self.connection.execute(sql, (turn.id,))}

    def think(self, turn: Turn) -> Turn:
        """A reply is asked for: once more, if a kill or a failure came between."""
        return self._change(turn, state=State.THINKING, tries=turn.tries + 1)

    def put_back(self, turn: Turn, due_at: float, *, tries: int, reason: str = "") -> Turn:
        """The reply is to be asked for again, later."""
        return self._change(turn, state=State.WAITING, due_at=due_at, tries=tries, reason=reason)

    def wait_on(self, turn: Turn, due_at: float) -> None:
        """The customer wrote on: what came since is of this turn, and there is no answer yet."""
        with self.writing() as db:
            db.execute(
                "UPDATE OR REPLACE taken SET turn = ? WHERE turn IN (SELECT id FROM turns"
                " WHERE settled_at IS NULL AND account = ? AND conversation = ? AND id > ?)",
                (turn.id, *turn.key, turn.id),
            )
            db.execute(
                "DELETE FROM turns WHERE settled_at IS NULL AND account = ? AND conversation = ?"
                " AND id > ?",
                (*turn.key, turn.id),
            )
            db.execute(
                "UPDATE turns SET state = ?, due_at = max(due_at, ?), tries = 0, answer = '',"
                " rounds = rounds + 1 WHERE id = ?",
                (State.WAITING, due_at, turn.id),
            )

    def part(self, turn: Turn, messages: Iterable[int], now: float) -> None:
        """These messages are owed an answer of their own, after the one of this turn."""
        with self.writing() as db:
            opened = self._opened(turn.key, now, now)
            for message in messages:
                row = (opened, turn.key.account, message)
                db.execute("UPDATE taken SET turn = ? WHERE account = ? AND message = ?", row)

    def answer(self, turn: Turn, text: str, upto: int, reason: str = "") -> Turn:
        """There is an answer to be sent; with a reason, people get the conversation afterwards."""
        return self._change(
            turn, state=State.SENDING, answer=text, upto=upto, reason=reason, tries=0, fails=0
        )

    def send(self, turn: Turn, newest: int | None) -> Turn:
        """The answer is sent now, for the first time or again."""
        return self._change(turn, newest=newest, tries=turn.tries + 1)

    def put_off(self, turn: Turn, due_at: float) -> Turn:
        """A call failed, and is made again later."""
        return self._change(turn, due_at=due_at, fails=turn.fails + 1)

    def hand(self, turn: Turn, reason: str) -> Turn:
        """It is to be handed to people."""
        return self._change(turn, state=State.HANDING, reason=reason, fails=0)

    def step(self, turn: Turn, step: Step, made: Made) -> Turn:
        """A step of handing it over is begun, or done."""
        steps = {**turn.steps, step: made}
        kept = json.dumps({str(int(one)): [it.done, it.text] for one, it in steps.items()})
        return self._change(turn, steps=kept)

    def settle(self, turn: Turn, state: State, reason: str, now: float) -> None:
        """Nothing is owed any more. What the messages said is forgotten, but not that they came."""
        with self.writing() as db:
            db.execute("UPDATE taken SET body = x'' WHERE turn = ?", (turn.id,))
            db.execute(
                "UPDATE turns SET state = ?, reason = ?, settled_at = ?, answer = '' WHERE id = ?",
                (state, reason, now, turn.id),
            )

    def _change(self, turn: Turn, **values: Any) -> Turn:
        names = ", ".join(f"{name} = ?" for name in values)
        sql = f"UPDATE turns SET {names} WHERE id = ?"  # noqa: S608  (names of columns)
        with self.writing() as db:
            db.execute(sql, (*values.values(), turn.id))
        sql = f"{_TURN} WHERE id = ?"
        [row] = self.connection.execute(sql, (turn.id,))
        return _turn(row)

    def _value(self, sql: str, *bindings: object) -> Any:
        """The first value of the first row; None without one."""
        row = self.connection.execute(sql, bindings).fetchone()
        return None if row is None else row[0]

    # What was

    def settled(self) -> list[Turn]:
        """The turns that are settled, the oldest first."""
        sql = f"{_TURN} WHERE settled_at IS NOT NULL ORDER BY id"
        return [_turn(row) for row in self.connection.execute(sql)]

    def prune(self, now: float) -> None:
        """Forget what is older than `KEPT_S`."""
        with self.writing() as db:
            db.execute("DELETE FROM turns WHERE settled_at < ?", (now - KEPT_S,))
            db.execute("DELETE FROM people WHERE since < ?", (now - KEPT_S,))


def _hold(path: Path) -> apsw.Connection:
    """Keep other bots out for as long as this is open: two at one ledger would answer twice."""
    if str(path) == IN_MEMORY:
        return apsw.Connection(IN_MEMORY)
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = apsw.Connection(f"{path.resolve()}-held")  # whatever link leads to it
    try:
        connection.execute("BEGIN EXCLUSIVE")
    except apsw.BusyError as exc:
        raise LedgerTaken(path) from exc
    return connection


def _open(path: Path) -> apsw.Connection:
    if str(path) != IN_MEMORY:
        path.touch(mode=0o600)  # it holds what customers wrote
    connection = apsw.Connection(str(path))
    connection.set_busy_timeout(BUSY_MS)
    is_new = _is_new(connection)
    connection.execute("PRAGMA journal_mode = wal")
    connection.execute("PRAGMA synchronous = full")
    connection.execute("PRAGMA foreign_keys = on")
    connection.execute("PRAGMA secure_delete = on")
    if is_new:
        with connection:
            connection.execute(_SCHEMA)
    return connection


def _is_new(connection: apsw.Connection) -> bool:
    """Whether a file is empty; looked at before anything is changed, for it may be another's."""
    [(version,)] = connection.execute("PRAGMA user_version")
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema")}
    if tables and not tables >= {"turns", "taken", "people", "said"}:
        raise apsw.CantOpenError(_("another program wrote it"))
    if version not in (0, VERSION):
        raise apsw.CantOpenError(_("a newer bot wrote it"))
    return not tables


def _turn(row: tuple[Any, ...]) -> Turn:
    id_, account, conversation, state, *rest, steps = row
    made = {Step(int(one)): Made(*how) for one, how in json.loads(steps).items()}
    return Turn(id_, Key(account, conversation), State(state), *(*rest, made))
