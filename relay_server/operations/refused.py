"""What was refused lately."""

from __future__ import annotations

import os

import msgspec

from relay_server.bodies.tree import MASK
from relay_server.operations import Caller
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


def refused_lately(who: Caller) -> int:
    """How many requests there are in those groups that had one within the last hour."""
    since = who.now() - HOUR_MS
    groups = who.parts.refusals.groups()
    return sum(group.count for group in groups if group.last_at > since and may_see(who, group))


def may_see(who: Caller, group: Group) -> bool:
    """True if a group is of a channel that the caller may read, or anything for who may all."""
    return who.admin or who.may_read(who.store.catalog.channels.get(group.like.channel))


def refused_group(who: Caller, group: Group) -> RefusedGroup:
    """A group, as the caller may see it."""
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
