"""The server's values: what is stored, and what is asked of it. Times are Unix milliseconds."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from relay_protocol.values import EventHead, RequestHead
from relay_server.configs import ORDINARY, ChannelConfig, SubscriptionConfig
from relay_server.spans import Span

ChannelNumber = int  # the store's own, never used again
SubscriptionNumber = int  # above zero
ReplayNumber = int  # below zero: what records progress is a subscription or a replay, never both
ReaderNumber = int  # a subscription's or a replay's

# The sequence number of an event within its channel: 2^40 - 1, so that it and the channel's number
# share 63 bits. A larger `--first` or `--through` is refused.
MAX_SEQUENCE = 1_099_511_627_775
# Of a channel's bytes: what is delivered goes, whatever its age, until no more is left than this.
# Where that cannot be had, people are warned.
NEARLY_FULL = 0.8


class Scope(enum.StrEnum):
    """What a token lets its bearer do."""

    SEND = "send"
    SUBSCRIBE = "subscribe"
    ADMIN = "admin"


class Channel(msgspec.Struct, frozen=True):
    """A named inbox."""

    number: ChannelNumber
    name: str
    config: ChannelConfig
    created_at: int


class Token(msgspec.Struct, frozen=True):
    """A bearer secret, of which only the digest is kept."""

    name: str
    digest: bytes  # SHA-256 of the secret
    scopes: frozenset[Scope]
    channels: frozenset[str] | None  # where it is good; None for everywhere
    created_at: int


class Subscription(msgspec.Struct, frozen=True):
    """A named, durable reader of a channel.

    Attributes:
        left_at: When its last reader left; None while it is read, and where it never was.
    """

    number: SubscriptionNumber
    channel: str
    name: str
    created_at: int
    config: SubscriptionConfig = ORDINARY
    left_at: int | None = None


@dataclass(frozen=True, slots=True)
class Catalog:
    """Every channel and token at one moment: what authentication looks at."""

    channels: Mapping[str, Channel] = field(default_factory=dict)
    tokens: Mapping[bytes, Token] = field(default_factory=dict)  # by digest
    _by_number: Mapping[ChannelNumber, Channel] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        by_number = {channel.number: channel for channel in self.channels.values()}
        object.__setattr__(self, "_by_number", by_number)

    def numbered(self, number: ChannelNumber) -> Channel | None:
        """The channel of a number; None once it is gone."""
        return self._by_number.get(number)

    def owner_of(self, subscription: str, user: str) -> str:
        """The token whose a subscription is to be, by its name: that of that name, or its user."""
        names = {token.name for token in self.tokens.values()}
        return subscription if subscription in names else user


class NewEvent(msgspec.Struct, frozen=True, gc=False):  # as `Event`
    """A webhook to be stored."""

    id: str
    received_at: int
    key: str
    kind: str
    request: RequestHead
    body: bytes
    sender_id: str | None = None  # its sender's own id of this delivery, if it names one


class Appended(msgspec.Struct, frozen=True):
    """Where a webhook is stored."""

    id: str  # of the event; that of the first one when this was a duplicate
    sequence: int  # 0 while that is unknown: it is spooled until the database is back
    duplicate: bool = False  # the same webhook is stored already, under the same sender's id


class Event(msgspec.Struct, frozen=True, gc=False):  # thousands are held; none is in a cycle
    """A stored webhook.

    Attributes:
        channel: Its stream: a channel's number, or of an edited event minus that.
        conflict: Another event has the same sender's id and another body.
        repeat_of: Id of the first event of the same webhook, where its sender sent it again; None
            for the first.
        damaged: What is stored is not what came: its bytes were changed on the disk.
        kept: Its body is; without, it was dropped once everybody had it.
    """

    channel: ChannelNumber
    head: EventHead
    body: bytes
    conflict: bool = False
    repeat_of: str | None = None
    damaged: bool = False
    kept: bool = True

    @property
    def edited(self) -> bool:
        """True if somebody made it of another, for one subscription alone."""
        return self.channel < 0


class NewEdited(msgspec.Struct, frozen=True):
    """An event that somebody makes of another, for one subscription alone.

    Attributes:
        edited_from: Id of the other.
        made_by: Name of a token; empty for somebody on the host.
        idempotency_key: What is asked again under the same one is made once; None for none.
        asked: Digest of what was asked: another one under that key is a mistake.
    """

    event: NewEvent
    edited_from: str
    made_by: str
    idempotency_key: str | None = None
    asked: bytes = b""


class Outline(msgspec.Struct, frozen=True):
    """What scheduling needs to know of an event: nothing heavy."""

    sequence: int
    key: str
    size: int  # bytes of the body


class EventSummary(msgspec.Struct, frozen=True):
    """A line in a list of events."""

    id: str
    sequence: int
    received_at: int
    kind: str
    key: str
    method: str
    request_target: str
    size: int
    conflict: bool


class Edited(msgspec.Struct, frozen=True):
    """A stored event that somebody made of another.

    Attributes:
        event: With its sequence among the edited ones of its channel.
        subscription: The only one that it is for; perhaps gone.
        replay: Brings it there, and may be stopped.
        edited_from: Id of the event that it was made of, which may be gone.
        made_by: Name of a token; empty for somebody on the host.
    """

    event: EventSummary
    subscription: SubscriptionNumber
    replay: ReplayNumber
    edited_from: str
    made_by: str


class Pin(msgspec.Struct, frozen=True):
    """An event that is kept as an example.

    Attributes:
        edited: Its sequence is among the edited events of its channel.
        name: Of its channel's pins no other has it.
        made_by: Name of a token; empty for somebody on the host.
    """

    event: EventSummary
    edited: bool
    name: str
    made_by: str
    made_at: int


class MarkState(enum.IntEnum):
    """What became of a delivery. The numbers are stored: do not change them."""

    UNDER_WAY = 1
    WAITING = 2
    DELIVERED = 3
    DEAD = 4
    DISCARDED = 5  # was dead, and somebody said that it need not be delivered

    @property
    def settled(self) -> bool:
        """Whether nothing more will be tried."""
        return self >= MarkState.DELIVERED


class Mark(msgspec.Struct, frozen=True):
    """How far one delivery is.

    Attributes:
        attempt: The last attempt begun, from 1.
        failures: How many of them count against the delivery.
        due_at: When the next attempt is due, of one that waits.
        failing_since: When the first counted failure came; None before.
        reason: Why it is dead, or what failed last.
        changed_at: When it came to be so.
    """

    sequence: int
    state: MarkState
    attempt: int
    failures: int = 0
    due_at: int = 0
    failing_since: int | None = None
    reason: str = ""
    changed_at: int = 0


# Why an event is not delivered any more whose channel keeps no bodies.
UNKEPT = "its body was not kept once everybody had it"
# Why a subscription is paused whose bot goes on answering itself: in which conversation.
LOOPS = "its bot answers its own messages, as in conversation {key}"

# In place of an outcome of an attempt: how a delivery was settled untried.
EXPIRED = "expired"  # it outlived its time to live
TAKEN_OVER = "taken_over"  # people have its conversation
NOT_KEPT = "not_kept"  # its body was dropped once everybody else had it
SAME_MESSAGE = "same_message"  # an event before it told the same message
HAND_OFF = "hand_off"  # a step of handing its conversation to people, which it began


class Attempt(msgspec.Struct, frozen=True):
    """One try of a delivery that has ended.

    Number 0 is a note why it was settled untried; those below are steps of a hand-off.

    Attributes:
        outcome: `response`, a `FailureKind`, or what stands in place of one.
        status: Of the target's answer; None without one.
        text: The start of an answer's body, or what went wrong.
        size: Bytes of that body as it came; None where that is not known.
        headers: Those of the answer that are kept, as `name: value`, a line each.
    """

    sequence: int
    attempt: int
    started_at: int
    elapsed_ms: int
    outcome: str
    status: int | None = None
    text: str = ""
    size: int | None = None
    headers: str = ""

    @classmethod
    def note(cls, sequence: int, now_ms: int, how: str, why: str) -> Attempt:
        """A note that a delivery is settled untried: `EXPIRED` or another of these, and why."""
        return cls(sequence, 0, now_ms, 0, how, text=why)

    @property
    def delivered(self) -> bool:
        """Whether the target took the event."""
        return self.status is not None and 200 <= self.status < 300

    def shorter(self, most: int) -> Attempt:
        """The same with so many characters of an answer, and none of its headers."""
        if self.is_note or (len(self.text) <= most and not self.headers):
            return self
        return msgspec.structs.replace(self, text=self.text[:most], headers="")

    @property
    def is_note(self) -> bool:
        """Whether this is no try: it says why the delivery is settled."""
        return self.outcome in (EXPIRED, TAKEN_OVER, SAME_MESSAGE, NOT_KEPT)

    @property
    def settles_as(self) -> str:
        """The state of a delivery that a note is of."""
        return "expired" if self.outcome == EXPIRED else "skipped"


class Progress(msgspec.Struct, frozen=True):
    """Where a subscription stands, or what has changed of it.

    Attributes:
        floor: Every event up to this sequence is settled.
        marks: Deliveries above the floor that are not simply untouched.
        attempts: Tries that ended; where it stands says nothing of them.
        skipped: What its filter has left out, or has expired: settled, but for what has a settled
            mark. Where it stands says nothing of it, either: `EventLog.sift` leaves it out again.
    """

    floor: int
    marks: tuple[Mark, ...] = ()
    attempts: tuple[Attempt, ...] = ()
    skipped: tuple[Span, ...] = ()


class Claim(msgspec.Struct, frozen=True):
    """The right to record a subscription's or a replay's progress, until the next claim."""

    reader: ReaderNumber
    epoch: int  # grows with each claim; what an older one records is refused
    progress: Progress


class Conditions(msgspec.Struct, frozen=True):
    """What events that are meant have in common; all conditions that are set must hold.

    Attributes:
        kind: The sender's name for what happened, e.g. `"message_created"`.
        text: Is in the body, as sent or in any spelling of JSON.
        q: A filter that means it, as `language.check_standing` gives it; empty for any.
        dead: Those that are dead for the subscription.
        reason: Of these, those that were given up for it.
    """

    first: int | None = None
    last: int | None = None
    received_from: int | None = None
    received_before: int | None = None
    kind: str | None = None
    key: str | None = None
    text: str = ""
    dead: bool = False
    reason: str | None = None
    q: str = ""


class Selection(Conditions, frozen=True):
    """Which of a channel's events are meant."""

    sequences: tuple[int, ...] = ()  # these alone; empty for any


class Selected(msgspec.Struct, frozen=True):
    """The next events of a selection."""

    outlines: tuple[Outline, ...]
    read_up_to: int  # what is selected up to this sequence is in `outlines`, or in earlier ones


class Range(NamedTuple):
    """Sequences of a channel, the first and the last among them.

    Attributes:
        newest_first: From which end they are looked at.
    """

    channel: ChannelNumber
    first: int
    last: int
    newest_first: bool = True


class Removable(msgspec.Struct, frozen=True):
    """Events that may be deleted."""

    sequences: tuple[int, ...]
    looked_up_to: int | None  # sequence to go on from; None when everything was looked at


class Emptied(msgspec.Struct, frozen=True):
    """What became of the bodies of some events.

    Attributes:
        bodies: How many were dropped.
        needed: The first sequence whose body somebody needs yet; None without any.
        looked_up_to: Sequence to go on from; None when everything was looked at.
    """

    bodies: int
    needed: int | None
    looked_up_to: int | None


class Preview(msgspec.Struct, frozen=True):
    """How many events a selection comes to.

    Attributes:
        at_most: All that were found, and all that were not looked at.
        sample: Sequences of the first of them.
        complete: All were looked at.
    """

    at_most: int
    sample: tuple[int, ...]
    complete: bool


class ReplayState(enum.IntEnum):
    """How far a replay is. The numbers are stored: do not change them."""

    RUNNING = 1
    DONE = 2
    STOPPED = 3


class Replay(msgspec.Struct, frozen=True):
    """Events that a subscription is to get again, each as a new delivery.

    Attributes:
        start: Events up to this sequence are not looked at.
        until: Nor are those behind this one.
        floor: Everything selected up to this sequence is settled.
        rate_per_s: Attempts a second at most.
        made_by: Name of the token that asked for it; empty for somebody on the host.
        delivered: How many the target has taken so far.
        edited: It brings an edited event; its sequences are of those, and its target is not told.
    """

    number: ReplayNumber
    subscription: SubscriptionNumber
    selection: Selection
    rate_per_s: float
    start: int
    until: int
    floor: int
    state: ReplayState
    created_at: int
    made_by: str = ""
    ended_at: int = 0
    delivered: int = 0
    edited: bool = False
