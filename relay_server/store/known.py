"""What the SQLite store knows without asking the disk; it belongs to the event loop."""

from __future__ import annotations

from collections import defaultdict

from relay_server.configs import ChannelConfig
from relay_server.store.recent import RecentOfAll
from relay_server.store.sqlite.database import Database
from relay_server.store.sqlite.housekeeping import Removed
from relay_server.store.sqlite.rows import decode_channel, decode_token
from relay_server.values import Catalog, Channel, ChannelNumber, Event, Token


class Known:
    """Kept up with each commit.

    Attributes:
        catalog: Channels and tokens.
        recent: The latest events of each channel.
        last: The last committed sequence of each channel.
        bytes: What each channel's events take.
        arriving: What comes on top of that soon.
        refused: Bytes of the largest webhook that a channel had no room for, until some is made.
    """

    def __init__(self, database: Database) -> None:
        self.recent = RecentOfAll()
        self.last: dict[ChannelNumber, int] = {}
        self.bytes: dict[ChannelNumber, int] = {}
        self.arriving: defaultdict[ChannelNumber, int] = defaultdict(int)
        self.refused: dict[ChannelNumber, int] = {}
        self._configs: dict[ChannelNumber, ChannelConfig] = {}
        channels, tokens = {}, {}
        for row in database.all("load_channels"):
            channel = decode_channel(row)
            channels[channel.name] = channel
            self._configs[channel.number] = channel.config
            self.last[channel.number], self.bytes[channel.number] = row[4:]
        for row in database.all("load_tokens"):
            token = decode_token(row)
            tokens[token.digest] = token
        self.catalog = Catalog(channels, tokens)

    def knows(self, channel: ChannelNumber) -> bool:
        """Whether there is a channel of this number."""
        return channel in self._configs

    def full_at(self, channel: ChannelNumber, weight: int) -> int | None:
        """The limit of a channel that so many bytes more would exceed; None where they fit."""
        config = self._configs.get(channel)
        limit = config.max_bytes if config else None
        if limit is None:
            return None
        taken = self.bytes.get(channel, 0) + self.arriving[channel]
        return limit if taken + weight > limit else None

    def refuse(self, channel: ChannelNumber, weight: int, limit: int) -> None:
        """There was no room for so many bytes; what never fits needs none."""
        if weight <= limit and self.knows(channel):
            self.refused[channel] = max(weight, self.refused.get(channel, 0))

    def arrived(self, channel: ChannelNumber, weight: int) -> None:
        """So many bytes are on their way no more; the channel may be gone by now."""
        self.arriving[channel] -= weight
        if not self.knows(channel):
            del self.arriving[channel]

    def add(self, event: Event, weight: int) -> None:
        """An event of so many bytes was stored."""
        self.recent.add(event, weight)
        self.last[event.channel] = event.head.sequence
        self.bytes[event.channel] = self.bytes.get(event.channel, 0) + weight

    def remove(self, removed: Removed) -> None:
        """Events were deleted."""
        if removed.channel in self.bytes:
            self.bytes[removed.channel] -= removed.bytes
            self.recent.forget(removed.channel, removed.last)
        if removed.events:
            self.refused.pop(removed.channel, None)

    def show_channel(self, channel: Channel) -> None:
        """A channel was made or changed."""
        channels = {**self.catalog.channels, channel.name: channel}
        self._configs[channel.number] = channel.config
        self.catalog = Catalog(channels, self.catalog.tokens)

    def hide_channel(self, channel: Channel) -> None:
        """A channel was deleted."""
        channels = {n: c for n, c in self.catalog.channels.items() if n != channel.name}
        self.catalog = Catalog(channels, self.catalog.tokens)
        self.recent.drop(channel.number)
        for by_number in (
            self.last,
            self.bytes,
            self.arriving,
            self.refused,
            self._configs,
        ):
            by_number.pop(channel.number, None)

    def show_token(self, token: Token) -> None:
        """A token was made."""
        tokens = {**self.catalog.tokens, token.digest: token}
        self.catalog = Catalog(self.catalog.channels, tokens)

    def hide_token(self, name: str) -> None:
        """A token was revoked."""
        tokens = {d: t for d, t in self.catalog.tokens.items() if t.name != name}
        self.catalog = Catalog(self.catalog.channels, tokens)
