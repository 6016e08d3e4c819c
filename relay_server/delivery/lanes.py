"""Deliveries that are not settled, and the lane of each key: the parts of an `Order`."""

from __future__ import annotations

import enum

import msgspec

Holder = object  # compared by `is`: a connection, or whatever else has a delivery


class State(enum.Enum):
    READY = enum.auto()
    UNDER_WAY = enum.auto()
    WAITING = enum.auto()
    DELIVERED = enum.auto()
    DEAD = enum.auto()


class Entry(msgspec.Struct, eq=False):  # compared by identity, ordered by sequence
    """A delivery that is not settled, or was since the last time that progress was recorded.

    Attributes:
        attempt: The last one begun.
        due: When the next attempt is due, of one that waits; monotonic seconds.
        failing_since: When the first counted failure came; monotonic seconds.
        changed_at: When it came to wait or was settled; None after anything else.
        noted: That it is under way was recorded.
        marked: So was something of it before it was settled: there is a mark in the store.
        given_up: Who let it die; empty where nobody did. It is tried no more.
        received_at: When its event came, in Unix milliseconds; 0 before it was lent once.
    """

    sequence: int
    key: str
    size: int
    attempt: int = 0
    failures: int = 0
    state: State = State.READY
    due: float = 0.0
    failing_since: float | None = None
    holder: Holder | None = None
    leased_until: float = 0.0
    reason: str = ""
    changed_at: float | None = None
    noted: bool = False
    marked: bool = False
    given_up: str = ""
    received_at: int = 0

    def __lt__(self, other: Entry) -> bool:
        return self.sequence < other.sequence


class Lane(msgspec.Struct, eq=False):
    """The unsettled deliveries of one key.

    Attributes:
        ready: Those that may go, in order of sequence.
        active: The one that is under way.
        blocker: The one that waits for its next try and holds what comes after it until then.
        parked: Those that wait for their next try, the blocker among them, in order of sequence.
        known_up_to: Set once the lane has spilled: it knows its deliveries up to this sequence;
            what comes after is to be read again. None where it knows all that was read.
        offered: It is in the heap of what is ready, or was picked from it.
        counted: What was last counted as `held`.
    """

    ready: list[Entry] = []  # of its own: msgspec copies what is empty
    active: Entry | None = None
    blocker: Entry | None = None
    parked: list[Entry] = []
    known_up_to: int | None = None
    offered: bool = False
    counted: int = 0

    @property
    def open(self) -> bool:
        """True if the first of `ready` may go."""
        ready = self.ready
        if self.active is not None or not ready:
            return False
        if self.known_up_to is not None and len(ready) == 1:
            return False  # the last one keeps the floor below what has spilled
        return self.blocker is None or ready[0] < self.blocker

    @property
    def empty(self) -> bool:
        return not self.ready and self.active is None and not self.parked

    @property
    def held(self) -> int:
        """How many cannot go until the blocker lets them."""
        return 0 if self.blocker is None else len(self.ready)
