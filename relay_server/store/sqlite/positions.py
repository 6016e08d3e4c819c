"""Where an event lies in the table of all channels' events."""

from __future__ import annotations

SEQUENCE_BITS = 40  # a trillion events a channel, eight million channels
SEQUENCE_MASK = (1 << SEQUENCE_BITS) - 1


def position(channel: int, sequence: int) -> int:
    """The row number of a channel's event; a sequence that none can have leads to no other's."""
    return channel << SEQUENCE_BITS | min(max(sequence, 0), SEQUENCE_MASK)


def sequence_of(at: int) -> int:
    """The sequence within its channel of the event in a row."""
    return at & SEQUENCE_MASK


def channel_of(at: int) -> int:
    """The channel of the event in a row."""
    return at >> SEQUENCE_BITS


def first(channel: int) -> int:
    """Before the row of a channel's first event: sequences begin at 1."""
    return position(channel, 0)


def last(channel: int) -> int:
    """The last row that a channel's events can have."""
    return position(channel, SEQUENCE_MASK)
