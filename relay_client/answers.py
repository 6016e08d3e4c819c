"""The relay's answers that people are shown; checked, since anything may answer there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from relay_client.errors import RelayProblem

_T = TypeVar("_T")

CHECK_URL = "Check the URL, and that the relay runs."


class Channel(msgspec.Struct, frozen=True):
    """A channel that the token may use."""

    name: str
    webhook_path: str = ""
    sender_auth: tuple[str, ...] = ()
    retention_days: float = 0.0


class Channels(msgspec.Struct, frozen=True):
    """All of them."""

    channels: tuple[Channel, ...]


class ChannelStatus(msgspec.Struct, frozen=True):
    """A channel's fullness; times are Unix milliseconds."""

    name: str
    events: int = 0
    full_percent: float | None = None
    last_received_at: int | None = None


class SubscriptionStatus(msgspec.Struct, frozen=True):
    """A subscription's state and progress; `forward` is set for one that is a forward's."""

    channel: str
    name: str
    connected: bool = False
    readers: int = 0
    forward: str | None = None
    target_down: bool = False
    paused: str = ""
    backlog: int = 0
    dead: int = 0


class Status(msgspec.Struct, frozen=True):
    """The state of the whole relay."""

    version: str
    uptime_s: float = 0.0
    channels: tuple[ChannelStatus, ...] = ()
    subscriptions: tuple[SubscriptionStatus, ...] = ()


class Replay(msgspec.Struct, frozen=True):
    """Events that a subscription gets once more."""

    number: int
    channel: str
    subscription: str
    state: str
    rate_per_s: float
    at_most: int
    delivered: int
    percent: float
    connected: bool = False
    paused: str = ""


class Replays(msgspec.Struct, frozen=True):
    """Several of them."""

    replays: tuple[Replay, ...]


def read(answer: Mapping[str, Any], form: type[_T]) -> _T:
    """Read an answer.

    Raises:
        RelayProblem: It is none that a relay gives.
    """
    try:
        return msgspec.convert(answer, form)
    except msgspec.ValidationError as exc:
        raise RelayProblem("what answers there is no relay", CHECK_URL) from exc


def written(answer: Mapping[str, Any]) -> str:
    """Write an answer as a line of JSON: ASCII alone, so that nothing in it steers a terminal.

    Raises:
        RelayProblem: It is too deep for that, as no relay's is.
    """
    try:
        return json.dumps(answer)
    except RecursionError as exc:
        raise RelayProblem("what answers there is no relay", CHECK_URL) from exc
