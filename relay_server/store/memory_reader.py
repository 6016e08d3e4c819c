"""What a store in memory keeps of its readers, and what it asks of events."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

import msgspec

from relay_protocol.values import RequestHead
from relay_server.values import (
    Attempt,
    ChannelNumber,
    DeliveryState,
    Event,
    EventSummary,
    Mark,
    MarkState,
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

    def add(self, progress: Progress) -> None:
        """Take progress of its newest claim."""
        self.floor = max(self.floor, progress.floor)
        self.marks |= {mark.sequence: mark for mark in progress.marks}
        self.marks = {s: m for s, m in self.marks.items() if s > self.floor or m.state in KEPT}
        tried = {(a.sequence, a.attempt) for a in progress.attempts}
        self.attempts = [a for a in self.attempts if (a.sequence, a.attempt) not in tried]
        self.attempts += progress.attempts

    def hear_of_replay(self, progress: Progress) -> None:
        """What a replay delivered is no longer dead; what it gave up is."""
        for attempt in progress.attempts:
            if attempt.delivered and self.state_of(attempt.sequence) in KEPT:
                self.set_state(attempt.sequence, MarkState.DELIVERED, attempt.started_at)
        for mark in progress.marks:
            own = self.state_of(mark.sequence)
            settled = own.settled if own else mark.sequence <= self.floor
            if mark.state is MarkState.DEAD and settled:
                self.marks[mark.sequence] = mark

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


def is_selected(event: Event, replay: Replay, reader: Reader) -> bool:
    """Whether a replay is for an event of its subscription."""
    wanted, head = replay.selection, event.head
    plain, escaped = wanted.text.encode(), json.dumps(wanted.text)[1:-1].encode()
    dead = reader.state_of(head.sequence) is MarkState.DEAD
    return (
        head.sequence > replay.start
        and (not wanted.sequences or head.sequence in wanted.sequences)
        and (wanted.received_from is None or head.received_at >= wanted.received_from)
        and (wanted.received_before is None or head.received_at < wanted.received_before)
        and wanted.kind in (None, head.kind)
        and wanted.key in (None, head.key)
        and (plain in event.body or escaped in event.body)
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
