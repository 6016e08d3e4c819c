"""What was refused lately, in groups, so that whoever set a sender up sees what is wrong with it.

Like refusals are one group: those of one reason, for one channel, from one block of addresses, that
showed the same. A group is described when it is new, and at most once a second again: what a flood
costs is to find its group, and count.

Strangers choose what stands here, so all of it is bounded, and one who sends much pushes out his
own: a block of addresses has `MAX_GROUPS_EACH`, all together have `MAX_GROUPS`, and the oldest of
the block with the most groups goes first. No body is kept, no secret, and of the request a few
words. Kept in memory, by this process alone.

What a group says of itself (`Group.facts`) is what the log, the API and the feed tell.
"""

from __future__ import annotations

import functools
import re
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, ip_network
from itertools import chain, islice
from typing import NamedTuple

import msgspec

from relay_http.addresses import plain_address
from relay_protocol.text import harmless
from relay_protocol.tokens import TOKEN_PREFIX
from relay_server.bodies.tree import MASK

MAX_GROUPS = 200  # of like refusals that are remembered
MAX_GROUPS_EACH = 20  # of one block of addresses
DESCRIBE_MS = 1_000  # between two descriptions of one group
MAX_NAME_CHARS = 64  # of a channel that was asked for; a longer one is cut
MAX_PATH_CHARS = 128  # of the path that is shown
MAX_CLIENT_CHARS = 100  # of the `User-Agent` that is shown
MAX_ADDRESS_CHARS = 64  # more of what a proxy hands on as an address is not looked at
IPV4_BLOCK, IPV6_BLOCK = 24, 48  # bits: what one network has

# Where a path may hold a secret that belongs elsewhere: a token of ours, what follows `token=` or
# the like, and user and password of an absolute URL.
_SECRETS = re.compile(
    rf"(?P<name>\b(?:token|secret|key)=|//(?=[^/?#]*@)|(?={TOKEN_PREFIX}))[^/?#&;@]+", re.IGNORECASE
)


class Cause(msgspec.Struct, frozen=True):
    """What is wrong, as far as can be said.

    Attributes:
        shown: What came instead of a proof, masked.
        says: A sentence about it.
        fix: What to do.
        whose: The token or channel that it belongs to, which is not for everybody's eyes.
    """

    shown: str = ""
    says: str = ""
    fix: str = ""
    whose: str = ""


class Described(NamedTuple):
    """A refused request, in a few words."""

    cause: Cause
    method: str
    path: str  # cut, it is without a query and without secrets
    client: str

    def cut(self) -> Described:
        """No longer than is kept, and harmless to show."""
        return Described(
            self.cause,
            harmless(self.method, 16),
            harmless(masked(self.path.partition("?")[0]), MAX_PATH_CHARS),
            harmless(self.client, MAX_CLIENT_CHARS),
        )


class Like(NamedTuple):
    """What refusals of one group have in common.

    Attributes:
        reason: The log's words, or an error's code.
        channel: That was asked for, whether or not it is there; empty for the API.
        block: Of addresses.
        shown: Tells apart what was shown.
    """

    reason: str
    channel: str
    block: str
    shown: int = 0


@dataclass(slots=True, eq=False)
class Group:
    """Like refusals. Times are Unix milliseconds.

    Attributes:
        address: The last one's.
        described: As one of them was.
    """

    like: Like
    described: Described
    described_at: int
    address: str
    first_at: int
    last_at: int
    count: int = 0

    def facts(self) -> dict[str, str]:
        """What the log may hold of it: no header's value, and not whose a token is."""
        cause = self.described.cause
        return {
            "reason": self.like.reason,
            "channel": self.like.channel,
            "address": self.address,
            "method": self.described.method,
            "path": self.described.path,
            "shown": cause.shown,
            "says": cause.says,
            "fix": cause.fix,
        }


class Refusals:
    """The groups there are.

    Attributes:
        since: The same.
    """

    def __init__(self, now_ms: int) -> None:
        self.since = now_ms
        # Both in the order in which they were met last.
        self._blocks = OrderedDict[str, OrderedDict[Like, Group]]()
        self._listeners: list[Callable[[Group], None]] = []

    def listen(self, listener: Callable[[Group], None]) -> Callable[[], None]:
        """Hear of each refusal; returns a function that ends it."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def note(
        self, like: Like, address: str, now_ms: int, describe: Callable[[], Described]
    ) -> Group:
        """Count a refusal of a group; `describe` is called where that is to be described."""
        block = self._blocks.get(like.block)
        if block is None:
            block = self._blocks[like.block] = OrderedDict()
        group = block.get(like)
        if group is None:
            group = Group(like, describe().cut(), now_ms, address, now_ms, now_ms)
            block[like] = group
            self._forget(block)
        elif now_ms - group.described_at >= DESCRIBE_MS:
            group.described, group.described_at = describe().cut(), now_ms
        group.count += 1
        group.last_at, group.address = now_ms, address[:MAX_ADDRESS_CHARS]
        block.move_to_end(like)
        self._blocks.move_to_end(like.block)
        for listener in self._listeners:
            listener(group)
        return group

    def groups(self) -> list[Group]:
        """Them, newest first."""
        found = list(chain.from_iterable(block.values() for block in self._blocks.values()))
        found.sort(key=lambda group: group.last_at)
        found.reverse()
        return found

    def _forget(self, block: OrderedDict[Like, Group]) -> None:
        if len(block) > MAX_GROUPS_EACH:
            block.popitem(last=False)
        sizes = list(map(len, self._blocks.values()))
        if sum(sizes) > MAX_GROUPS:
            name = next(islice(self._blocks, sizes.index(max(sizes)), None))
            self._blocks[name].popitem(last=False)
            if not self._blocks[name]:
                del self._blocks[name]


def like(reason: str, channel: str, address: str, shown: object = None) -> Like:
    """What a refusal has in common with others."""
    name = harmless(masked(channel), MAX_NAME_CHARS)
    return Like(reason, name, block_of(address[:MAX_ADDRESS_CHARS]), hash(shown))


def masked(path: str) -> str:
    """A path without the secrets that somebody put into it."""
    return _SECRETS.sub(lambda found: found["name"] + MASK, path)


@functools.lru_cache(1_024)
def block_of(address: str) -> str:
    """The network of an address, as far as one can tell: of what is none itself."""
    parsed = plain_address(address)
    if parsed is None:
        return harmless(address)
    bits = IPV4_BLOCK if isinstance(parsed, IPv4Address) else IPV6_BLOCK
    return str(ip_network((parsed, bits), strict=False))
