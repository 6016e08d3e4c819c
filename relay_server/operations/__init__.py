"""What may be done with channels, tokens, subscriptions, events and replays, each of it once.

    async def an_operation(who: Caller, *names from a path, fields: what is asked) -> its answer

An operation checks who asks and what, then stores it, and gives what people and scripts see of it:
a struct, secrets masked, times in Unix milliseconds. It raises one of our errors where it does
nothing. The JSON API's table of routes (`web/api.py`) calls it, for the commands too, and so may a
page. It knows nothing of HTTP, and tells nobody of what it changed: whom that concerns listens to
the store's feed.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Concatenate, Generic, ParamSpec, Protocol, TypeVar

import msgspec

from relay_server.auth import allows
from relay_server.canary import Canary, OwnPort
from relay_server.chatwoot.away import HandOffs
from relay_server.clock import Clock
from relay_server.delivery.hub import Hub
from relay_server.delivery.url.forwards import Forwards
from relay_server.drift import Drifts
from relay_server.errors import ChannelNotFound, Forbidden, InvalidValue, SubscriptionNotFound
from relay_server.links import Links
from relay_server.metrics import Metrics
from relay_server.pulse import Pulse
from relay_server.refusals import Refusals
from relay_server.sealing import Sealer
from relay_server.settings import ServerSettings, Sources
from relay_server.store.interface import Store
from relay_server.store.versions import Versions
from relay_server.uses import Uses
from relay_server.values import Channel, Scope, Subscription, Token

if TYPE_CHECKING:
    from relay_server.search.follower import Search

# Stands for whoever asks what takes no token.
NOBODY = Token("", b"", frozenset(), frozenset(), 0)
MAX_LISTED = 500  # events or dead deliveries in one answer; a larger `limit` counts as this

P = ParamSpec("P")
R = TypeVar("R")


class Parts(Protocol):
    """The server's parts, as far as operations need them.

    Attributes:
        forwards: None while a command runs alone: a forward begins with the server.
        search: None while a command runs alone, and where it is switched off.
        canary: The same, and where it is switched off.
        own_port: None while a command runs alone, and before the server listens.
        away: None while a command runs alone: hand-offs begin with the server.
        versions: Whether an answer is still the same.
        making_canary: One at a time, so that a token has no more than one.
        links: That log in to the dashboard.
        uses: Of tokens and signing secrets.
    """

    store: Store
    clock: Clock
    sealer: Sealer
    settings: ServerSettings
    sources: Sources
    hub: Hub
    pulse: Pulse
    refusals: Refusals
    forwards: Forwards | None
    search: Search | None
    drifts: Drifts
    canary: Canary | None
    away: HandOffs | None
    versions: Versions
    started_at: float
    own_port: OwnPort | None
    making_canary: asyncio.Lock
    metrics: Metrics
    uses: Uses
    links: Links

    @property
    def state(self) -> str:
        """`starting`, `uninitialized`, `ready` or `stopping`."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks a server, and what is theirs to see and to do.

    Attributes:
        parts: The server's.
        token: None for somebody on the host, who may do everything.
        address: Where they are, as far as proxies that are known say; empty on the host.
        idempotency_key: What is asked again under the same one is done once; None for none.
    """

    parts: Parts
    token: Token | None = None
    address: str = ""
    idempotency_key: str | None = None

    @property
    def store(self) -> Store:
        return self.parts.store

    @property
    def admin(self) -> bool:
        """True if everything is allowed."""
        return self.token is None or Scope.ADMIN in self.token.scopes

    @property
    def name(self) -> str:
        """The token's; empty for somebody on the host."""
        return self.token.name if self.token else ""

    def now(self) -> int:
        """Unix milliseconds."""
        return self.parts.clock.unix_ms()

    def may_read(self, channel: Channel | None) -> bool:
        """True if it is there, and its events are for the caller's eyes."""
        if channel is None:
            return False
        return self.token is None or allows(self.token, Scope.SUBSCRIBE, channel)

    def body_limit(self, channel: Channel) -> int:
        """Bytes that the body of an event of a channel may have."""
        return channel.config.max_body_bytes or self.parts.settings.max_body_bytes

    def channel(self, name: str) -> Channel:
        """A channel that the caller may read; all others are `ChannelNotFound`."""
        channel = self.store.catalog.channels.get(name)
        if channel is None or not self.may_read(channel):
            raise ChannelNotFound(name)
        return channel

    def channel_or_default(self, name: str | None) -> Channel:
        """The same; the default one where none is named."""
        return self.channel(self.parts.settings.default_channel if name is None else name)

    async def subscription(self, channel: str, name: str) -> Subscription:
        """A subscription of a channel that the caller may read, or `SubscriptionNotFound`."""
        for subscription in await self.store.subscriptions(self.channel(channel).name):
            if subscription.name == name:
                return subscription
        raise SubscriptionNotFound(channel, name)

    def channels(self) -> list[Channel]:
        """Channels that the caller may read, by name; canaries are nobody's business."""
        found = self.store.catalog.channels.values()
        mine = [c for c in found if self.may_read(c) and not c.config.owner]
        return sorted(mine, key=lambda channel: channel.name)

    def check_admin(self) -> None:
        """Raise `Forbidden` unless everything is allowed."""
        if not self.admin:
            raise Forbidden("this takes a token with the scope admin")

    def made(self, subscription: Subscription) -> bool:
        """True if a subscription is the caller's own."""
        config = subscription.config
        # Asked each time: a token of the subscription's name may have been made since.
        owner = self.store.catalog.owner_of(subscription.name, config.made_by)
        return config.forward is None and bool(self.name) and owner == self.name

    def owns(self, subscription: Subscription) -> bool:
        """True if a subscription is the caller's to skip and to delete."""
        return self.admin or self.made(subscription)

    def check_owner(self, subscription: Subscription) -> None:
        """Raise `Forbidden` where a subscription is somebody else's."""
        if not self.owns(subscription):
            raise Forbidden(f"{subscription.name!r} is not this token's: it takes the scope admin")

    def check_reader(self, subscription: Subscription) -> None:
        """Raise `Forbidden` where the server itself reads it and the caller is no administrator."""
        if subscription.config.forward is not None and not self.admin:
            raise Forbidden(f"{subscription.name!r} is a forward: this takes the scope admin")


def page_of(limit: int) -> int:
    """How many a page has at most, of what was asked for; none at all is `InvalidValue`."""
    if limit < 1:
        raise InvalidValue("limit is how many at most: a number from 1 on")
    return min(limit, MAX_LISTED)


class Plan(msgspec.Struct, frozen=True):
    """An answer that says what would be done: nothing was."""


class ForAdmins(Generic[P, R]):
    """Decorates an operation that takes the scope `admin`.

    It checks that by itself, whoever calls it. The API asks before it reads a body, too: what a
    request without the right to it says is then not even looked at.
    """

    def __init__(self, do: Callable[Concatenate[Caller, P], Awaitable[R]]) -> None:
        self.do = do
        functools.update_wrapper(self, do)

    def __call__(self, who: Caller, *args: P.args, **kwargs: P.kwargs) -> Awaitable[R]:
        who.check_admin()
        return self.do(who, *args, **kwargs)
