"""The server's errors; each one's code is documented in `docs/reference/errors.md`."""

from __future__ import annotations

import math

from relay_protocol.errors import RelayError

MAX_RETRY_AFTER_S = 3_600.0  # no `Retry-After` of ours asks for longer


class ChannelNotFound(RelayError):
    """No channel has this name."""

    code = "channel_not_found"
    status_hint = 404
    message = "no channel is named {!r}"
    hint = "relay-server channel list shows the channels there are."


class ChannelExists(RelayError):
    """A channel has this name already."""

    code = "channel_exists"
    status_hint = 409
    message = "a channel named {!r} exists already"
    hint = "Choose another name, or change the channel with relay-server channel set."


class TokenNotFound(RelayError):
    """No token has this name."""

    code = "token_not_found"
    status_hint = 404
    message = "no token is named {!r}"
    hint = "relay-server token list shows the tokens there are."


class TokenExists(RelayError):
    """A token has this name already."""

    code = "token_exists"
    status_hint = 409
    message = "a token named {!r} exists already"
    hint = "Choose another name, or revoke the old one with relay-server token revoke."


class EventNotFound(RelayError):
    """No event has this id, or it is not kept any more."""

    code = "event_not_found"
    status_hint = 404
    message = "no event has the id {!r}, or it is not kept any more"
    hint = "relay-server events list shows the events that are kept."


class SubscriptionNotFound(RelayError):
    """The channel has no subscription of this name."""

    code = "subscription_not_found"
    status_hint = 404
    message = "the channel {!r} has no subscription named {!r}"
    hint = "relay-server subscription list shows the subscriptions there are."


class SubscriptionConnected(RelayError):
    """Somebody reads the subscription: it would come back at once."""

    code = "subscription_connected"
    status_hint = 409
    message = "{!r} is connected"
    hint = "Stop its client first, or revoke its token."


class SubscriptionExists(RelayError):
    """The channel has a subscription of this name already."""

    code = "subscription_exists"
    status_hint = 409
    message = "the channel {!r} has a subscription named {!r} already"
    hint = "Choose another name with --name; relay-server subscription list shows those taken."


class ForwardNotFound(RelayError):
    """The channel has no forward of this name."""

    code = "forward_not_found"
    status_hint = 404
    message = "the channel {!r} has no forward named {!r}"
    hint = "relay-server forward list shows the forwards there are."


class NothingSelected(RelayError):
    """Nothing would be replayed or discarded: nothing that was asked for is there."""

    code = "nothing_selected"
    status_hint = 409


class TooManySubscriptions(RelayError):
    """The channel has as many subscriptions as it may."""

    code = "too_many_subscriptions"
    status_hint = 409
    message = "the channel {!r} has {} subscriptions: no more"
    hint = "relay-server subscription delete forgets one that nobody needs any more."


class ReplayNotFound(RelayError):
    """No replay has this number."""

    code = "replay_not_found"
    status_hint = 404
    message = "there is no replay {}"
    hint = "relay-server replays list shows the replays there are."


class TooManyReplays(RelayError):
    """As many replays run for the subscription as may."""

    code = "too_many_replays"
    status_hint = 409
    message = "{1} replays run for {0!r} already"
    hint = "Wait for one to end, or stop one with relay-server replays stop."


class InvalidValue(RelayError):
    """Something given is not possible here."""

    code = "invalid_value"
    status_hint = 422


class Unauthorized(RelayError):
    """Whoever asks showed nothing that lets them in: the answer never says why."""

    code = "unauthorized"
    status_hint = 401

    def __init__(self, reason: str) -> None:
        super().__init__("not authorized")
        self.reason = reason  # for the server's own log


class Forbidden(RelayError):
    """The token is good, but not for this."""

    code = "forbidden"
    status_hint = 403


class TooMany(RelayError):
    """Something comes more often than it is taken; it may come again later."""

    status_hint = 429

    def __init__(self, wait_s: float = 1.0) -> None:
        super().__init__()
        self.retry_after_s = math.ceil(min(max(1.0, wait_s), MAX_RETRY_AFTER_S))


class RateLimited(TooMany):
    """More webhooks came than the channel takes; this one was not stored."""

    code = "rate_limited"
    message = "more webhooks came than this channel takes"
    hint = "The channel's --rate-per-s says how many it takes."


class TooManyFailures(TooMany):
    """Nothing good was shown, as often before from this address; a good token is let in at once."""

    code = "too_many_failures"
    message = "not authorized, and that too often: check the token"


class Busy(TooMany):
    """More requests to the API are under way than are answered at once."""

    code = "busy"
    status_hint = 503
    message = "more requests are under way than are answered at once"


class RequestTooSlow(RelayError):
    """The body of a request to the API did not come whole in time."""

    code = "request_timeout"
    status_hint = 408
    message = "the request did not arrive whole within {:g} s"


class StoreUnavailable(RelayError):
    """Nothing was stored; the sender should try again."""

    code = "store_unavailable"
    status_hint = 503


class StoreFull(StoreUnavailable):
    """Nothing was stored: the disk is full, or too much waits to be written."""

    code = "store_full"


class ChannelFull(StoreUnavailable):
    """Nothing was stored: the channel's events take as much as they may."""

    code = "channel_full"
    message = "the channel holds as much as it may: {} bytes"
    hint = (
        "Deliver or delete what waits (relay-server status), or allow the channel more with"
        " relay-server channel set --max-bytes."
    )


class StoreReadOnly(StoreUnavailable):
    """Nothing was stored: the data dir cannot be written to."""

    code = "store_read_only"
    hint = "Look why the data dir is read-only: the mount, its permissions, the kernel's log."


class StoreBroken(RelayError):
    """The disk failed or the database is damaged; what was refused so may be delivered later.

    A failed fsync leaves open what reached the disk. If the webhook did, the next start finds and
    delivers it; a repeat with its sender's id is stored once.
    """

    code = "store_broken"
    hint = "Check the disk, then restore the last backup if the database is damaged."


class BackupUnusable(RelayError):
    """The file cannot be restored: it is no whole and sound store of Relay's."""

    code = "backup_unusable"
    status_hint = 422
    hint = "Nothing was changed. Choose a file that relay-server backup wrote."


class StoreLocked(RelayError):
    """Another process has the store open."""

    code = "store_locked"
    hint = "Stop the other server, or give this one a data dir of its own."


class StoreTooNew(RelayError):
    """A newer version wrote this store."""

    code = "store_too_new"
    hint = "Start the version that wrote it, or a later one."
