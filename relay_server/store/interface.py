"""What the server asks of a store, whichever keeps it: small protocols, and all of them.

Those of events and of who reads them are here, the others in `administration`.
Every implementation passes the tests in `tests/contract`. Unless a method says otherwise, what it
changed survives a crash once it has returned, and it raises `StoreUnavailable` when nothing was
changed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Container, Mapping, Sequence
from typing import Protocol, TypeVar

from relay_protocol.errors import RelayError
from relay_server.reported import DeadDelivery, DeadReason, Missed, Neighbour, RetryReason
from relay_server.store.administration import (
    AuditLog,
    Catalogue,
    Housekeeping,
    Invitations,
    Reports,
    Sessions,
    Uses,
)
from relay_server.store.feed import Feed
from relay_server.values import (
    Appended,
    Attempt,
    ChannelNumber,
    Claim,
    Edited,
    Event,
    EventSummary,
    NewEdited,
    NewEvent,
    Outline,
    Pin,
    Preview,
    Progress,
    ReaderNumber,
    Replay,
    ReplayNumber,
    ReplayState,
    Selected,
    Selection,
    Subscription,
    SubscriptionNumber,
)

T = TypeVar("T")


class Space:
    """Whether the store takes webhooks. It belongs to the event loop.

    Attributes:
        taking: It does. Deliveries go on in any case.
        reason: Why not; empty while it does.
        away: The database does not take webhooks now, or has not taken all that is spooled.
        spooled: Webhooks that wait on this machine's disk until it is back.
        stuck: Those that it did not take then.
    """

    def __init__(self) -> None:
        self.taking = True
        self.reason = ""
        self.away = False
        self.spooled = self.stuck = 0
        self._listeners: list[Callable[[Space], None]] = []

    def listen(self, listener: Callable[[Space], None]) -> None:
        """Call back on each change: when room is needed, and when there is room again."""
        self._listeners.append(listener)

    def spool(self, away: bool, waiting: int, stuck: int, refusal: str) -> None:
        """Note how many webhooks are spooled, and why more are refused, if they are."""
        self.away, self.spooled, self.stuck = away, waiting, stuck
        if refusal != self.reason:
            self.change(refusal)

    def change(self, reason: str) -> None:
        """Refuse webhooks from now on, or with no reason take them again."""
        self.taking, self.reason = not reason, reason
        for listener in tuple(self._listeners):
            listener(self)


class Waiter(Protocol):
    """Is told what becomes of a webhook: a future, or what needs no further turn of the loop."""

    def done(self) -> bool:
        """True if it waits no more."""

    def set_result(self, result: Appended, /) -> None:
        """The webhook is on disk; readers are told of it after this returns."""

    def set_exception(self, exception: Exception, /) -> None:
        """It is not stored."""


class EventLog(Protocol):
    """Events as they came: appended, and read again."""

    def append_for(self, channel: ChannelNumber, event: NewEvent, waiter: Waiter) -> None:
        """As `append`, for who is told at once: perhaps before this returns."""

    def refuse_for(
        self, channel: ChannelNumber, event: NewEvent, waiter: Waiter, refusal: RelayError
    ) -> None:
        """Refuse a webhook, unless it is a duplicate: `append` says of what, and of the waiter."""

    def append(self, channel: ChannelNumber, event: NewEvent) -> asyncio.Future[Appended]:
        """Store a webhook, unless it is a duplicate: sent again, and missed by nobody.

        It is on its way once this returns, whether or not anybody waits for it.

        A duplicate has the sender's id, method, target and body of an event that is stored, comes
        within the channel's `dedupe_window_s` after it, and no subscription was made since, nor
        was that event discarded for one. Then the answer is that event's.

        Raises:
            ChannelNotFound: The channel was deleted.
            ChannelFull: Its events take as much as they may.
            StoreUnavailable: Nothing was stored; the sender should try again.
        """

    async def outlines(self, channel: ChannelNumber, after: int, limit: int) -> Sequence[Outline]:
        """Read what scheduling needs of the next events after a sequence, in order."""

    async def fetch(self, channel: ChannelNumber, sequences: Sequence[int]) -> Sequence[Event]:
        """Read whole events, in the order asked for; those that are gone are left out.

        One whose bytes are not what was stored is marked as `damaged`: it is not to be delivered.
        """

    async def select(
        self, channel: ChannelNumber, replay: Replay, after: int, limit: int
    ) -> Selected:
        """Read the outlines of the next events that a replay is for.

        It looks at a bounded number of events, so it may find none and still have come further.
        """

    async def sift(
        self,
        channel: ChannelNumber,
        subscription: SubscriptionNumber,
        after: int,
        limit: int,
        is_meant: Callable[[Event], bool] | None,
    ) -> Selected:
        """Read the outlines of the next events that a subscription's filter means.

        What its filters left out before is not asked about again. It looks at a bounded number of
        events, so it may find none and still have come further; it has not where there are none.

        Args:
            channel: The subscription's.
            subscription: Whose.
            after: The sequence after which to look.
            limit: How many at most.
            is_meant: Called in another thread; None to leave out nothing more.
        """

    async def list_events(
        self, channel: ChannelNumber, before: int | None, limit: int
    ) -> Sequence[EventSummary]:
        """List the events before a sequence, newest first."""

    async def summaries(
        self, channel: ChannelNumber, sequences: Sequence[int]
    ) -> Sequence[EventSummary]:
        """Read lines of a list, in the order asked for; events that are gone are left out."""

    async def sequences_of(self, channel: ChannelNumber, ids: Sequence[str]) -> Sequence[int]:
        """Find a channel's events by their ids; those that are not there are left out."""

    async def examine(
        self, channel: ChannelNumber, sequences: Sequence[int], look: Callable[[Event], T]
    ) -> Sequence[T]:
        """Have somebody look at whole events in another thread, and give what is made of each.

        Those that are gone are left out.
        """

    async def find_event(
        self, event: str, channels: Container[ChannelNumber] | None = None
    ) -> Event | None:
        """Read an event by its id; one of another channel takes as long as none does."""

    async def ids_ending(self, channels: Sequence[ChannelNumber], end: str) -> Sequence[str]:
        """Find the ids that end so, of the newest events of some channels, edited ones too.

        It looks at a bounded number, an equal part of them in each channel.
        """

    async def event_ids(
        self, channel: ChannelNumber, sequences: Sequence[int]
    ) -> Mapping[int, str]:
        """The ids of events, by sequence; those that are gone are left out."""


class Readers(Protocol):
    """How far each reader is: a subscription, or a replay with progress of its own.

    A reader's progress is recorded under a claim. Each claim has a higher epoch than the one
    before; what an older one records changes nothing.
    """

    async def claim(self, reader: ReaderNumber, *, shared: bool = False) -> Claim | None:
        """Become the one who records a subscription's or replay's progress; others may share it.

        Returns:
            None if it is gone, or a replay that has ended.
        """

    async def leave(self, now: int, claim: Claim | None = None) -> None:
        """Note when the last reader of a subscription left.

        Args:
            now: When.
            claim: That reader's; one that is not the newest changes nothing. None for every one
                that is said to be read, for a server that starts: nobody reads yet.
        """

    async def standing(self, subscription: SubscriptionNumber) -> Claim | None:
        """The newest claim there is on a subscription, without a new one; None if that is gone.

        For who says what any reader of it would: what is recorded before the next claim counts.
        """

    def record(self, claim: Claim, progress: Progress) -> None:
        """Note progress, to be written within 0.2 s.

        What a replay delivers is no longer dead for its subscription; what it gives up is.
        A crash before that repeats deliveries, and loses none. What an older claim records is
        dropped; recording twice is harmless.
        """

    def read_elsewhere(self, subscription: SubscriptionNumber) -> bool:
        """Whether another replica reads a subscription, as far as is known, without waiting."""

    async def reading_server(self, channel: str, name: str) -> Neighbour | None:
        """Say which server reads a subscription; None for this one, and for none."""

    async def neighbours(self) -> Sequence[Neighbour]:
        """Say which other servers are there that announced where they are."""

    async def note_unreached(self, found: Mapping[str, Missed]) -> None:
        """Note which of these this one cannot reach, by name, for `database_status`."""

    def is_heard(self) -> bool:
        """Whether other replicas surely know that this one is there, and leave it what it reads."""

    async def skip(self, subscription: SubscriptionNumber, up_to: int) -> int:
        """Settle what waits for a subscription up to a sequence, as skipped; how much that was.

        What is under way is not called back: it ends as it ends.

        Raises:
            SubscriptionNotFound: It is gone.
        """

    async def note_step(
        self, subscription: SubscriptionNumber, channel: ChannelNumber, step: Attempt
    ) -> None:
        """Write a step of handing an event's conversation to people; again in place of itself.

        Raises:
            SubscriptionNotFound, EventNotFound: It is gone.
        """

    async def steps(self, subscription: SubscriptionNumber) -> Sequence[tuple[str, Attempt]]:
        """The steps of every hand-off of a subscription, each with its event's key, in order."""

    async def flush(self) -> None:
        """Return once all that was recorded before survives a crash."""

    async def flush_if_possible(self) -> None:
        """The same; on a full disk, or one that is read-only, what was recorded is not seen yet."""

    async def create_replay(
        self,
        subscription: Subscription,
        selection: Selection,
        rate_per_s: float,
        now: int,
        made_by: str = "",
    ) -> Replay:
        """Have a subscription get events again, of those that are stored now.

        Raises:
            SubscriptionNotFound: It is gone.
            TooManyReplays: As many as may run for it do.
        """

    async def preview(self, subscription: Subscription, selection: Selection) -> Preview:
        """Say how many events a replay would be for; it looks at a bounded number.

        Raises:
            SubscriptionNotFound: It is gone.
        """

    async def replays(
        self, subscription: SubscriptionNumber | None = None, *, running: bool = False
    ) -> Sequence[Replay]:
        """The replays there are, the newest first; only those that run if asked so.

        Those of a subscription are with what brings it edited events.
        """

    async def replay(self, replay: ReplayNumber) -> Replay:
        """Read a replay, however old.

        Raises:
            ReplayNotFound: There is none of this number.
        """

    async def end_replay(self, replay: ReplayNumber, state: ReplayState, now: int) -> Replay:
        """Note that a replay is done, or was stopped; one that has ended stays as it is.

        Raises:
            ReplayNotFound: There is none of this number.
        """

    async def dead(
        self, subscription: SubscriptionNumber, after: int, limit: int, reason: str | None = None
    ) -> Sequence[DeadDelivery]:
        """List the dead deliveries of a subscription after a sequence, in order.

        With a reason those alone that were given up for it.
        """

    async def dead_reasons(
        self,
        subscription: SubscriptionNumber,
        limit: int,
        first: int = 0,
        reason: str | None = None,
    ) -> Sequence[DeadReason]:
        """Why deliveries of a subscription are dead, and how many; what most are dead for first.

        So many that come `first` are left out. With a reason it is asked for that one alone.
        """

    async def retry_reasons(
        self, subscription: SubscriptionNumber, limit: int
    ) -> Sequence[RetryReason]:
        """Why deliveries of a subscription are tried again; what most are for first."""

    async def discard(
        self, subscription: SubscriptionNumber, sequences: Sequence[int], now: int
    ) -> int:
        """Say that dead deliveries need not be delivered; how many of these were dead."""

    async def give_up(
        self, subscription: SubscriptionNumber, sequences: Sequence[int], reason: str, now: int
    ) -> int:
        """Let deliveries die that were tried and are not settled; how many of these there were.

        What is under way is not called back. If its target takes it after all, it is delivered;
        however else it ends, it stays dead.
        """


class EditedEvents(Protocol):
    """Events that somebody made of others, each for one subscription alone.

    They are in a stream of their own, that of minus their channel's number: `fetch`, `select` and
    `deliveries` read it there for whoever asks for that number, `find_event` says it of one.
    """

    async def create_edited(self, subscription: Subscription, new: NewEdited) -> Edited:
        """Store an edited event, and have it delivered; what was asked before is found again.

        Raises:
            SubscriptionNotFound: It is gone.
            KeyReused: Something else was asked under the same key.
            TooManyEdited: As many wait for it, or of its channel, as may.
            StoreUnavailable: Nothing was stored.
        """

    async def edited(self, channel: ChannelNumber, sequence: int) -> Edited | None:
        """Say of what an edited event of a channel was made, and for whom."""

    async def list_edited(
        self,
        channel: ChannelNumber,
        subscription: SubscriptionNumber | None,
        before: int | None,
        limit: int,
    ) -> Sequence[Edited]:
        """List a channel's edited events before a sequence, newest first; None for any."""


class Pins(Protocol):
    """Events that people keep as examples: neither age nor want of room deletes them."""

    async def pin(self, event: Event, name: str, made_by: str, now: int) -> Pin:
        """Keep an event under a name, or give one that is kept another.

        Raises:
            EventNotFound: It was deleted meanwhile.
            PinExists: Another of its channel has the name.
            TooManyPins: As many of its channel are pinned as may be.
        """

    async def unpin(self, event: Event) -> bool:
        """Keep it no longer than others; False where it is not pinned."""

    async def pins(self, channel: ChannelNumber) -> Sequence[Pin]:
        """The pinned events of a channel by name, edited ones too."""

    async def pinned(self, channel: ChannelNumber) -> Mapping[int, str]:
        """The names of the channel's own events that are pinned, by sequence."""


class Store(
    EventLog,
    Readers,
    EditedEvents,
    Pins,
    AuditLog,
    Invitations,
    Sessions,
    Uses,
    Catalogue,
    Reports,
    Housekeeping,
    Protocol,
):
    """All of a store. Parts of the server ask for as much of it as they use.

    Attributes:
        feed: Tells what changed, after each commit.
        space: Whether webhooks are taken, and why not.
        replica: The name of this server among those that share the store; empty for a file.
    """

    feed: Feed
    space: Space
    replica: str

    async def close(self) -> None:
        """Write what was recorded and let go of everything."""
