"""A conversation's page: what stands beside what, and what of it follows from what. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from relay_server.bodies.talk import Message
from relay_server.dashboard.rendering import shown, speaker
from relay_server.filters.facts import Direction
from relay_server.operations.conversations import Talk, TalkLine
from relay_server.operations.events import AttemptLine, DeliveryLine
from relay_terminal.words import _

UNSETTLED = ("under_way", "waiting")


class Row(NamedTuple):
    """An event of a conversation, as its page shows it.

    Attributes:
        own: Its delivery to the subscription that is looked at; None where it is not for that one.
        last: The last attempt of that, with how long it took.
        others: Its other deliveries, replays among them.
        reply_ms: How long after the customer's last message this answer to it came.
        answers: Id of the event that brought the message which this one answers; empty for none.
        says_so: It says so itself (`in_reply_to`); else it is the next answer behind it.
        waits: It is the customer's last message, and nobody has answered.
        holds: How many later events of the conversation wait for this delivery.
        behind: This delivery waits for an earlier one of the conversation.
    """

    line: TalkLine
    own: DeliveryLine | None
    last: AttemptLine | None
    others: list[DeliveryLine]
    reply_ms: int | None = None
    answers: str = ""
    says_so: bool = False
    waits: bool = False
    holds: int = 0
    behind: bool = False


class Moments(NamedTuple):
    """Where one stands in time: what was before, and what came next.

    Attributes:
        at: The moment that is looked at; 0 for now.
        before: None at the beginning.
        after: 0 for now; None where one is there.
    """

    at: int
    before: int | None
    after: int | None


def rows_of(talk: Talk, subscription: str) -> list[Row]:
    """The events of a conversation, and what became of each for a subscription."""
    rows = [_row(line, subscription) for line in talk.lines]
    return _with_holds(_with_answers(rows, is_waiting=talk.unanswered_since is not None))


def moments_beside(moments: Sequence[int], as_of: int) -> Moments:
    """The moments beside one; the last is now."""
    last = len(moments) - 1
    here = min(last, bisect_right(moments, as_of) - 1) if as_of else last
    before = moments[here - 1] if here > 0 else None
    if here >= last:
        return Moments(0, before, None)
    return Moments(as_of, before, moments[here + 1] if here + 1 < last else 0)


def transcript(talk: Talk) -> str:
    """What people saw; each message begins a line."""
    said = [line for line in talk.lines if line.message]
    return "".join(f"{_spoken(line.received_at, line.message)}\n" for line in said if line.message)


def _row(line: TalkLine, subscription: str) -> Row:
    def is_own(one: DeliveryLine | AttemptLine) -> bool:
        return one.subscription == subscription and one.replay is None

    own = next(filter(is_own, line.deliveries), None)
    tried = [one for one in line.attempts if is_own(one) and one.attempt]
    others = [one for one in line.deliveries if one is not own]
    return Row(line, own, tried[-1] if tried else None, others)


def _with_answers(rows: Sequence[Row], *, is_waiting: bool) -> list[Row]:
    """Each answer with what it answers: what it names, else what the customer said last."""
    events, found = dict[str, str](), list[Row]()
    asked: TalkLine | None = None
    for row in rows:
        message, changed = row.line.message, row
        if message is not None:
            named = events.get(message.in_reply_to, "")
            events[message.message] = row.line.event
            if message.is_answer:
                answers = named or (asked.event if asked else "")
                reply_ms = row.line.received_at - asked.received_at if asked else None
                changed = row._replace(reply_ms=reply_ms, answers=answers, says_so=bool(named))
                asked = None
            elif message.direction == Direction.CUSTOMER:
                asked = row.line
        found.append(changed)
    is_last = asked if is_waiting else None
    return [row._replace(waits=row.line is is_last) for row in found]


def _with_holds(rows: Sequence[Row]) -> list[Row]:
    """Which delivery others wait for: the first that is not settled, once it was begun."""
    states = [row.own.state if row.own else "" for row in rows]
    first = next((at for at, state in enumerate(states) if state in UNSETTLED), len(rows))
    holds = states[first + 1 :].count("pending")
    return [
        row._replace(
            holds=holds if at == first else 0, behind=at > first and states[at] == "pending"
        )
        for at, row in enumerate(rows)
    ]


def _spoken(at: int, message: Message) -> str:
    when = datetime.fromtimestamp(at / 1_000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    note = f" ({_('private note')})" if message.private else ""
    said = [_("deleted")] if message.deleted else []
    said += [f"[{one}]" for one in message.attachments]
    said += [message.content] if message.content else []
    who = message.name or speaker(message.direction)
    # Lines behind the first are set in: nobody's message says what others said.
    return shown(f"{when} {who}{note}: {' '.join(said)}").replace("\n", "\n    ")
