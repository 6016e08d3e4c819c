"""The client's errors, each with the exit status it ends in."""

from __future__ import annotations

import enum
from typing import ClassVar

from relay_protocol.errors import RelayError
from relay_terminal.words import N_, _

CHECK_URL = N_("Check the URL, and that the relay runs.")
INVALID_NAME = "invalid_value"  # of a subscription's name that cannot be
INVALID_FILTER = "invalid_filter"  # the relay's code, of a filter that cannot be
NOTHING_SELECTED = "nothing_selected"  # the relay's code, where nothing is meant
TOO_MANY_FAILURES = "too_many_failures"  # the relay's code, of who shows wrong tokens


class ExitStatus(enum.IntEnum):
    """What the client's commands end with."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    UNREACHABLE = 3
    TOKEN_REFUSED = 4
    TAKEN_OVER = 5
    NOTHING_FOUND = 6
    TIMED_OUT = 7
    NOT_DELIVERED = 8


class ClientError(RelayError):
    """Anything that ends a command of the client."""

    code = "client_error"
    exit_status: ClassVar[ExitStatus] = ExitStatus.FAILED

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = _(hint)


class UsageError(ClientError):
    """A flag or a setting is unknown, missing or impossible."""

    code = "usage"
    exit_status = ExitStatus.USAGE


class RelayUnreachable(ClientError):
    """No conversation with the relay came about; it may work later."""

    code = "relay_unreachable"
    exit_status = ExitStatus.UNREACHABLE


class RelayProblem(ClientError):
    """The relay answered, but not with what was asked for."""

    code = "relay_problem"

    def __init__(self, message: str, hint: str = "", *, status: int = 0) -> None:
        super().__init__(message, hint)
        self.status = status


class TokenRefused(ClientError):
    """The relay does not know the token, or knows it no longer."""

    code = "token_refused"
    status_hint = 401
    exit_status = ExitStatus.TOKEN_REFUSED


class ChannelRefused(ClientError):
    """The token may not read a channel that was asked for."""

    code = "channel_refused"
    status_hint = 403
    exit_status = ExitStatus.TOKEN_REFUSED


class TakenOver(ClientError):
    """Another client connected under the same name."""

    code = "taken_over"
    status_hint = 409
    exit_status = ExitStatus.TAKEN_OVER


class NothingFound(ClientError):
    """No event is meant by what was said."""

    code = "nothing_found"
    exit_status = ExitStatus.NOTHING_FOUND


class TimedOut(ClientError):
    """What was waited for did not come in time."""

    code = "timed_out"
    exit_status = ExitStatus.TIMED_OUT


class NotDelivered(ClientError):
    """What was waited for came, and was not delivered."""

    code = "not_delivered"
    exit_status = ExitStatus.NOT_DELIVERED
