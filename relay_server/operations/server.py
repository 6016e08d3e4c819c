"""The server as a whole: who asks it, how it is, a copy of it."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import msgspec

from relay_server.bodies.tree import MASK
from relay_server.delivery.upkeep import is_worrying
from relay_server.errors import DatabaseAway, Forbidden, InvalidValue, StoreUnavailable
from relay_server.operations import Caller, Parts, channels, drifts, subscriptions
from relay_server.operations.audit import audited
from relay_server.reported import ChannelStatus, DatabaseStatus
from relay_server.values import Channel, Scope
from relay_terminal.values import Secret

VERSION = version("relay-tunnel")


class Backup(msgspec.Struct, forbid_unknown_fields=True):
    """Where a backup goes: a file on the server's host that does not exist yet."""

    file: str


class BackedUp(msgspec.Struct):
    """A backup that was made.

    Attributes:
        body_keys: Which keys open the bodies in it; none where they are not sealed.
    """

    file: str
    body_keys: list[str]


class WhoAmI(msgspec.Struct):
    """Who asks, and what that token is good for; without a name somebody on the host.

    Attributes:
        channels: Null for every one.
        created_at: Of the token, if there is one.
    """

    name: str
    scopes: list[str]
    channels: list[str] | None
    server_version: str
    created_at: int | msgspec.UnsetType = msgspec.UNSET


class StoreState(msgspec.Struct):
    """Whether webhooks are taken; administrators see why not.

    Attributes:
        spooled: Webhooks that wait on this server's disk until the database is back.
        stuck: Those there that it did not take then: their channel is gone, or full.
        sweeping: Events of deleted channels that are still there, roughly.
        database: How that is, and which servers share it; null for a file.
    """

    taking: bool
    reason: str | msgspec.UnsetType = msgspec.UNSET
    spooled: int | msgspec.UnsetType = msgspec.UNSET
    stuck: int | msgspec.UnsetType = msgspec.UNSET
    sweeping: int | msgspec.UnsetType = msgspec.UNSET
    database: DatabaseStatus | msgspec.UnsetType | None = msgspec.UNSET


class IndexState(msgspec.Struct):
    """How far the search index of a channel is.

    Attributes:
        indexed_to: It has the channel's events up to this sequence.
        newest: Sequence of the channel's last event.
        lag_ms: Age of the oldest event that it has not; 0 where it has all.
    """

    indexed_to: int
    newest: int
    lag_ms: int


class ChannelState(msgspec.Struct):
    """How full a channel is.

    Attributes:
        full_percent: Of `max_bytes`; null without a limit.
        worrying: It is nearly full of what cannot go by itself.
        dropped: Events that went undelivered to make room, ever.
        index: How far the search index is; null where there is none.
    """

    name: str
    events: int
    bytes: int
    max_bytes: int | None
    full_percent: float | None
    worrying: bool
    dropped: int
    drop_oldest: bool
    last_received_at: int | None
    index: IndexState | None


class SettingState(msgspec.Struct):
    """A setting's value, secrets masked, and where it comes from."""

    value: bool | int | str | list[str] | None
    source: str


class CanaryState(msgspec.Struct):
    """How the server's own canary went last.

    Attributes:
        at: When it ended; null before the first has.
        age_s: How long ago that is.
        failure: What kept it from being delivered; empty if nothing did.
    """

    ok: bool | None
    at: int | None
    age_s: int | None
    took_ms: int | None
    failure: str


class Status(msgspec.Struct):
    """How the server is; administrators see its connections, canary and settings.

    Attributes:
        state: `ready`, `starting`, `stopping`, or `uninitialized`: no token was ever made.
        dashboard_url: Empty where the dashboard is at the public URL.
        canary: Null where none is sent.
    """

    state: str
    version: str
    public_url: str
    dashboard_url: str
    uptime_s: int
    store: StoreState
    channels: list[ChannelState]
    subscriptions: list[subscriptions.SubscriptionView]
    drifts: list[drifts.DriftView]
    connections: int | msgspec.UnsetType = msgspec.UNSET
    canary: CanaryState | msgspec.UnsetType | None = msgspec.UNSET
    settings: dict[str, SettingState] | msgspec.UnsetType = msgspec.UNSET


async def whoami(who: Caller) -> WhoAmI:
    """Who the bearer of this token is."""
    if who.token is None:
        return WhoAmI("", [Scope.ADMIN], None, VERSION)
    shown = channels.token_view(who.token)
    return WhoAmI(**msgspec.structs.asdict(shown), server_version=VERSION)


async def status(who: Caller) -> Status:
    """How channels and subscriptions are doing, as far as the caller may know.

    Raises:
        DatabaseAway: The servers' database cannot be asked.
    """
    space = who.store.space
    try:
        return await _status(who)
    except StoreUnavailable as exc:
        if who.admin and space.taking and space.spooled:
            raise DatabaseAway(space.spooled, exc) from exc
        raise


async def _status(who: Caller) -> Status:
    parts, visible = who.parts, {c.name for c in who.channels()}
    space = who.store.space
    readers = await who.store.subscription_status()
    known = [status for status in readers if status.subscription.channel in visible]
    full = [s for s in await who.store.channel_status() if s.channel in visible]
    report = Status(
        parts.state,
        VERSION,
        parts.settings.url,
        apart if (apart := parts.settings.dashboard) != parts.settings.url else "",
        round(parts.clock.monotonic() - parts.started_at),
        StoreState(space.taking),
        [await _channel(who, status) for status in full],
        [subscriptions.subscription_view(who, s) for s in known],
        drifts.views(who),
    )
    if who.admin:
        report.store.reason = space.reason
        report.store.spooled, report.store.stuck = space.spooled, space.stuck
        report.store.sweeping = await who.store.left_to_sweep()
        report.store.database = await who.store.database_status()
        report.connections = parts.hub.connections
        report.canary = canary_state(parts)
        report.settings = {
            name: SettingState(_masked(value), parts.sources.of(name))
            for name, value in vars(parts.settings).items()
        }
    return report


def canary_state(parts: Parts) -> CanaryState | None:
    """How the server's own canary is, if it sends some."""
    if parts.canary is None:
        return None
    if (last := parts.canary.last) is None:
        return CanaryState(None, None, None, None, "")
    age_s, took_ms = (parts.clock.unix_ms() - last.at) // 1_000, round(1_000 * last.took_s)
    return CanaryState(not last.failure, last.at, age_s, took_ms, last.failure)


@audited("backup")
async def backup(who: Caller, to: Backup) -> BackedUp:
    """Write a copy of the store to a file on this host."""
    if who.token is not None:
        raise Forbidden("a backup is made on the host itself, with relay-server backup")
    if "\0" in to.file:
        raise InvalidValue("no file has such a name")
    return BackedUp(to.file, list(await who.store.backup(Path(to.file))))


async def _channel(who: Caller, status: ChannelStatus) -> ChannelState:
    """How full a channel is, and whether of what cannot go by itself."""
    channel = who.store.catalog.channels.get(status.channel)
    limit = channel.config.max_bytes if channel else None
    return ChannelState(
        name=status.channel,
        events=status.events,
        bytes=status.bytes,
        max_bytes=limit,
        full_percent=round(100 * status.bytes / limit, 1) if limit else None,
        worrying=bool(channel and await is_worrying(who.store, channel)),
        dropped=status.dropped,
        drop_oldest=bool(channel and channel.config.drop_oldest),
        last_received_at=status.last_received_at,
        index=_index(who, channel) if channel else None,
    )


def _index(who: Caller, channel: Channel) -> IndexState | None:
    if (search := who.parts.search) is None or not channel.config.keep_bodies:
        return None
    number = channel.number
    newest = who.store.newest(number)
    return IndexState(search.indexed_to(number), newest, search.lag_ms(number))


def _masked(value: object) -> bool | int | str | list[str] | None:
    """A setting's value as JSON; a secret is masked."""
    match value:
        case Secret():
            return MASK
        case bool() | int() | None:
            return value
        case tuple():
            return [str(item) for item in value]
        case _:
            return str(value)
