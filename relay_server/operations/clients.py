"""Clients that are connected with this server now, and how fast what is read goes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from relay_server.operations import Caller


class Client(NamedTuple):
    """A connection that reads a subscription.

    Attributes:
        token: Which it came with.
        host: Its machine, as that calls itself.
        version: Its own, as it says.
    """

    channel: str
    subscription: str
    token: str
    host: str
    version: str


class Pace(NamedTuple):
    """How fast a subscription is delivered lately.

    Attributes:
        per_s: Events that are delivered within a second.
        empty_in_s: When nothing waits any more, if it and what comes go on so; None if never.
    """

    per_s: float
    empty_in_s: float | None


def paces_of(who: Caller, backlogs: Mapping[tuple[str, str], int]) -> dict[tuple[str, str], Pace]:
    """How fast each goes for which something waits, by channel and name; none that stands still."""
    readers, found = who.parts.hub.readers, {}
    for served in readers:
        of = served.reader.subscription
        backlog = backlogs.get((of.channel, of.name), 0)
        per_s, coming_per_s = readers.speed(served)
        if backlog and per_s > 0:
            gains = per_s - coming_per_s
            found[of.channel, of.name] = Pace(per_s, backlog / gains if gains > 0 else None)
    return found


def clients_of(who: Caller) -> list[Client]:
    """Those that read what the caller may read, in the order of their subscriptions' coming."""
    visible = {channel.name for channel in who.channels()}
    return [
        Client(of.channel, of.name, peer.token, peer.host, peer.version)
        for served in who.parts.hub.readers
        if not served.forwards and (of := served.reader.subscription).channel in visible
        for peer in served.peers
    ]
