"""Channels, tokens and subscriptions."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import suppress

import msgspec

from relay_server.configs import ORDINARY, ChannelConfig, SubscriptionConfig
from relay_server.errors import (
    ChannelExists,
    ChannelNotFound,
    StoreUnavailable,
    SubscriptionNotFound,
    TokenExists,
    TokenNotFound,
    TooManySubscriptions,
)
from relay_server.store.feed import (
    ChannelChanged,
    ChannelGone,
    SubscriptionChanged,
    SubscriptionGone,
    TokenMade,
    TokenRevoked,
)
from relay_server.store.rules import MAX_SUBSCRIPTIONS
from relay_server.store.sql.database import Database
from relay_server.store.sql.housekeeping import SqlHousekeeping
from relay_server.store.sql.part import asks, writes
from relay_server.store.sql.positions import first, last, sequence_of
from relay_server.store.sql.rows import (
    decode_channel,
    decode_subscription,
    decode_token,
    encode,
)
from relay_server.values import (
    Catalog,
    Channel,
    ChannelNumber,
    Subscription,
    SubscriptionNumber,
    Token,
)

SWEEP_ROWS = 500  # in one transaction, so that webhooks wait little


class SqlCatalogue(SqlHousekeeping):
    """A `Catalogue`; what it deletes is swept by the housekeeping."""

    @property
    def catalog(self) -> Catalog:
        return self._cache.catalog

    @writes
    def create_channel(
        self, database: Database, name: str, config: ChannelConfig, now: int
    ) -> Channel:
        if database.one("channels", name=name):
            raise ChannelExists(name)
        number = database.value("create_channel", name=name, config=encode(config), now=now)
        channel = Channel(number, name, config, now)
        database.changes.append(ChannelChanged(channel))
        return channel

    @writes
    def change_channel(
        self, database: Database, name: str, change: Callable[[ChannelConfig], ChannelConfig]
    ) -> Channel:
        channel = find_channel(database, name)
        changed = msgspec.structs.replace(channel, config=change(channel.config))
        database.run("set_channel", config=encode(changed.config), number=changed.number)
        database.changes.append(ChannelChanged(changed))
        return changed

    async def delete_channel(self, name: str) -> None:
        await self._delete_channel(name)
        with suppress(StoreUnavailable):  # it is deleted; the rest can wait
            while await self.sweep(SWEEP_ROWS):
                pass

    @writes
    def _delete_channel(self, database: Database, name: str) -> None:
        """Delete a channel with all its readers; what they and it hold is left to `sweep`."""
        channel = find_channel(database, name)
        for query in (
            "forget_channel_readers",
            "delete_channel_replays",
            "delete_channel_subscriptions",
            "delete_channel",
            "begin_purge",
        ):
            database.run(query, channel=channel.number)
        database.changes.append(ChannelGone(channel))

    @writes
    def create_token(self, database: Database, token: Token) -> None:
        keep_token(database, token)

    @writes
    def revoke_token(self, database: Database, name: str) -> None:
        if not database.all("revoke_token", name=name):
            raise TokenNotFound(name)
        database.changes.append(TokenRevoked(name))

    @writes
    def subscribe(
        self,
        database: Database,
        channel: str,
        name: str,
        since: int | None,
        now: int,
        config: SubscriptionConfig = ORDINARY,
    ) -> tuple[Subscription, bool]:
        number = find_channel(database, channel).number
        if known := _subscriptions(database, channel=channel, name=name):
            return known[0], False
        if database.value("count_subscriptions", channel=number) >= MAX_SUBSCRIPTIONS:
            raise TooManySubscriptions(channel, MAX_SUBSCRIPTIONS)
        created = database.value(
            "create_subscription",
            channel=number,
            name=name,
            now=now,
            start=sequence_before(database, number, since),
            config=encode(config),
        )
        subscription = Subscription(created, channel, name, now, config)
        database.changes.append(SubscriptionChanged(subscription))
        return subscription, True

    @asks
    def subscriptions(
        self, database: Database, channel: str | None = None
    ) -> Sequence[Subscription]:
        return _subscriptions(database, channel=channel)

    @writes
    def change_subscription(
        self,
        database: Database,
        subscription: SubscriptionNumber,
        change: Callable[[SubscriptionConfig], SubscriptionConfig],
    ) -> Subscription:
        known = find_subscription(database, subscription)
        changed = msgspec.structs.replace(known, config=change(known.config))
        config = encode(changed.config)
        database.run("change_subscription", config=config, subscription=subscription)
        database.changes.append(SubscriptionChanged(changed))
        return changed

    @writes
    def unsubscribe(self, database: Database, subscription: SubscriptionNumber) -> None:
        for query in (
            "forget_subscription_readers",
            "delete_subscription_replays",
            "delete_subscription",
        ):
            database.run(query, subscription=subscription)
        database.changes.append(SubscriptionGone(subscription))


def load(database: Database) -> tuple[list[tuple[Channel, int, int]], list[Token]]:
    """All channels, each with its last sequence and its bytes, and all tokens."""
    rows = database.all("channels", name=None)
    channels = [(decode_channel(row), row[4], row[5]) for row in rows]
    return channels, [decode_token(row) for row in database.all("load_tokens")]


def keep_token(database: Database, token: Token) -> None:
    """Keep a token; raises TokenExists."""
    made = database.all(
        "create_token",
        name=token.name,
        digest=token.digest,
        scopes=json.dumps(sorted(token.scopes)),
        channels=None if token.channels is None else json.dumps(sorted(token.channels)),
        now=token.created_at,
    )
    if not made:
        raise TokenExists(token.name)
    database.changes.append(TokenMade(token))


def find_channel(database: Database, name: str) -> Channel:
    """A channel by its name; raises ChannelNotFound."""
    row = database.one("channels", name=name)
    if row is None:
        raise ChannelNotFound(name)
    return decode_channel(row)


def find_subscription(database: Database, number: SubscriptionNumber) -> Subscription:
    """A subscription by its number; raises SubscriptionNotFound."""
    found = _subscriptions(database, number=number)
    if not found:
        raise SubscriptionNotFound("", f"number {number}")
    return found[0]


def all_subscriptions(database: Database) -> list[Subscription]:
    """Every subscription, by channel and name."""
    return _subscriptions(database)


def _subscriptions(
    database: Database,
    channel: str | None = None,
    name: str | None = None,
    number: SubscriptionNumber | None = None,
) -> list[Subscription]:
    rows = database.all("subscriptions", channel=channel, name=name, number=number)
    return [decode_subscription(row) for row in rows]


def sequence_before(database: Database, channel: ChannelNumber, since: int | None) -> int:
    """The sequence after which a subscription that begins at a time begins; None for now."""
    if since is None:
        return int(database.value("last_sequence", channel=channel))
    whole = {"first": first(channel), "last": last(channel)}
    before = database.value("sequence_before", time=since, **whole) if since > 0 else None
    if before is None:
        return int(database.value("before_first_event", channel=channel, **whole))
    return sequence_of(before)
