"""What was refused lately, and letting in who was refused for their address alone."""

from __future__ import annotations

import os
from ipaddress import ip_network

import msgspec

from relay_http.addresses import is_inside, plain_address
from relay_server.auth import ADDRESS_NOT_ALLOWED
from relay_server.bodies.tree import MASK
from relay_server.configs import ChannelConfig
from relay_server.errors import InvalidValue
from relay_server.operations import Caller, ForAdmins
from relay_server.operations.audit import audited
from relay_server.refusals import Group

HOUR_MS = 3_600_000


class RefusedFields(msgspec.Struct):
    """For which channel; of none all that the caller may see."""

    channel: str | None = None


class RefusedGroup(msgspec.Struct, frozen=True):
    """Requests that were refused for one reason, and alike.

    Attributes:
        reason: Why, in the log's words, or an error's code.
        channel: That was asked for, whether or not it is there; empty for the API.
        addresses: The block that they came from.
        address: The last one of it.
        shown: What came instead of a proof, masked.
        says: What is wrong with it, as far as can be said.
        fix: What to do.
        whose: The token or channel that it belongs to; masked for who is no administrator.
        path: Without a query.
        client: The `User-Agent`.
    """

    reason: str
    channel: str
    addresses: str
    address: str
    shown: str
    says: str
    fix: str
    whose: str
    method: str
    path: str
    client: str
    count: int
    first_at: int
    last_at: int


class RefusedReport(msgspec.Struct, frozen=True):
    """What one process refused since it began, newest first.

    Attributes:
        since: When that was.
        process: Its number on its host.
    """

    since: int
    process: int
    groups: list[RefusedGroup]


async def list_refused(who: Caller, fields: RefusedFields) -> RefusedReport:
    """Refused requests in groups, with what one can do about each.

    Those for a channel are for whoever may read it, all others for administrators.
    """
    refusals, name = who.parts.refusals, fields.channel
    if name is not None and not who.admin:
        who.channel(name)
    found = [
        group
        for group in refusals.groups()
        if name in (None, group.like.channel) and may_see(who, group)
    ]
    views = [refused_group(who, group) for group in found]
    return RefusedReport(refusals.since, os.getpid(), views)


def may_allow(who: Caller, group: RefusedGroup) -> bool:
    """Whether a group was refused by what its channel is set to, and the caller may change that."""
    channel = who.store.catalog.channels.get(group.channel)
    if channel is None or not who.admin or group.reason != ADDRESS_NOT_ALLOWED:
        return False
    return not _lets_in(channel.config, group.address) and plain_address(group.address) is not None


@ForAdmins
@audited("channel.allow")
async def allow_address(who: Caller, name: str, address: str) -> None:
    """Let an address send to a channel, beside those that may; all else stays asked for."""
    channel = who.channel(name)
    plain = plain_address(address)
    if plain is None:
        raise InvalidValue(f"{address!r} is no address such as 203.0.113.9")
    if not channel.config.allow_from:
        raise InvalidValue(f"every address may send to {name!r}: the first would shut out the rest")

    def allow(config: ChannelConfig) -> ChannelConfig:
        if _lets_in(config, str(plain)):  # also where all were meanwhile
            return config
        networks = (*config.allow_from, str(plain))
        return msgspec.structs.replace(config, allow_from=networks)

    await who.store.change_channel(channel.name, allow)


def _lets_in(config: ChannelConfig, address: str) -> bool:
    networks = tuple(map(ip_network, config.allow_from))
    return not networks or is_inside(address, networks)


def refused_lately(who: Caller) -> int:
    """How many requests there are in those groups that had one within the last hour."""
    since = who.now() - HOUR_MS
    groups = who.parts.refusals.groups()
    return sum(group.count for group in groups if group.last_at > since and may_see(who, group))


def may_see(who: Caller, group: Group) -> bool:
    """True if a group is of a channel that the caller may read, or anything for who may all."""
    return who.admin or who.may_read(who.store.catalog.channels.get(group.like.channel))


def refused_group(who: Caller, group: Group) -> RefusedGroup:
    whose = group.described.cause.whose
    return RefusedGroup(
        **group.facts(),
        addresses=group.like.block,
        whose=whose if who.admin else whose and MASK,
        client=group.described.client,
        count=group.count,
        first_at=group.first_at,
        last_at=group.last_at,
    )
