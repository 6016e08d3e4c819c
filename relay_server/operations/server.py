"""The server as a whole: who asks it, how it is, a copy of it."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import msgspec
from pydantic import SecretStr

from relay_server.delivery.upkeep import is_worrying
from relay_server.errors import Forbidden, InvalidValue
from relay_server.operations import MASK, Caller, JsonObject, channels, subscriptions
from relay_server.values import ChannelStatus

VERSION = version("relay-tunnel")
SOMEBODY_ON_HOST: JsonObject = {"name": "", "scopes": ["admin"], "channels": None}


class Backup(msgspec.Struct, forbid_unknown_fields=True):
    """Where a backup goes: a file on the server's host that does not exist yet."""

    file: str


async def whoami(who: Caller) -> JsonObject:
    """Who the bearer of this token is."""
    shown = channels.token_view(who.token) if who.token else SOMEBODY_ON_HOST
    return shown | {"server_version": VERSION}


async def status(who: Caller) -> JsonObject:
    """How channels and subscriptions are doing, as far as the caller may know."""
    parts, visible = who.parts, {c.name for c in who.channels()}
    readers = await who.store.subscription_status()
    known = [status for status in readers if status.subscription.channel in visible]
    full = [s for s in await who.store.channel_status() if s.channel in visible]
    report: JsonObject = {
        "version": VERSION,
        "public_url": parts.settings.url,
        "uptime_s": round(parts.clock.monotonic() - parts.started_at),
        "store": {"taking": who.store.space.taking},
        "channels": [await _channel(who, status) for status in full],
        "subscriptions": [subscriptions.subscription_view(who, s) for s in known],
    }
    if who.admin:
        report["store"]["reason"] = who.store.space.reason
        report["connections"] = parts.hub.connections
        report["settings"] = {
            name: {"value": _masked(value), "source": parts.sources.of(name)}
            for name, value in parts.settings
        }
    return report


async def backup(who: Caller, to: Backup) -> JsonObject:
    """Write a copy of the store to a file on this host."""
    if who.token is not None:
        raise Forbidden("a backup is made on the host itself, with relay-server backup")
    if "\0" in to.file:
        raise InvalidValue("no file has such a name")
    await who.store.backup(Path(to.file))
    return {"file": to.file}


async def _channel(who: Caller, status: ChannelStatus) -> JsonObject:
    """How full a channel is, and whether of what cannot go by itself."""
    channel = who.store.catalog.channels.get(status.channel)
    limit = channel.config.max_bytes if channel else None
    return {
        "name": status.channel,
        "events": status.events,
        "bytes": status.bytes,
        "max_bytes": limit,
        "full_percent": round(100 * status.bytes / limit, 1) if limit else None,
        "worrying": bool(channel and await is_worrying(who.store, channel)),
        "dropped": status.dropped,
        "drop_oldest": bool(channel and channel.config.drop_oldest),
        "last_received_at": status.last_received_at,
    }


def _masked(value: object) -> object:
    """A setting's value as JSON; a secret is masked."""
    match value:
        case SecretStr():
            return MASK
        case bool() | int() | None:
            return value
        case tuple():
            return [str(item) for item in value]
        case _:
            return str(value)
