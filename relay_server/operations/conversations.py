"""Conversations: what customer, bot and agents said.

All of it is read from the webhooks that are stored: no question to Chatwoot. They are looked for by
bounded work, as lists are (`finding.py`), so an answer may say that it looked back only so far.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import compress
from urllib.parse import urlencode

import msgspec

from relay_server.bodies.masking import masked_event
from relay_server.bodies.talk import (
    ANSWERING,
    NEW_MESSAGE,
    SAID_BY_FACTS,
    Heard,
    Line,
    State,
    hear,
    lines_of,
    state_of,
    unanswered_since,
)
from relay_server.errors import ConversationNotFound, InvalidValue
from relay_server.filters.document import Document
from relay_server.filters.facts import Direction, Facts
from relay_server.filters.language import Filter, Term, Value, parse
from relay_server.operations import Caller, page_of
from relay_server.operations.events import (
    AttemptLine,
    DeliveryLine,
    attempt_lines,
    delivery_line,
)
from relay_server.operations.finding import BUDGET_S, Asked, Found, find
from relay_server.operations.listing import facts_of
from relay_server.operations.past import deliveries_then, moments_of
from relay_server.reported import DeliveryState
from relay_server.values import Channel, EventSummary

MAX_LINES = 200  # events of a conversation in one answer
MAX_MOMENTS = 1_000  # of a conversation, at which it can be looked at
MAX_TALKS = 100  # conversations in one answer
PIECE = 200  # events that are gone through at once, for a list of conversations

_GONE = Facts()  # of an event that was deleted meanwhile


class TalkQuery(msgspec.Struct):
    """Which conversations: those of a channel with the newest events.

    Attributes:
        channel: The default one where none is named.
        state: `unanswered` for those whose customer waits; empty for all.
        before: Only what came before this sequence; 0 for all there is.
        limit: How many at most.
    """

    channel: str | None = None
    state: str = ""
    before: int = 0
    limit: int = 30


class TalkRow(msgspec.Struct, kw_only=True):
    """A conversation in a list, as its newest events say.

    Attributes:
        key: Its order key, which leads to it.
        says: What was said last, by whom `direction` says.
        unanswered_since: Since when its customer waits; null where nobody does.
    """

    channel: str
    key: str
    account: str
    conversation: str
    contact: str
    name: str
    inbox: str
    last_event: str
    last_at: int
    says: str = ""
    direction: str = ""
    unanswered_since: int | None = None


class Talks(msgspec.Struct):
    """Conversations, that with the newest event first.

    Attributes:
        next: The query of the page behind it, where one may come again, with older events; null
            where all were looked at.
        scanned_to: The sequence up to which events were looked at.
        complete: False where the bound of work ended the look.
    """

    conversations: list[TalkRow]
    next: str | None
    scanned_to: int
    complete: bool


class TalkPage(msgspec.Struct):
    """Which part of a conversation: the newest of its events before a sequence; 0 for the end.

    Attributes:
        as_of: How that stood at a moment, in Unix milliseconds; 0 for how it stands.
    """

    before: int = 0
    as_of: int = 0


class TalkLine(Line, kw_only=True):
    """One event of a conversation, and what became of it."""

    deliveries: list[DeliveryLine]
    attempts: list[AttemptLine]


class Talk(msgspec.Struct, kw_only=True):
    """A conversation: its events, the oldest first.

    Attributes:
        unanswered_since: Since when its customer waits; null where nobody does.
        moments: When something happened in this part, in order: what `as_of` can be. The newest
            1,000.
        before: Of its older events; null where these are all.
        complete: False where the bound of work ended the look for older ones.
    """

    channel: str
    key: str
    state: State
    lines: list[TalkLine]
    unanswered_since: int | None
    moments: list[int]
    before: int | None
    complete: bool


async def list_conversations(who: Caller, query: TalkQuery) -> Talks:
    """The conversations of a channel, that with the newest event first."""
    if query.state not in ("", "unanswered"):
        raise InvalidValue("state is unanswered, or left out")
    channel, limit = who.channel_or_default(query.channel), min(page_of(query.limit), MAX_TALKS)
    talks = _Talks(channel.name, limit)
    before = query.before or who.store.newest(channel.number) + 1
    until = time.monotonic() + BUDGET_S
    while before > 1 and not talks.full and time.monotonic() < until:
        events = await who.store.list_events(channel.number, before, PIECE)
        facts = await facts_of(who, channel.number, [event.sequence for event in events])
        before = events[-1].sequence if len(events) == PIECE else 1
        for event in events:
            if not talks.note(event, facts.get(event.sequence, _GONE)):
                before = event.sequence + 1
                break
    rows = talks.rows.values()
    if query.before:
        for row in rows:
            if row.unanswered_since and await _is_answered(who, channel, row.key, query.before):
                row.unanswered_since = None
    found = [r for r in rows if query.state != "unanswered" or r.unanswered_since is not None]
    place = {"channel": channel.name, "state": query.state, "before": before, "limit": limit}
    following = urlencode(place)
    next_ = following if before > 1 else None
    return Talks(found, next_, before, complete=talks.full or before <= 1)


async def show_conversation(who: Caller, channel: str, key: str, page: TalkPage) -> Talk:
    """What was said in a conversation, and what became of each of its events."""
    of = who.channel(channel)
    heard, scanned_to, complete = await hear_conversation(who, of, key, page.before)
    sequences = [one.line.sequence for one in heard]
    states = await who.store.deliveries(of.number, sequences) if sequences else ()
    came = [one.line.received_at for one in heard]
    tried = (at for state in states for at in moments_of(state))
    # A target's clock may say that it was tried before it came.
    moments = {*came, *(at for at in tried if at >= came[0])}
    if page.as_of:
        # Not the first of them: a server's clock may be set back, and another's be behind.
        had_come = [at <= page.as_of for at in came]
        heard = list(compress(heard, had_come))
        states = [deliveries_then(state, page.as_of) for state in compress(states, had_come)]
    lines = lines_of(heard)
    return Talk(
        channel=of.name,
        key=key,
        state=state_of(heard),
        lines=[_with_state(line, state) for line, state in zip(lines, states, strict=True)],
        unanswered_since=unanswered_since(lines),
        moments=sorted(moments)[-MAX_MOMENTS:],
        before=scanned_to if scanned_to > 1 else None,
        complete=complete,
    )


def _with_state(line: Line, deliveries: Sequence[DeliveryState]) -> TalkLine:
    return TalkLine(
        **msgspec.structs.asdict(line),
        deliveries=list(map(delivery_line, deliveries)),
        attempts=[attempt for one in deliveries for attempt in attempt_lines(one)],
    )


async def _is_answered(who: Caller, channel: Channel, key: str, since: int) -> bool:
    """Whether an answer came from a sequence on: on a page before this one."""
    answer = f"kind:{','.join(NEW_MESSAGE)} from:{','.join(ANSWERING)} -is:private"
    meant = Filter(terms=(_is_of(key), *parse(answer, who.now()).terms))
    end = who.store.newest(channel.number) + 1
    found = await find(who.parts, Asked(channel.number, meant, since - 1, end, False, 1))
    return bool(found.sequences)


class _Talks:
    """Conversations as they are met, from the newest event back."""

    def __init__(self, channel: str, limit: int) -> None:
        self.rows = dict[str, TalkRow]()
        self.full = False
        self._channel = channel
        self._limit = limit
        self._answered = set[str]()

    def note(self, event: EventSummary, facts: Facts) -> bool:
        """Take an older event into the list; False where it is of one conversation too many."""
        if not event.key:
            return True
        if (row := self.rows.get(event.key)) is None:
            if len(self.rows) == self._limit:
                self.full = True
                return False
            row = self.rows[event.key] = _row(self._channel, event, facts)
        if facts.kind in NEW_MESSAGE and not facts.private:  # not one that changed later
            self._hear(row, event, facts)
        return True

    def _hear(self, row: TalkRow, event: EventSummary, facts: Facts) -> None:
        if not row.direction:
            row.says, row.direction = facts.says, facts.direction
        if facts.direction in ANSWERING:
            self._answered.add(row.key)
        elif facts.direction == Direction.CUSTOMER and row.key not in self._answered:
            row.unanswered_since = event.received_at


def _row(channel: str, event: EventSummary, facts: Facts) -> TalkRow:
    return TalkRow(
        channel=channel,
        key=event.key,
        **{name: getattr(facts, name) for name in SAID_BY_FACTS},
        last_event=event.id,
        last_at=event.received_at,
    )


async def find_conversation(who: Caller, channel: Channel, key: str, before: int = 0) -> Found:
    """Which events of a conversation are its newest, before a sequence or of all.

    Raises:
        ConversationNotFound: No event names it.
    """
    end = before or who.store.newest(channel.number) + 1
    meant = Filter(terms=(_is_of(key),))
    found = await find(who.parts, Asked(channel.number, meant, 0, end, True, MAX_LINES))
    if not found.sequences and found.complete and not before:
        raise ConversationNotFound(key)
    return found


async def hear_conversation(
    who: Caller, channel: Channel, key: str, before: int = 0
) -> tuple[Sequence[Heard], int, bool]:
    """The newest events of a conversation, the oldest first; how far back was looked."""
    found = await find_conversation(who, channel, key, before)
    heard = await who.store.examine(
        channel.number,
        sorted(found.sequences),
        lambda event: hear(Document(masked_event(event, channel.config.mask))),
    )
    return heard, found.scanned_to, found.complete


def _is_of(key: str) -> Term:
    """That an event is of a conversation, whatever its key holds."""
    return Term("conv", (Value(key.lower()),))
