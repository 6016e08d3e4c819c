"""What every store promises of channels and tokens."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from relay_server.configs import ChannelConfig, HmacAuth, SenderKind
from relay_server.errors import (
    ChannelExists,
    ChannelNotFound,
    InvalidValue,
    TokenExists,
    TokenNotFound,
)
from relay_server.store.interface import Store
from relay_server.values import Channel, MarkState, Progress, Scope, Token
from tests.support.clock import START_MS
from tests.support.events import attempt, mark, new_event
from tests.support.stores import UNICODE, Stores, append_many, make_channel, make_subscription, trim


def token(name: str = "ana", digest: bytes = b"d" * 32) -> Token:
    return Token(name, digest, frozenset({Scope.SUBSCRIBE}), frozenset({"chatwoot"}), START_MS)


async def test_the_catalog_shows_each_change_at_once_and_later(
    stores: Stores, store: Store
) -> None:
    hmac = HmacAuth("chatwoot", (b"\x00sealed", b"\xff"), log_only=True)
    config = ChannelConfig(
        SenderKind.OTHER,
        ("203.0.113.0/24",),
        "/a~1b",
        max_body_bytes=5,
        retention_days=0.5,
        token=False,
        hmac=hmac,
        owner="ana",
    )
    channel = await store.create_channel(UNICODE, ChannelConfig(), START_MS)

    changed = await store.change_channel(UNICODE, lambda _: config)
    await store.create_token(token())
    everywhere = Token("root", b"r" * 32, frozenset(Scope), None, START_MS)
    await store.create_token(everywhere)
    before = store.catalog
    store = await stores.reopen(store)

    assert (changed.number, changed.config, changed.created_at) == (
        channel.number,
        config,
        START_MS,
    )
    assert dict(before.channels) == {UNICODE: changed}
    assert dict(before.tokens) == {b"d" * 32: token(), b"r" * 32: everywhere}
    assert store.catalog == before


async def test_changes_at_once_take_nothing_back(
    stores: Stores, store: Store, channel: Channel
) -> None:
    """Each sees what the others changed before it."""

    def more_days(config: ChannelConfig) -> ChannelConfig:
        return msgspec.structs.replace(config, retention_days=config.retention_days + 1)

    before = channel.config.retention_days
    await asyncio.gather(*(store.change_channel("chatwoot", more_days) for _ in range(50)))

    assert store.catalog.channels["chatwoot"].config.retention_days == before + 50
    store = await stores.reopen(store)
    assert store.catalog.channels["chatwoot"].config.retention_days == before + 50


async def test_a_change_that_says_no_changes_nothing(store: Store, channel: Channel) -> None:
    def refuse(_: ChannelConfig) -> ChannelConfig:
        raise InvalidValue("no")

    with pytest.raises(InvalidValue):
        await store.change_channel("chatwoot", refuse)

    assert store.catalog.channels["chatwoot"] == channel


async def test_names_are_taken_once(store: Store, channel: Channel) -> None:
    await store.create_token(token())

    with pytest.raises(ChannelExists):
        await store.create_channel("chatwoot", ChannelConfig(), START_MS)
    with pytest.raises(TokenExists):
        await store.create_token(token(digest=b"e" * 32))

    assert set(store.catalog.tokens) == {b"d" * 32}


async def test_what_is_not_there_cannot_be_changed(store: Store) -> None:
    with pytest.raises(ChannelNotFound):
        await store.change_channel("nowhere", lambda config: config)
    with pytest.raises(ChannelNotFound):
        await store.delete_channel("nowhere")
    with pytest.raises(TokenNotFound):
        await store.revoke_token("nobody")
    assert store.catalog.channels == {}


async def test_a_revoked_token_is_forgotten(stores: Stores, store: Store) -> None:
    """It alone."""
    kept = token("bia", b"b" * 32)
    await store.create_token(token())
    await store.create_token(kept)

    await store.revoke_token("ana")

    assert dict(store.catalog.tokens) == {b"b" * 32: kept}
    assert dict((await stores.reopen(store)).catalog.tokens) == {b"b" * 32: kept}


async def test_a_deleted_channel_takes_everything_with_it(
    stores: Stores, store: Store, channel: Channel
) -> None:
    """A channel of the same name begins anew, and its neighbour is not touched."""
    other = await make_channel(store, "other")
    subscription, claim = await make_subscription(store)
    ids = [(await store.append(channel.number, new_event(sender_id="d-1"))).id]
    await asyncio.gather(*(store.append(channel.number, new_event()) for _ in range(600)))
    kept = await append_many(store, other, 2)
    store.record(claim, Progress(1, (mark(2, MarkState.DEAD),), (attempt(1),)))

    await store.delete_channel("chatwoot")
    with pytest.raises(ChannelNotFound):
        await store.append(channel.number, new_event())
    assert list(await store.outlines(channel.number, 0, 10)) == []
    assert list(await store.fetch(channel.number, [1, 2])) == []
    assert await trim(store, channel, START_MS * 2, 10) == 0
    store.record(claim, Progress(2))  # somebody has not heard of it yet
    store = await stores.reopen(store)

    assert set(store.catalog.channels) == {"other"}
    assert await store.find_event(ids[0]) is None
    assert await store.claim(subscription.number) is None
    assert list(await store.subscription_status()) == []
    again = await make_channel(store)
    assert again.number not in (channel.number, other.number)
    assert (await store.append(again.number, new_event(sender_id="d-1"))).sequence == 1
    assert [s.id for s in await store.list_events(other.number, None, 9)] == kept[::-1]
