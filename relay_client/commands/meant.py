"""What a command means: which channel, subscription and time."""

from __future__ import annotations

import time
from datetime import datetime

from relay_client.options import Given
from relay_protocol.limits import MAX_UNIX_MS


async def channel_of(given: Given) -> str:
    """The one that is set, or that the token makes clear."""
    channel = given.configuration.settings.channel
    return channel or await given.api.choose_channel("Say which one: --channel NAME")


async def name_of(given: Given) -> str:
    return given.configuration.settings.name or (await given.api.whoami()).name


def moment(text: str | None, option: str) -> int | None:
    from relay_client.settings import parse_since

    if text is None:
        return None
    now = round(time.time() * 1_000)
    found = parse_since(text, now, option)
    return now if found is None else found


def date(unix_ms: int | None) -> str:
    if unix_ms is None or not 0 <= unix_ms <= MAX_UNIX_MS:
        return "never"
    try:
        return datetime.fromtimestamp(unix_ms / 1000).astimezone().isoformat(" ", "seconds")
    except (OverflowError, ValueError):  # the year 10,000 begins earlier in the east
        return "never"
