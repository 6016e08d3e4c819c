"""What was said in each conversation, as far back as a reply may want to look.

It lies in the ledger's file. A conversation keeps its newest lines, each cut to a length, for a
time; and a contact can be forgotten, with all that was said with them.

    >>> from relay_client.chatwoot import Key, Ledger, Memory
    >>> memory = Memory(Ledger(":memory:"))
    >>> key = Key(account=2, conversation=318)
    >>> memory.note(key, contact=55, message=1, author="customer", text="Oi!", at=1783000800.0)
    >>> [line.text for line in memory.history(key)]
    ['Oi!']
    >>> memory.forget_contact(account=2, contact=55)
    1
    >>> memory.history(key)
    []
"""

from __future__ import annotations

from relay_chatwoot.authors import Author
from relay_client.chatwoot.events import Key, Message
from relay_client.chatwoot.ledger import Ledger, State
from relay_client.chatwoot.talks import Line, Who

LINES_KEPT = 200  # of a conversation
LINE_CHARS = 10_000  # of a message that is kept; the rest of it is cut
LINES_SHOWN = 40  # of a history, unless more are asked for
KEPT_S = 90 * 86_400.0  # a line

_WHO: dict[Author, Who] = {
    Author.CUSTOMER: "customer",
    Author.BOT: "bot",
    Author.HUMAN: "human",
    Author.PHONE: "human",
}


def line_of(message: Message, bot: int | None, at: float) -> Line | None:
    """What a message, which came `at`, adds to what was said; None where that is nothing."""
    who = _WHO.get(message.author(bot))
    if who is None or message.private or not message.content:
        return None
    return Line(who, message.content, at)


class Memory:
    """What was said in each conversation, in a ledger's file."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def note(
        self, key: Key, contact: int | None, message: int, author: Who, text: str, at: float
    ) -> None:
        """Remember a message; one that is known already stays as it is."""
        row = (key.account, message, key.conversation, contact, author, text[:LINE_CHARS], at)
        with self._ledger.writing() as db:
            db.execute("INSERT OR IGNORE INTO said VALUES (?, ?, ?, ?, ?, ?, ?)", row)
            db.execute(
                "DELETE FROM said WHERE account = ? AND message IN (SELECT message FROM said"
                " WHERE account = ? AND conversation = ? ORDER BY at DESC LIMIT -1 OFFSET ?)",
                (key.account, *key, LINES_KEPT),
            )

    def history(self, key: Key, most: int = LINES_SHOWN) -> list[Line]:
        """The last lines of a conversation, the oldest first."""
        sql = (
            "SELECT author, text, at FROM said WHERE account = ? AND conversation = ?"
            " ORDER BY at DESC, message DESC LIMIT ?"
        )
        found = self._ledger.connection.execute(sql, (*key, most))
        return [Line(*row) for row in found][::-1]

    def said_by_bot(self, key: Key, text: str, after: int) -> int | None:
        """The id of a message of the bot's with these words, and a newer one than another."""
        sql = (
            "SELECT max(message) FROM said WHERE account = ? AND conversation = ? AND message > ?"
            " AND author = 'bot' AND text = ?"
        )
        row = (*key, after, text[:LINE_CHARS])
        [(found,)] = self._ledger.connection.execute(sql, row)
        return None if found is None else int(found)

    def forget_message(self, account: int, message: int) -> None:
        """Forget what a message said that was deleted."""
        with self._ledger.writing() as db:
            db.execute("DELETE FROM said WHERE account = ? AND message = ?", (account, message))

    def forget_contact(self, account: int, contact: int) -> int:
        """Forget all that was said with a contact, theirs and the answers; gives how many lines."""
        talks = "SELECT conversation FROM said WHERE account = :account AND contact = :contact"
        turns = f"SELECT id FROM turns WHERE account = :account AND conversation IN ({talks})"  # noqa: S608
        who = {"account": account, "contact": contact}
        with self._ledger.writing() as db:
            db.execute(f"UPDATE taken SET body = x'' WHERE turn IN ({turns})", who)  # noqa: S608
            db.execute(
                "UPDATE turns SET answer = '', reason = '', state = :left,"  # noqa: S608
                f" settled_at = coalesce(settled_at, opened_at) WHERE id IN ({turns})",
                {**who, "left": State.LEFT},
            )
            db.execute(
                f"DELETE FROM said WHERE account = :account AND conversation IN ({talks})",  # noqa: S608
                who,
            )
            lines = db.changes()
        # Else the log beside the file has it still, as long as the bot runs.
        self._ledger.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return lines

    def prune(self, now: float) -> None:
        """Forget what is older than `KEPT_S`."""
        with self._ledger.writing() as db:
            db.execute("DELETE FROM said WHERE at < ?", (now - KEPT_S,))
