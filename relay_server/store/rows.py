"""Rows of the SQLite store to values."""

from __future__ import annotations

import json

import msgspec

from relay_protocol.values import EventHead, RequestHead
from relay_server.store.database import Row
from relay_server.store.positions import channel_of, sequence_of
from relay_server.values import (
    Attempt,
    Channel,
    ChannelConfig,
    Event,
    EventSummary,
    Mark,
    MarkState,
    Scope,
    Token,
)

encode = msgspec.msgpack.Encoder().encode
_request = msgspec.msgpack.Decoder(RequestHead)
_config = msgspec.msgpack.Decoder(ChannelConfig)


def decode_channel(row: Row) -> Channel:
    """From `load_channels` or `find_channel`."""
    number, name, config, created_at, _ = row
    return Channel(number, name, _config.decode(config), created_at)


def decode_token(row: Row) -> Token:
    """From `load_tokens`."""
    name, digest, scopes, channels, created_at = row
    allowed = None if channels is None else frozenset[str](json.loads(channels))
    return Token(name, digest, frozenset(map(Scope, json.loads(scopes))), allowed, created_at)


def decode_event(row: Row) -> Event:
    """From `fetch`."""
    at, id_, received_at, conflict, key, kind, request, body = row
    head = EventHead(id_, sequence_of(at), received_at, key, kind, _request.decode(request))
    return Event(channel_of(at), head, body, bool(conflict))


def decode_summary(row: Row) -> EventSummary:
    """From `list_events`."""
    at, id_, received_at, kind, key, request, size, conflict = row
    head = _request.decode(request)
    return EventSummary(
        id_,
        sequence_of(at),
        received_at,
        kind,
        key,
        head.method,
        head.request_target,
        size,
        bool(conflict),
    )


def decode_mark(row: Row) -> Mark:
    """From `marks_above`."""
    sequence, state, attempt, failures, due_at, failing_since, reason = row
    return Mark(sequence, MarkState(state), attempt, failures, due_at, failing_since, reason)


def decode_attempt(row: Row) -> Attempt:
    """From `attempts_of`."""
    return Attempt(*row)
