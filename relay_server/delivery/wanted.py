"""A subscription as a peer wants it: found or made, set so, and granted."""

from __future__ import annotations

from msgspec.structs import replace

from relay_protocol.messages import Granted, Wanted
from relay_server.configs import ORDINARY
from relay_server.delivery.reader import Reader
from relay_server.delivery.resigning import check_resigned
from relay_server.errors import ChannelNotFound, Forbidden
from relay_server.reported import Came, SubscriptionStatus
from relay_server.sealing import OpenSealed
from relay_server.store.interface import Store
from relay_server.values import Subscription


async def find_or_make(
    store: Store, wanted: Wanted, name: str, token: str, now: int
) -> tuple[Subscription, bool]:
    """Find or make a subscription as it is wanted, and note whose it is.

    Args:
        store: Where it is.
        wanted: How.
        name: Of the subscription.
        token: The name of the one that wants it.
        now: Unix milliseconds.

    Returns:
        The subscription; and True if it is new.

    Raises:
        ChannelNotFound: No channel has this name.
        Forbidden: As `check_joined` says.
        TooManySubscriptions: The channel takes no new one.
        StoreUnavailable: The store cannot be written now.
    """
    owner = store.catalog.owner_of(name, token)
    config = replace(ORDINARY, made_by=owner, temporary=wanted.temporary)
    config = config.with_filter(wanted.filter or "")
    found, created = await store.subscribe(wanted.channel, name, wanted.since, now, config)
    check_joined(found, temporary=wanted.temporary)
    if not found.config.made_by:
        found = await store.change_subscription(
            found.number, lambda known: replace(known, made_by=owner)
        )
    return found, created


def check_joined(found: Subscription, *, temporary: bool) -> None:
    """See that somebody may join a subscription as they want it.

    Raises:
        Forbidden: The server itself reads it; or it stays where a temporary one is wanted, or the
            other way round: what waits for somebody must not go with another's connection.
    """
    name = found.name
    if found.config.forward is not None:
        raise Forbidden(f"{name!r} is a forward: the server itself reads it")
    if temporary and not found.config.temporary:
        raise Forbidden(f"{name!r} is a lasting subscription: a temporary one takes another name")
    if found.config.temporary and not temporary:
        raise Forbidden(f"{name!r} is a temporary subscription: a lasting one takes another name")


async def sign_anew(
    store: Store, subscription: Subscription, resign: bool | None, open_sealed: OpenSealed
) -> Subscription:
    """Have it signed anew, or not, where its reader says so.

    Raises:
        ChannelNotFound: Its channel was deleted.
        InvalidValue: It cannot be signed anew.
    """
    if resign in (None, subscription.config.resign):
        return subscription
    channel = store.catalog.channels.get(subscription.channel)
    if channel is None:
        raise ChannelNotFound(subscription.channel)
    check_resigned(channel, replace(subscription.config, resign=resign), open_sealed)
    return await store.change_subscription(
        subscription.number, lambda config: replace(config, resign=bool(resign))
    )


def grant(
    status: SubscriptionStatus, reader: Reader, came: Came, now: int, *, created: bool
) -> Granted:
    """A subscription as its client is told of it."""
    due_at = status.next_attempt_at
    return Granted(
        subscription=status.subscription.number,
        channel=status.subscription.channel,
        name=status.subscription.name,
        created=created,
        backlog=status.backlog,
        oldest_waiting_at=status.oldest_waiting_at,
        paused=reader.paused,
        filter=reader.subscription.config.filter,
        came=min(came.events, status.backlog),
        came_oldest_at=came.oldest_at,
        retrying=status.retrying,
        next_attempt_in_ms=None if due_at is None else max(0, due_at - now),
        temporary=status.subscription.config.temporary,
        resign=reader.signs,
    )
