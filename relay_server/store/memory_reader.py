"""What a store in memory keeps of its readers, and what it asks of events."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import msgspec

from relay_protocol.values import RequestHead
from relay_server.store.rules import means_key, spellings
from relay_server.values import (
    Attempt,
    ChannelNumber,
    DeliveryState,
    Event,
    EventSummary,
    Mark,
    MarkState,
    NewEvent,
    Progress,
    Replay,
    ReplayState,
    Subscription,
)

KEPT = (MarkState.DEAD, MarkState.DISCARDED)  # below the floor, too


@dataclass(slots=True)
class Reader:
    """A subscription's progress, or a replay's."""

    subscription: Subscription
    channel: ChannelNumber
    start: int
    floor: int
    replay: Replay | None = None
    epoch: int = 0
    marks: dict[int, Mark] = field(default_factory=dict)
    attempts: list[Attempt] = field(default_factory=list)

    def add(self, progress: Progress, events: Collection[int]) -> None:
        """Take progress of its newest claim; dead are only events that are there."""
        lost = {m.sequence for m in progress.marks if m.state is MarkState.DEAD} - set(events)
        self.marks |= {mark.sequence: mark for mark in progress.marks}
        self.marks = {s: m for s, m in self.marks.items() if s not in lost}
        self.pass_by(progress.floor)
        tried = {(a.sequence, a.attempt) for a in progress.attempts}
        self.attempts = [a for a in self.attempts if (a.sequence, a.attempt) not in tried]
        self.attempts += progress.attempts

    def pass_by(self, floor: int) -> None:
        """Everything up to here is settled."""
        self.floor = max(self.floor, floor)
        self.marks = {s: m for s, m in self.marks.items() if s > self.floor or m.state in KEPT}

    def forget(self, sequence: int) -> None:
        """An event is gone; above the floor it is enough that it was settled."""
        if sequence <= self.floor:
            self.marks.pop(sequence, None)
        elif self.state_of(sequence) is MarkState.DISCARDED:
            self.set_state(sequence, MarkState.DELIVERED, self.marks[sequence].changed_at)

    def hear_of_replay(self, progress: Progress, events: Collection[int]) -> None:
        """What a replay delivered is no longer dead; what it gave up is."""
        for attempt in progress.attempts:
            if attempt.delivered and self.state_of(attempt.sequence) in KEPT:
                mark = self.marks[attempt.sequence]
                redeemed = msgspec.structs.replace(mark, state=MarkState.DELIVERED, reason="")
                self.marks[attempt.sequence] = redeemed
        self.pass_by(0)
        for mark in progress.marks:
            if mark.state is MarkState.DEAD and mark.sequence in events:
                self.give_up(mark)

    def give_up(self, mark: Mark) -> None:
        """A replay gave it up: it is dead, unless it is still on its way."""
        own = self.marks.get(mark.sequence)
        if own is None and mark.sequence <= self.floor:
            self.marks[mark.sequence] = mark
        elif own is not None and own.state.settled:
            self.marks[mark.sequence] = msgspec.structs.replace(
                own, state=MarkState.DEAD, reason=mark.reason, changed_at=mark.changed_at
            )

    def waits_for(self, sequence: int) -> bool:
        """Whether it has still to get an event."""
        mark = self.marks.get(sequence)
        return sequence > self.floor and not (mark and mark.state.settled)

    def needs(self, sequence: int) -> bool:
        """Whether an event must be kept for it."""
        if self.replay is not None:
            running = self.replay.state is ReplayState.RUNNING
            return running and self.floor < sequence <= self.replay.until
        return self.start < sequence and (
            self.waits_for(sequence) or self.state_of(sequence) is MarkState.DEAD
        )

    def state_of(self, sequence: int) -> MarkState | None:
        """What is marked of an event."""
        mark = self.marks.get(sequence)
        return mark.state if mark else None

    def set_state(self, sequence: int, state: MarkState, now: int) -> None:
        """Change what is marked."""
        mark = self.marks[sequence]
        self.marks[sequence] = msgspec.structs.replace(mark, state=state, changed_at=now)

    def state(self, sequence: int) -> DeliveryState:
        """What became of an event."""
        tried = (a for a in self.attempts if a.sequence == sequence)
        attempts = tuple(sorted(tried, key=lambda a: a.attempt))
        mark = self.marks.get(sequence)
        if mark is not None:
            name, due_at = mark.state.name.lower(), mark.due_at
            return DeliveryState(self.subscription.name, name, attempts, mark.reason, due_at)
        if self.replay is not None:
            state = "delivered" if attempts and attempts[-1].delivered else "dead"
        else:
            state = "delivered" if sequence <= self.floor else "pending"
        return DeliveryState(self.subscription.name, state, attempts)


def is_same(event: Event, new: NewEvent) -> bool:
    """Whether both are the same webhook."""
    asked, again = event.head.request, new.request
    same_line = (asked.method, asked.request_target) == (again.method, again.request_target)
    return same_line and event.body == new.body


def is_selected(event: Event, replay: Replay, reader: Reader) -> bool:
    """Whether a replay is for an event of its subscription."""
    wanted, head = replay.selection, event.head
    dead = reader.state_of(head.sequence) is MarkState.DEAD
    return (
        head.sequence > replay.start
        and (not wanted.sequences or head.sequence in wanted.sequences)
        and (wanted.received_from is None or head.received_at >= wanted.received_from)
        and (wanted.received_before is None or head.received_at < wanted.received_before)
        and wanted.kind in (None, head.kind)
        and (wanted.key is None or means_key(wanted.key, head.key))
        and any(text in event.body for text in spellings(wanted.text))
        and (dead or not wanted.dead)
    )


def has_ended(replay: Replay | None, before: int) -> bool:
    """Whether this is a replay that ended before a time."""
    return (
        replay is not None and replay.state is not ReplayState.RUNNING and replay.ended_at < before
    )


def weight(request: RequestHead, body: bytes) -> int:
    """Bytes that an event takes."""
    return len(body) + len(msgspec.msgpack.encode(request))


def first_of(events: Sequence[Event], enough: int | None) -> Sequence[Event]:
    """As many as make up so many bytes; all of them for None."""
    taken, found = 0, []
    for event in events:
        if enough is not None and taken >= enough:
            break
        taken += weight(event.head.request, event.body)
        found.append(event)
    return found


def newest(events: dict[int, Event]) -> int | None:
    """When the last event was received."""
    return events[max(events)].head.received_at if events else None


def summary(event: Event) -> EventSummary:
    """An event as a line in a list."""
    head = event.head
    return EventSummary(
        head.id,
        head.sequence,
        head.received_at,
        head.kind,
        head.key,
        head.request.method,
        head.request.request_target,
        len(event.body),
        event.conflict,
    )
