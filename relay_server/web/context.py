"""What every handler may use, built once in `app.py`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog
from aiohttp import web

from relay_server.canary import Canary, OwnPort
from relay_server.chatwoot.away import HandOffs
from relay_server.clock import Clock
from relay_server.delivery.hub import Hub
from relay_server.delivery.url.forwards import Forwards
from relay_server.drift import Drifts
from relay_server.links import Links
from relay_server.live.feeds import Feeds
from relay_server.metrics import Metrics
from relay_server.pulse import Beat, Pulse
from relay_server.refusals import Described, Like, Refusals
from relay_server.sealing import Sealer
from relay_server.settings import ServerSettings, Sources
from relay_server.store.feed import ChannelGone
from relay_server.store.interface import Store
from relay_server.store.versions import Versions
from relay_server.throttle import Throttle
from relay_server.uses import Uses
from relay_server.values import Channel
from relay_server.web.causes import Revoked
from relay_server.web.limits import Failures, Limit, Rates
from relay_server.web.reach import Reach

if TYPE_CHECKING:
    from relay_server.search.follower import Search

log = structlog.get_logger()


@dataclass(slots=True)
class Context:
    """The server's parts."""

    settings: ServerSettings
    sources: Sources
    store: Store
    hub: Hub
    metrics: Metrics
    clock: Clock
    sealer: Sealer
    started_at: float = 0.0
    listening: bool = False  # the public port takes connections
    uninitialized: bool = False  # no token was ever made here: nobody can send
    stopping: bool = False  # it drains: not ready for more
    certificate_stale: bool = False  # a renewed one cannot be used
    forwards: Forwards | None = None  # while a command runs alone: a forward begins with the server
    search: Search | None = None  # it begins with the server, too, unless it is switched off
    away: HandOffs | None = None  # the same: hand-offs begin with the server
    canary: Canary | None = None  # the same, and unless it is switched on
    versions: Versions = field(init=False)
    rates: Rates = field(default_factory=Rates)
    failures: Failures = field(default_factory=Failures)
    throttle: Throttle = field(default_factory=Throttle)  # of what is logged at a bounded rate
    api_requests: int = 0  # under way
    event_requests: int = 0  # those of them that have an event's body
    # One at a time, so that a token has no more than one.
    making_canary: asyncio.Lock = field(default_factory=asyncio.Lock)
    own_port: OwnPort | None = None  # how it reaches itself, once it listens
    pulse: Pulse = field(init=False)
    refusals: Refusals = field(init=False)
    revoked: Revoked = field(init=False)
    uses: Uses = field(init=False)
    drifts: Drifts = field(init=False)
    links: Links = field(default_factory=Links)  # that log in to the dashboard
    feeds: Feeds = field(init=False)
    reach: Reach = field(init=False)

    def __post_init__(self) -> None:
        self.pulse = Pulse(self.store, self.clock)
        self.hub.on_ended, self.hub.open_sealed = self.pulse.ended, self.sealer.open
        self.refusals = Refusals(self.clock.unix_ms())
        self.drifts = Drifts(self.settings.data_dir, self.store, self.clock)
        self.revoked = Revoked(self.store, self.clock)
        self.uses = Uses(self.store, self.clock)
        self.feeds = Feeds(self, self.metrics.feeds.set)
        missed = self.metrics.replicas_missed.set
        self.reach = Reach(self.store, self.clock, self.sealer.open, missed)
        self.versions = Versions(self.store)
        self.store.feed.listen(ChannelGone, lambda change: self.rates.forget(change.channel.number))

    @property
    def state(self) -> str:
        """`starting`, `uninitialized`, `ready` or `stopping`."""
        if self.stopping:
            return "stopping"
        if self.uninitialized:
            return "uninitialized"
        return "ready" if self.listening else "starting"

    def certificate_is_stale(self, stale: bool) -> None:
        """Note whether a renewed certificate cannot be used, while the one before is served."""
        self.certificate_stale = stale
        self.metrics.certificate_stale.set(stale)

    def refused(
        self,
        like: Like,
        channel: Channel | None,
        sender: str,
        describe: Callable[[], Described],
        event: str = "webhook refused",
    ) -> None:
        """Keep that a request was refused, for whoever set its sender up; the log says it, too.

        Args:
            like: What it has in common with others, which share log lines at a bounded rate.
            channel: That it is for, if there is one.
            sender: Its address.
            describe: Called where it is to be described.
            event: The log's words; empty where it is logged elsewhere.
        """
        if channel is not None:
            self.pulse.count(channel.number, Beat.REFUSED)
        group = self.refusals.note(like, sender, self.clock.unix_ms(), describe)
        if event and (times := self.throttle.due(like, self.clock.monotonic())):
            log.warning(event, **group.facts(), times=times)

    def limited(self, limit: Limit, event: str, /, of: Hashable = None, **facts: object) -> None:
        """Count what was refused because of too much of it, and log it at a bounded rate.

        Each that a limit is `of` has log lines of its own, with these facts.
        """
        self.metrics.limited.labels(limit).inc()
        if times := self.throttle.due((limit, of), self.clock.monotonic()):
            log.warning(event, **facts, times=times)


CONTEXT = web.AppKey("context", Context)
