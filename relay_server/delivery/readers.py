"""Which subscriptions this server reads now, who their peers are, and since when nobody is there.

A *peer* is where deliveries go: a connection, or a forward. Each subscription that somebody reads
has one `Reader`, which its peers share. What happens with them is the hub's to decide.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from relay_server.clock import Clock
from relay_server.delivery.pace import Speed
from relay_server.delivery.reader import Reader
from relay_server.delivery.sinks import Sink
from relay_server.values import ChannelNumber, Subscription, SubscriptionNumber


class Peer(Sink, Protocol):
    """A connection or forward that deliveries go to."""

    token: str
    host: str
    version: str

    def tick(self, now: float) -> None:
        """Look at the clock."""

    def taken_over(self, subscription: str, host: str) -> None:
        """Another peer has the subscription now: say so and close."""

    def revoked(self) -> None:
        """The token is not good any more: say so and close."""

    def go_away(self, reason: str, retry_after_s: float) -> None:
        """The server stops: say so and close."""


@dataclass(frozen=True, slots=True)
class ReaderState:
    """Who reads a subscription.

    Attributes:
        readers: How many connections, or forwards.
        hosts: The names of the machines that are connected.
        waits_for_target: Why nothing goes out now, if their targets are not there; else None.
    """

    readers: int
    waits_for_target: str | None = None
    hosts: tuple[str, ...] = ()


@dataclass(slots=True)
class Served:
    """A subscription that is being read.

    Attributes:
        shared: Others that share may join.
        forwards: Its peer is a forward.
        speed: How fast it goes.
        task: Runs the reader, once a peer has been welcomed.
    """

    reader: Reader
    peers: list[Peer]
    speed: Speed
    shared: bool = False
    forwards: bool = False
    task: asyncio.Task[None] | None = None

    @property
    def state(self) -> ReaderState:
        hosts = () if self.forwards else tuple(peer.host for peer in self.peers)
        return ReaderState(len(self.peers), self.reader.waits_for_target, hosts)


class Readers:
    """Every reader of this server, by its subscription and by its channel."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        # In the order of coming, so that what happens does not hang on addresses in memory.
        self._served: dict[SubscriptionNumber, Served] = {}
        self._by_channel: defaultdict[ChannelNumber, dict[Reader, None]] = defaultdict(dict)
        self._left_at: dict[SubscriptionNumber, float] = {}  # by its last reader; monotonic seconds
        # When something of a channel could go out last; none since this server began.
        self._delivered_at: dict[ChannelNumber, float] = {}
        self._began_at = clock.monotonic()

    def __len__(self) -> int:
        return len(self._served)

    def __contains__(self, number: object) -> bool:
        return number in self._served

    def __iter__(self) -> Iterator[Served]:
        return iter(list(self._served.values()))

    def get(self, number: SubscriptionNumber) -> Served | None:
        """A subscription that is being read; None if nobody does."""
        return self._served.get(number)

    def of_channel(self, channel: ChannelNumber) -> list[Reader]:
        """The readers of a channel."""
        return list(self._by_channel.get(channel, ()))

    def is_read(self, channel: ChannelNumber) -> bool:
        """Whether anybody reads a channel."""
        return channel in self._by_channel

    def subscriptions(self, channel: ChannelNumber) -> list[Subscription]:
        """The subscriptions of a channel that somebody reads."""
        return [reader.subscription for reader in self.of_channel(channel)]

    def state(self, number: SubscriptionNumber) -> ReaderState:
        """Who reads a subscription, and whether that waits for its target."""
        served = self._served.get(number)
        return ReaderState(readers=0) if served is None else served.state

    def states(self, channel: ChannelNumber) -> Mapping[SubscriptionNumber, ReaderState]:
        """The same of all subscriptions of a channel that somebody reads."""
        numbers = [subscription.number for subscription in self.subscriptions(channel)]
        return {number: self.state(number) for number in sorted(numbers)}

    def silent_s(self, number: SubscriptionNumber) -> float:
        """For how long no target of a subscription took anything, came or went."""
        served = self._served.get(number)
        alive_at = self._left_at.get(number, self._began_at)
        return self._clock.monotonic() - (served.reader.alive_at if served else alive_at)

    def idle_s(self, channel: ChannelNumber) -> float:
        """For how long nothing of a channel could go out: nobody read, or no target was there."""
        if any(reader.delivers for reader in self._by_channel.get(channel, ())):
            return 0.0
        return self._clock.monotonic() - self._delivered_at.get(channel, self._began_at)

    def speed(self, served: Served) -> tuple[float, float]:
        """How many events of a subscription are delivered within a second, and how many come."""
        reader = served.reader
        return served.speed.per_s(self._clock.monotonic(), reader.delivered, reader.newest)

    def add(self, served: Served) -> None:
        """A subscription is read from now on."""
        reader = served.reader
        self._served[reader.subscription.number] = served
        self._by_channel[reader.channel.number][reader] = None

    def stop(self, number: SubscriptionNumber) -> None:
        """A subscription is read no more: what is under way is freed."""
        reader = self._served.pop(number).reader
        self._left_at[number] = self._clock.monotonic()
        of_channel = self._by_channel[reader.channel.number]
        del of_channel[reader]
        if not of_channel:
            del self._by_channel[reader.channel.number]
        reader.stop()

    def look(self, now: float) -> None:
        """Note which channels can deliver; call this about once a second."""
        for channel, readers in self._by_channel.items():
            if any(reader.delivers for reader in readers):
                self._delivered_at[channel] = now
        for served in self._served.values():
            served.speed.look(now, served.reader.delivered, served.reader.newest)

    def forget_channel(self, channel: ChannelNumber) -> None:
        """A channel was deleted."""
        self._delivered_at.pop(channel, None)

    def forget(self, number: SubscriptionNumber) -> None:
        """A subscription was deleted."""
        self._left_at.pop(number, None)
