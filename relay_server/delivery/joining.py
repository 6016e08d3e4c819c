"""Who joins a subscription: one at a time, what is heard of it meanwhile, and who may no more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from weakref import WeakValueDictionary

from relay_server.store.feed import Claimed, GivenUp
from relay_server.values import Subscription, SubscriptionNumber


@dataclass(eq=False)
class Joining:
    """A subscription that one peer at a time joins, and what is heard of it meanwhile.

    Attributes:
        number: Set while it is being claimed.
        claimed: The newest claim that was heard of since, of this hub or another.
        changed: How it is set now, if somebody changed it.
        given_up: What of it somebody let die since.
        void: What was claimed since then is not to be relied on.
    """

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    number: SubscriptionNumber | None = None
    claimed: Claimed | None = None
    changed: Subscription | None = None
    given_up: list[GivenUp] = field(default_factory=list)
    void: bool = False


class Joins:
    """Those that are being joined, by channel and name; one goes when nobody holds it."""

    def __init__(self) -> None:
        self._known: WeakValueDictionary[tuple[str, str], Joining] = WeakValueDictionary()

    @asynccontextmanager
    async def alone(self, channel: str, name: str) -> AsyncIterator[Joining]:
        """Have nobody else join a subscription meanwhile, and hear what is changed of it."""
        joining = self._known.setdefault((channel, name), Joining())
        async with joining.lock:
            joining.claimed, joining.changed, joining.void = None, None, False
            joining.given_up = []
            try:
                yield joining
            finally:
                joining.number = None

    def changed(self, subscription: Subscription) -> None:
        """A subscription is set anew."""
        if joining := self._known.get((subscription.channel, subscription.name)):
            joining.changed = subscription

    def given_up(self, change: GivenUp) -> None:
        """Deliveries of a subscription were given up."""
        for joining in self._known.values():
            if joining.number == change.subscription:
                joining.given_up.append(change)

    def promoted(self) -> None:
        """A database took over that may not know of any claim."""
        for joining in self._known.values():
            joining.void = True

    def claimed(self, change: Claimed) -> None:
        """A subscription has a new claim."""
        for joining in self._known.values():
            if joining.number != change.reader:
                continue
            if joining.claimed is None or joining.claimed.epoch < change.epoch:
                joining.claimed = change


class Taken:
    """What another server took from this one to share it, as long as that was not reached since.

    Two that cannot reach each other would else take a subscription by turns, once a second.
    """

    def __init__(self) -> None:
        self._names: dict[SubscriptionNumber, tuple[str, str]] = {}

    def add(self, subscription: Subscription) -> None:
        """It was taken."""
        self._names[subscription.number] = subscription.channel, subscription.name

    def forget(self, subscription: SubscriptionNumber) -> None:
        """It is read here again, or by nobody any more."""
        self._names.pop(subscription, None)

    def reached(self, names: Collection[tuple[str, str]]) -> None:
        """The server that reads some, by channel and name, was reached."""
        self._names = {n: name for n, name in self._names.items() if name not in names}

    def among(self, names: Collection[tuple[str, str]]) -> bool:
        """Whether any of these was taken."""
        return any(name in names for name in self._names.values())
