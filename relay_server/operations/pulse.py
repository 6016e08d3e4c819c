"""How much happens, by the minute."""

from __future__ import annotations

import msgspec

from relay_server.errors import InvalidValue
from relay_server.operations import Caller
from relay_server.pulse import MAX_MINUTES


class PulseFields(msgspec.Struct):
    """Of which channel, the default one where none is named; and how many minutes back."""

    channel: str | None = None
    minutes: int = 60


class Minute(msgspec.Struct, frozen=True):
    """What happened in a minute.

    Attributes:
        at: When it began.
        received: Webhooks that were stored.
        delivered: Attempts that a target took.
        failed: Attempts that it did not.
        dead: Deliveries that were given up.
        refused: Webhooks that were not stored.
    """

    at: int
    received: int
    delivered: int
    failed: int
    dead: int
    refused: int


class PulseReport(msgspec.Struct, frozen=True):
    """The last minutes of a channel, this one last.

    Attributes:
        since: When this process began to count.
    """

    channel: str
    since: int
    minutes: list[Minute]


async def show_pulse(who: Caller, fields: PulseFields) -> PulseReport:
    """Counts a minute of what happened in a channel, since this process began."""
    channel, pulse = who.channel_or_default(fields.channel), who.parts.pulse
    if not 0 < fields.minutes <= MAX_MINUTES:
        raise InvalidValue(f"the pulse is kept for 1 to {MAX_MINUTES} minutes")
    minutes = pulse.minutes(channel.number, fields.minutes)
    return PulseReport(channel.name, pulse.since, [Minute(at, *counts) for at, counts in minutes])
