"""An event's row number: channel and sequence in one.

All channels' events are in one table. By their *position* a channel's events lie together, in
order, without an index.
"""

from __future__ import annotations

from relay_server.values import MAX_SEQUENCE

SEQUENCE_BITS = MAX_SEQUENCE.bit_length()  # those that are left are for eight million channels


def position(channel: int, sequence: int) -> int:
    """The row number of a channel's event; a sequence that none can have leads to no other's."""
    return channel << SEQUENCE_BITS | min(max(sequence, 0), MAX_SEQUENCE)


def sequence_of(at: int) -> int:
    """The sequence within its channel of the event in a row."""
    return at & MAX_SEQUENCE


def channel_of(at: int) -> int:
    """The channel of the event in a row."""
    return at >> SEQUENCE_BITS


def first(channel: int) -> int:
    """Before the row of a channel's first event: sequences begin at 1."""
    return position(channel, 0)


def last(channel: int) -> int:
    """The last row that a channel's events can have."""
    return position(channel, MAX_SEQUENCE)
