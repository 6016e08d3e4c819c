"""What the relay's API answers, checked where it is read: anything may answer there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import msgspec

from relay_client.errors import CHECK_URL, RelayProblem
from relay_terminal.words import _

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


class LoginLink(msgspec.Struct, frozen=True):
    """A link that logs in to the dashboard, once."""

    url: str


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
    drop_oldest: bool = False
    last_received_at: int | None = None


class SubscriptionStatus(msgspec.Struct, frozen=True):
    """A subscription's state and progress.

    Attributes:
        forward: Set for one that is a forward's.
        hosts: Those that are connected, as far as the relay says.
    """

    channel: str
    name: str
    connected: bool = False
    readers: int = 0
    forward: str | None = None
    target_down: bool = False
    paused: str = ""
    paused_by: str = ""
    paused_at: int | None = None
    backlog: int = 0
    dead: int = 0
    oldest_waiting_at: int | None = None
    away_since: int | None = None
    away_long: bool = False
    own: bool = False
    temporary: bool = False
    retrying: int = 0
    next_attempt_at: int | None = None
    hosts: tuple[str, ...] = ()


class StoreState(msgspec.Struct, frozen=True):
    """Whether webhooks are taken."""

    taking: bool = True


class Skipping(msgspec.Struct, frozen=True):
    """How many events were skipped."""

    skipped: int


class Status(msgspec.Struct, frozen=True):
    """The state of the whole relay."""

    version: str
    dashboard_url: str = ""
    uptime_s: float = 0.0
    store: StoreState = StoreState()
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


class Facts(msgspec.Struct, frozen=True):
    """What an event's body says of itself."""

    account: str = ""
    conversation: str = ""
    name: str = ""
    direction: str = ""
    private: bool = False
    says: str = ""


class Delivery(msgspec.Struct, frozen=True):
    """How far a delivery of an event is; of a replay, where that has a number."""

    subscription: str
    state: str
    attempt: int = 0
    status: int | None = None
    reason: str = ""
    due_at: int | None = None
    replay: int | None = None


class Attempt(msgspec.Struct, frozen=True):
    """A try of a delivery that has ended."""

    subscription: str = ""
    attempt: int = 0
    started_at: int = 0
    elapsed_ms: int = 0
    outcome: str = ""
    status: int | None = None
    text: str = ""
    replay: int | None = None
    size: int | None = None
    headers: tuple[tuple[str, str], ...] = ()


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """An event in a list; times are Unix milliseconds."""

    id: str
    channel: str = ""
    sequence: int = 0
    received_at: int
    kind: str
    key: str
    method: str
    request_target: str = ""
    facts: Facts | None = None
    deliveries: tuple[Delivery, ...] = ()
    pinned: str = ""


class Events(msgspec.Struct, frozen=True):
    """A page of them, newest first; `next` is None where there are no older ones to look at."""

    events: tuple[Event, ...]
    next: str | None = None
    scanned_to: int = 0


class Latest(msgspec.Struct, frozen=True):
    """The newest event that is meant; where none was found, where to go on looking."""

    event: Event | None
    scanned_to: int = 0
    complete: bool = True


class EventWhole(msgspec.Struct, frozen=True, kw_only=True):
    """An event with head and body; of an edited one `sequence` is among those of its channel."""

    id: str
    channel: str = ""
    sequence: int = 0
    received_at: int = 0
    kind: str = ""
    key: str = ""
    method: str = "POST"
    request_target: str = "/"
    sender: str = ""
    size: int = 0
    repeat_of: str | None = None
    damaged: bool = False
    kept: bool = True
    edited_from: str | None = None
    pinned: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    body: str | None = None
    deliveries: tuple[Delivery, ...] = ()
    attempts: tuple[Attempt, ...] = ()


class Pin(msgspec.Struct, frozen=True):
    """An event that is kept under a name."""

    name: str
    id: str
    channel: str = ""
    received_at: int = 0
    kind: str = ""
    key: str = ""
    method: str = ""
    request_target: str = ""


class Pins(msgspec.Struct, frozen=True):
    """Several of them."""

    pins: tuple[Pin, ...]


class RefusedGroup(msgspec.Struct, frozen=True):
    """Requests that were refused for one reason."""

    reason: str
    says: str = ""
    fix: str = ""
    last_at: int = 0


class RefusedGroups(msgspec.Struct, frozen=True):
    """Several of them, the newest first."""

    groups: tuple[RefusedGroup, ...]


class DeadOne(msgspec.Struct, frozen=True):
    """A delivery that was given up."""

    id: str
    kind: str = ""
    key: str = ""
    reason: str = ""
    attempts: int = 0
    ended_at: int = 0


class Dead(msgspec.Struct, frozen=True):
    """Several of them."""

    dead: tuple[DeadOne, ...]


class Question(msgspec.Struct, frozen=True):
    """A step between a customer's message and its answer."""

    asks: str
    answer: str
    text: str = ""
    fix: str = ""


class Why(msgspec.Struct, frozen=True):
    """Why a conversation has no answer; `cause` is empty where nothing is wrong."""

    cause: str
    questions: tuple[Question, ...]


class Script(msgspec.Struct, frozen=True):
    """An event as a script that sends it; `masked` where secrets are left out."""

    text: str
    masked: bool = False


class Plan(msgspec.Struct, frozen=True):
    """What a replay would be; `complete` where all events were looked at."""

    at_most: int
    sample: tuple[Event, ...]
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
            raise RelayProblem(_("what answers there is no relay"), CHECK_URL) from exc


def read(content: bytes, form: type[_T]) -> _T:
    """Read an answer's JSON.

    Raises:
        RelayProblem: It is none that a relay gives.
    """
    try:
        return msgspec.json.decode(content, type=form)
    except UNREADABLE as exc:
        raise RelayProblem(_("what answers there is no relay"), CHECK_URL) from exc
