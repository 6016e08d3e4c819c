"""Rows to values."""

from __future__ import annotations

import json
from typing import TypeVar

import msgspec

from relay_protocol.values import EventHead, RequestHead
from relay_server.configs import ChannelConfig, SubscriptionConfig
from relay_server.errors import StoreBroken
from relay_server.people import Invitation, Noted
from relay_server.reported import DeadDelivery
from relay_server.store.bodies import UNKEPT, BodyKeys, Damaged, crc
from relay_server.store.sql.database import Row
from relay_server.store.sql.positions import channel_of, sequence_of
from relay_server.values import (
    Channel,
    Edited,
    Event,
    EventSummary,
    Mark,
    MarkState,
    Pin,
    Replay,
    ReplayState,
    Scope,
    Selection,
    Subscription,
    SubscriptionNumber,
    Token,
)

T = TypeVar("T")

DECODING = (msgspec.MsgspecError, UnicodeDecodeError)  # what decoding raises
UNREADABLE = RequestHead("", "", ())  # stands for what is no request any more

encode = msgspec.msgpack.Encoder().encode
_request = msgspec.msgpack.Decoder(RequestHead)
_config = msgspec.msgpack.Decoder(ChannelConfig)
_subscription_config = msgspec.msgpack.Decoder(SubscriptionConfig)
_selection = msgspec.msgpack.Decoder(Selection)


def _read(decoder: msgspec.msgpack.Decoder[T], raw: bytes) -> T:
    """Decode what the database takes for sound, which it may not be: SQLite keeps no checksums.

    Raises:
        StoreBroken: It is not what was written.
    """
    try:
        return decoder.decode(raw)
    except DECODING as exc:
        raise StoreBroken(f"the database is damaged: a row cannot be read: {exc}") from exc


def decode_channel(row: Row) -> Channel:
    """From `channels`."""
    number, name, config, created_at = row[:4]
    return Channel(number, name, _read(_config, config), created_at)


def decode_token(row: Row) -> Token:
    """From `load_tokens`."""
    name, digest, scopes, channels, created_at = row
    allowed = None if channels is None else frozenset[str](json.loads(channels))
    return Token(name, digest, frozenset(map(Scope, json.loads(scopes))), allowed, created_at)


def decode_invitation(row: Row) -> Invitation:
    """From `invitations`, in the order of the fields."""
    name, digest, channels, *rest = row
    return Invitation(name, digest, frozenset[str](json.loads(channels)), *rest)


def decode_request(raw: bytes) -> RequestHead:
    """A request as it is stored; an empty one where a disk made something else of it."""
    try:
        return _request.decode(raw)
    except DECODING:
        return UNREADABLE


def decode_event(row: Row, bodies: BodyKeys) -> Event:
    """From `fetch`; what the disk changed is marked as damaged."""
    at, id_, received_at, conflict, key, kind, repeat_of, checksum, request, body, sealed = row
    head = EventHead(id_, sequence_of(at), received_at, key, kind, decode_request(request))
    # What has no checksum was stored by an older version; that it can be read must do for it.
    damaged = head.request is UNREADABLE or checksum not in (None, crc(request, crc(body)))
    kept = sealed != UNKEPT
    try:
        body = bodies.open(id_, body, sealed) if kept else b""
    except Damaged:
        body, damaged = b"", True
    return Event(channel_of(at), head, body, bool(conflict), repeat_of, damaged, kept)


def decode_subscription(row: Row) -> Subscription:
    """From `subscriptions`, and what begins like it."""
    number, channel, name, created_at, config, left_at = row[:6]
    return Subscription(number, channel, name, created_at, decode_config(config), left_at)


def decode_config(config: bytes) -> SubscriptionConfig:
    return _read(_subscription_config, config)


def decode_replay(row: Row) -> Replay:
    """From `replays`, in the order of the fields."""
    number, subscription, selection, rate_per_s, start, until, floor, state, *rest, edited = row
    chosen = _read(_selection, selection)
    bounds = start, until, floor
    progress = *bounds, ReplayState(state), *rest, bool(edited)
    return Replay(-number, subscription, chosen, rate_per_s, *progress)


def decode_dead(subscription: SubscriptionNumber, row: Row) -> DeadDelivery:
    """From `list_dead`."""
    _, reason, attempts, ended_at, *summary = row
    event = decode_summary(tuple(summary))
    return DeadDelivery(subscription, event, reason, attempts, ended_at)


def decode_summary(row: Row) -> EventSummary:
    """From `list_events`."""
    at, id_, received_at, kind, key, request, size, conflict = row
    head = decode_request(request)
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


def decode_edited(row: Row) -> Edited:
    """From `list_edited`."""
    subscription, replay, edited_from, made_by, *summary = row
    event = decode_summary(tuple(summary))
    return Edited(event, subscription, -replay, edited_from, made_by)


def decode_pin(row: Row) -> Pin:
    """From `pins`."""
    name, made_by, made_at, edited, *summary = row
    return Pin(decode_summary(tuple(summary)), bool(edited), name, made_by, made_at)


def decode_noted(row: Row) -> Noted:
    """From `noted`."""
    number, at, made_by, address, action, what, asked = row
    return Noted(at, made_by, address, action, what, json.loads(asked), number)


def decode_mark(row: Row) -> Mark:
    """From `marks_above`."""
    sequence, state, *rest = row
    return Mark(sequence, MarkState(state), *rest)
