"""Whether there is room for webhooks: the decision."""

from __future__ import annotations

import enum
from dataclasses import dataclass

RESERVE_BYTES = 16_777_216  # as much as the log grows to between two checkpoints
MARGIN_BYTES = 4_194_304
LOG_BYTES = 4_194_304


class Step(enum.Enum):
    """What is to be done about room."""

    RESERVE = "make the reserve, and take webhooks"
    TAKE = "take webhooks, though there is no room for the reserve"
    WAIT = "take none"


@dataclass(frozen=True, slots=True)
class Room:
    """Room as it was measured; all in bytes.

    Attributes:
        disk: Free on the file system.
        spare: Free inside the database, to be used again.
        below_cap: What the database may still grow by; None without a cap.
    """

    disk: int
    spare: int
    below_cap: int | None = None

    def capped(self, needed: int) -> bool:
        """Whether it is the cap that leaves too little."""
        return self.below_cap is not None and self.below_cap + self.spare < needed


def next_step(room: Room, needed: int = MARGIN_BYTES) -> Step:
    """Decide whether webhooks can be taken, while the reserve is not there.

    Args:
        room: What there is.
        needed: Bytes that must fit beside the reserve.
    """
    if room.capped(needed):
        return Step.WAIT
    if room.disk >= RESERVE_BYTES + needed:
        return Step.RESERVE
    # The database need not grow then: only its log has to fit.
    if room.disk >= LOG_BYTES and room.spare >= needed:
        return Step.TAKE
    return Step.WAIT


def can_fold(room: Room, growth: int, log_growth: int, weight: int, *, reserved: bool) -> bool:
    """Whether the log can be copied into the database also once more is in it; all in bytes.

    Else a disk that is filled up then leaves no room for what makes room: the log stays, and
    nothing fits into it any more.

    Args:
        room: What there is.
        growth: What copying the log as it is adds to the database.
        log_growth: What writing adds to the log's file.
        weight: What is to be written.
        reserved: The reserve is held, and counted in what is free.
    """
    margin = MARGIN_BYTES // 2 if reserved else 0
    return room.disk >= growth + max(0, weight - room.spare) + log_growth + margin
