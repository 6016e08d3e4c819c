"""Changing channels and tokens; in the writer's thread."""

from __future__ import annotations

import json
from collections.abc import Callable

import msgspec

from relay_server.configs import ChannelConfig
from relay_server.errors import ChannelExists, ChannelNotFound, TokenExists, TokenNotFound
from relay_server.store.sqlite.database import Database
from relay_server.store.sqlite.rows import decode_channel, decode_token, encode
from relay_server.values import Channel, Token


def load(database: Database) -> tuple[list[tuple[Channel, int, int]], list[Token]]:
    """All channels, each with its last sequence and its bytes, and all tokens."""
    rows = database.all("load_channels")
    channels = [(decode_channel(row), row[4], row[5]) for row in rows]
    return channels, [decode_token(row) for row in database.all("load_tokens")]


def create_channel(database: Database, name: str, config: ChannelConfig, now: int) -> Channel:
    """Make a channel; raises ChannelExists."""
    if database.one("find_channel", name=name):
        raise ChannelExists(name)
    number = database.value("create_channel", name=name, config=encode(config), now=now)
    return Channel(number, name, config, now)


def change_channel(
    database: Database, name: str, change: Callable[[ChannelConfig], ChannelConfig]
) -> Channel:
    """Change a channel's configuration; raises ChannelNotFound."""
    channel = find_channel(database, name)
    config = change(channel.config)
    database.run("set_channel", config=encode(config), number=channel.number)
    return msgspec.structs.replace(channel, config=config)


def delete_channel(database: Database, name: str) -> Channel:
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
    return channel


def find_channel(database: Database, name: str) -> Channel:
    """A channel by its name; raises ChannelNotFound."""
    row = database.one("find_channel", name=name)
    if row is None:
        raise ChannelNotFound(name)
    return decode_channel(row)


def create_token(database: Database, token: Token) -> Token:
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
    return token


def revoke_token(database: Database, name: str) -> str:
    """Forget a token; raises TokenNotFound."""
    if not database.all("revoke_token", name=name):
        raise TokenNotFound(name)
    return name
