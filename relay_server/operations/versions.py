"""Whether an answer is still the same: texts that are others whenever it may be another.

They are known without a question to the store: what counts are changes of the channels that an
answer is about, and who reads their subscriptions. Each takes what the operation takes, as far as
it looks at that; one of a channel that is not for the caller is `ChannelNotFound`, as there.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from typing import Protocol

from relay_server.operations import Caller
from relay_server.values import Channel


class OfChannel(Protocol):
    """What is asked of a channel, or of the default one for None."""

    channel: str | None


def of_asked(who: Caller, asked: OfChannel) -> str:
    """Of a query's channel."""
    return _of(who, [who.channel_or_default(asked.channel)])


def of_named(who: Caller, channel: str, *_: object) -> str:
    """Of a channel that a path begins with."""
    return _of(who, [who.channel(channel)])


def of_all(who: Caller, *_: object) -> str:
    """Of every channel that the caller may read: for what is found without naming one."""
    return _of(who, filter(who.may_read, who.store.catalog.channels.values()))


def _of(who: Caller, channels: Iterable[Channel]) -> str:
    versions, hub = who.parts.versions, who.parts.hub
    known = [(versions.of(c.number), hub.readers.states(c.number)) for c in channels]
    return f"{zlib.crc32(str(known).encode()):x}"
