"""How much is taken of whom: rates, connections and wrong tokens. Pure: callers pass the time.

- `Rates`: a token bucket for each channel that has a rate. It fills at the rate, holds `BURST_S`
  worth of webhooks, and each webhook takes one.
- `Failures`: a sliding window of wrong tokens and signatures for each address. Beyond `FAILURES`
  in `FAILURE_WINDOW_S` wrong ones get 429 instead of 401. A good token is let in all the same: the
  window slows guessing down, and must not let a stranger lock out who shares an address.
- `Connections`: open connections, in all and of each address. Proxies are exempt from the latter.

An address stands for its IPv4 address or its IPv6 /64 (`group_of`). Strangers fill these tables, so
each has a bound of its own, and forgets the oldest at it.
"""

from __future__ import annotations

import functools
from array import array
from collections import OrderedDict
from collections.abc import Sequence
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Network

from relay_http.addresses import Network, is_inside, plain_address
from relay_server.values import ChannelNumber

BURST_S = 2.0  # a quiet channel may take the webhooks of so many seconds at once
FAILURES = 20  # wrong tokens or signatures of one address, and then it is told to stay away
FAILURE_WINDOW_S = 60.0  # for so long a wrong token counts
MAX_ADDRESSES = 10_000  # whose failures are remembered; who failed longest ago is forgotten
MAX_ADDRESS_CHARS = 64  # more of what a proxy hands on as an address is not looked at
IPV6_NETWORK = 64  # bits; below it one customer has every address


class Limit(StrEnum):
    """The limits that a client can meet; the metric's label."""

    RATE = "rate"
    FAILURES = "failures"
    CONNECTIONS = "connections"
    CONNECTIONS_PER_ADDRESS = "connections_per_address"
    REQUESTS = "requests"
    FEEDS = "feeds"


def group_of(address: str) -> str:
    """Who counts as one: an IPv4 address, or the /64 of an IPv6 one."""
    return _group_of(address[:MAX_ADDRESS_CHARS])  # a proxy may hand on anything


@functools.lru_cache(4_096)
def _group_of(address: str) -> str:
    match plain_address(address):
        case None:
            return address
        case IPv4Address() as parsed:
            return str(parsed)
        case parsed:
            return str(IPv6Network((parsed, IPV6_NETWORK), strict=False))


class Rates:
    """A token bucket for each channel that has a rate."""

    def __init__(self) -> None:
        self._buckets: dict[ChannelNumber, tuple[float, float]] = {}  # level, and as of when

    def take(self, channel: ChannelNumber, rate_per_s: float, now: float) -> float:
        """Take a webhook: 0, or the seconds until the channel takes the next one."""
        room = max(1.0, rate_per_s * BURST_S)
        level, at = self._buckets.get(channel, (room, now))
        level = min(room, level + max(0.0, now - at) * rate_per_s)
        taken = level >= 1.0
        self._buckets[channel] = (level - taken, now)
        return 0.0 if taken else (1.0 - level) / rate_per_s

    def forget(self, channel: ChannelNumber) -> None:
        """The channel was deleted."""
        self._buckets.pop(channel, None)


class Failures:
    """Who lately showed wrong tokens or signatures, and how often; the oldest are forgotten."""

    def __init__(self) -> None:
        self._failed_at: OrderedDict[str, array[float]] = OrderedDict()

    def wrong(self, address: str, now: float) -> float:
        """Note one more: 0, or the seconds for which its address is to stay away.

        What is told to stay away is not noted: each failure counts for a window and no longer.
        """
        group = group_of(address)
        failed_at = self._failed_at.setdefault(group, array("d"))
        self._failed_at.move_to_end(group)
        if len(self._failed_at) > MAX_ADDRESSES:
            self._failed_at.popitem(last=False)
        while failed_at and failed_at[0] <= now - FAILURE_WINDOW_S:
            failed_at.pop(0)
        if len(failed_at) >= FAILURES:
            return failed_at[0] + FAILURE_WINDOW_S - now
        failed_at.append(now)
        return 0.0


class Connections:
    """How many connections are open, in all and by their peers' addresses.

    From a network that is exempt, a proxy's, there may be as many as there are in all.
    """

    def __init__(self, most: int, most_each: int, exempt: Sequence[Network] = ()) -> None:
        self.open = 0
        self._most = most
        self._most_each = most_each
        self._exempt = exempt
        self._by_group: dict[str, int] = {}

    def enter(self, address: str) -> Limit | None:
        """Count one more, to be given back by `leave`; or say which limit forbids it."""
        if self.open >= self._most:
            return Limit.CONNECTIONS
        group = _group_of(address)
        count = self._by_group.get(group, 0)
        if count >= self._most_each and not is_inside(address, self._exempt):
            return Limit.CONNECTIONS_PER_ADDRESS
        self.open += 1
        self._by_group[group] = count + 1
        return None

    def leave(self, address: str) -> None:
        """One that was counted is gone."""
        group = _group_of(address)
        self.open -= 1
        count = self._by_group.pop(group)
        if count > 1:
            self._by_group[group] = count - 1
