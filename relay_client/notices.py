"""Events of a connected client, as told to people and programs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import msgspec

from relay_http.target import Target
from relay_protocol.messages import Verdict, Welcome
from relay_protocol.values import Delivery, Outcome


@dataclass(frozen=True, slots=True)
class Connected:
    """Connected and subscribed.

    Attributes:
        away_s: How long the connection was gone; None the first time.
    """

    welcome: Welcome
    away_s: float | None = None


@dataclass(frozen=True, slots=True)
class Lost:
    """The connection is gone or did not come about; told once until it is back.

    Attributes:
        hint: What to do about it; may be empty.
        before_first: There was none yet.
    """

    text: str
    hint: str = ""
    before_first: bool = False


@dataclass(frozen=True, slots=True)
class StillAway:
    """The connection has been gone for longer than a blink."""

    text: str
    hint: str = ""


class Settled(msgspec.Struct, frozen=True):  # made for each webhook: a dataclass takes longer
    """An attempt ended.

    Attributes:
        verdict: What the relay says that follows; None of a 2xx, and where nobody knows.
    """

    delivery: Delivery
    outcome: Outcome
    verdict: Verdict | None = None


@dataclass(frozen=True, slots=True)
class Waiting:
    """The channel's target is not there; deliveries wait on the relay.

    Attributes:
        why: What is known of that beyond its not listening; may be empty.
    """

    channel: str
    target: Target
    why: str = ""


@dataclass(frozen=True, slots=True)
class Resumed:
    """The channel's target is back."""

    channel: str
    target: Target


@dataclass(frozen=True, slots=True)
class Paused:
    """The relay delivers nothing more of a subscription until somebody resumes it."""

    channel: str
    subscription: str
    reason: str


@dataclass(frozen=True, slots=True)
class Slept:
    """The machine slept, for some seconds; the connection is made anew."""

    for_s: float


@dataclass(frozen=True, slots=True)
class Warned:
    """Something that the user should know, and that stops nothing."""

    text: str


@dataclass(frozen=True, slots=True)
class Stopping:
    """Told to stop; what is under way is finished first."""

    under_way: int


@dataclass(frozen=True, slots=True)
class Ended:
    """The last of all."""

    reason: str
    exit_status: int


Notice: TypeAlias = (
    Connected
    | Lost
    | StillAway
    | Settled
    | Waiting
    | Resumed
    | Paused
    | Slept
    | Warned
    | Stopping
    | Ended
)
