"""What the relay's API answers, checked where it is read: anything may answer there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import msgspec

from relay_client.errors import CHECK_URL, RelayProblem

_T = TypeVar("_T")

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)  # the last: too deep


class Whoami(msgspec.Struct, frozen=True):
    """The holder of a token, and its rights.

    Attributes:
        channels: That it may use; None means all.
    """

    name: str
    scopes: tuple[str, ...]
    channels: tuple[str, ...] | None
    server_version: str


class Accepted(msgspec.Struct, frozen=True):
    """The token that was made of an invitation."""

    token: str


class Canary(msgspec.Struct, frozen=True):
    """A private channel that lives for a short while."""

    channel: str
    send_token: str
    webhook_path: str


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
    dead: int = 0
    retrying: int = 0
    next_attempt_at: int | None = None
    left_s: int | None = None
    connected: bool = False
    paused: str = ""


class Replays(msgspec.Struct, frozen=True):
    """Several of them."""

    replays: tuple[Replay, ...]


class Sampled(msgspec.Struct, frozen=True):
    """An event that a replay would be of."""

    id: str
    received_at: int
    kind: str
    key: str
    method: str


class Plan(msgspec.Struct, frozen=True):
    """What a replay would be; `complete` where all events were looked at."""

    at_most: int
    sample: tuple[Sampled, ...]
    complete: bool


class Error(msgspec.Struct):
    """Why the relay refused."""

    code: str
    message: str
    hint: str | None = None


class Refused(msgspec.Struct):
    """An answer that is none."""

    error: Error


@dataclass(frozen=True, slots=True)
class Answer(Generic[_T]):
    """An answer whole, as programs are shown it, and how to read what people are shown of it."""

    whole: dict[str, Any]
    form: type[_T]

    def read(self) -> _T:
        """Read it.

        Raises:
            RelayProblem: It is none that a relay gives.
        """
        try:
            return msgspec.convert(self.whole, self.form)
        except msgspec.ValidationError as exc:
            raise RelayProblem("what answers there is no relay", CHECK_URL) from exc


def read(content: bytes, form: type[_T]) -> _T:
    """Read an answer's JSON.

    Raises:
        RelayProblem: It is none that a relay gives.
    """
    try:
        return msgspec.json.decode(content, type=form)
    except UNREADABLE as exc:
        raise RelayProblem("what answers there is no relay", CHECK_URL) from exc
