"""Clients that are connected with this server now."""

from __future__ import annotations

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


def clients_of(who: Caller) -> list[Client]:
    """Those that read what the caller may read, in the order of their subscriptions' coming."""
    visible = {channel.name for channel in who.channels()}
    return [
        Client(of.channel, of.name, peer.token, peer.host, peer.version)
        for served in who.parts.hub.readers
        if not served.forwards and (of := served.reader.subscription).channel in visible
        for peer in served.peers
    ]
