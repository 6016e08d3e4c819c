"""The server's errors; each one's code is documented in `docs/reference/errors.md`."""

from __future__ import annotations

import math

from relay_protocol.errors import RelayError
from relay_terminal.words import N_

MAX_RETRY_AFTER_S = 3_600.0  # no `Retry-After` of ours asks for longer


class ChannelNotFound(RelayError, code="channel_not_found", status=404):
    """No channel has this name."""

    message = "no channel is named {!r}"
    hint = "relay-server channel list shows the channels there are."


class ChannelExists(RelayError, code="channel_exists", status=409):
    """A channel has this name already."""

    message = "a channel named {!r} exists already"
    hint = "Choose another name, or change the channel with relay-server channel set."


class TokenNotFound(RelayError, code="token_not_found", status=404):
    """No token has this name."""

    message = "no token is named {!r}"
    hint = "relay-server token list shows the tokens there are."


class SecretNotFound(RelayError, code="secret_not_found", status=404):
    """A channel has no signing secret of this id."""

    message = "no signing secret has the id {!r}"
    hint = "The setup page and GET /api/v1/channels/CHANNEL/secrets list those there are."


class TokenExists(RelayError, code="token_exists", status=409):
    """A token has this name already."""

    message = "a token named {!r} exists already"
    hint = "Choose another name, or revoke the old one with relay-server token revoke."


class InvitationNotFound(RelayError, code="invitation_not_found", status=404):
    """No invitation of this name is open."""

    message = "no invitation for {!r} is open"
    hint = "relay-server invite list shows them; what one made, token revoke ends."


class TooManyInvitations(RelayError, code="too_many_invitations", status=409):
    """As many invitations are open as may be."""

    message = "{} invitations are open: no more"
    hint = "relay-server invite revoke withdraws one that nobody needs any more."


class EventNotFound(RelayError, code="event_not_found", status=404):
    """No event has this id, or it is not kept any more."""

    message = "no event has the id {!r}, or it is not kept any more"
    hint = "relay-server events list shows the events that are kept."


class AmbiguousId(RelayError, code="ambiguous_id", status=409):
    """The ids of several events end so."""

    message = "several events' ids end in {!r}: {}"
    hint = "Take more of its end, or all of it."


class BodyNotKept(RelayError, code="body_not_kept", status=409):
    """The event's channel keeps no bodies, and everybody has had this one."""

    message = "the body of {} was not kept once everybody had it"
    hint = "relay-server channel set --keep-bodies keeps those that come from then on."


class ConversationNotFound(RelayError, code="conversation_not_found", status=404):
    """No event that is kept is of this conversation."""

    message = "no event that is kept is of the conversation {!r}"
    hint = "The number is the one in the address bar of Chatwoot; with two accounts, 2/318."


class SubscriptionNotFound(RelayError, code="subscription_not_found", status=404):
    """The channel has no subscription of this name."""

    message = "the channel {!r} has no subscription named {!r}"
    hint = "relay-server subscription list shows the subscriptions there are."


class SubscriptionConnected(RelayError, code="subscription_connected", status=409):
    """Somebody reads the subscription: it would come back at once."""

    message = "{!r} is connected"
    hint = "Stop its client first, or revoke its token."


class SubscriptionExists(RelayError, code="subscription_exists", status=409):
    """The channel has a subscription of this name already."""

    message = "the channel {!r} has a subscription named {!r} already"
    hint = "Choose another name with --name; relay-server subscription list shows those taken."


class ForwardNotFound(RelayError, code="forward_not_found", status=404):
    """The channel has no forward of this name."""

    message = "the channel {!r} has no forward named {!r}"
    hint = "relay-server forward list shows the forwards there are."


class NothingSelected(RelayError, code="nothing_selected", status=409):
    """Nothing would be replayed or discarded: nothing that was asked for is there."""


class TooManySubscriptions(RelayError, code="too_many_subscriptions", status=409):
    """The channel has as many subscriptions as it may."""

    message = "the channel {!r} has {} subscriptions: no more"
    hint = "relay-server subscription delete forgets one that nobody needs any more."


class ReplayNotFound(RelayError, code="replay_not_found", status=404):
    """No replay has this number."""

    message = "there is no replay {}"
    hint = "relay-server replays list shows the replays there are."


class TooManyReplays(RelayError, code="too_many_replays", status=409):
    """As many replays run for the subscription as may."""

    message = "{1} replays run for {0!r} already"
    hint = "Wait for one to end, or stop one with relay-server replays stop."


class TooManyEdited(RelayError, code="too_many_edited", status=409):
    """As many edited events wait as may."""

    message = "{1} edited events wait for {0!r} already"
    hint = "They are sent once it is read; relay-server replays stop gives one up."


class KeyReused(RelayError, code="idempotency_key_reused", status=422):
    """Something else was asked under the same `Idempotency-Key` before."""

    message = "something else was asked under this Idempotency-Key before"
    hint = "Make a new key for each request, and send it again only to repeat that."


class PinNotFound(RelayError, code="pin_not_found", status=404):
    """The event is not pinned."""

    message = "the event {} is not pinned"


class PinExists(RelayError, code="pin_exists", status=409):
    """Another event of the channel is pinned under this name."""

    message = "another event is pinned as {!r} already"
    hint = "Choose another name, or unpin the other event."


class TooManyPins(RelayError, code="too_many_pins", status=409):
    """As many events of the channel are pinned as may be, or they are too large together."""

    message = "{} events of the channel are pinned, {} bytes: no more"
    hint = "Unpin one that nobody needs any more."


class LinkUnknown(RelayError, code="link_unknown", status=403):
    """No such login link was made, or the server was started since."""

    message = "this login link is not known"
    hint = "relay-client dashboard makes a new one; on the server, relay-server dashboard."


class LinkUsed(RelayError, code="link_used", status=403):
    """A login link works once."""

    message = "this login link was used from {} {} s ago"
    hint = (
        "relay-client dashboard makes a new one; on the server, relay-server dashboard. If that was"
        " not you, revoke the token."
    )


class LinkExpired(RelayError, code="link_expired", status=403):
    """A login link was not used in time."""

    message = "this login link ran out {} s ago: each works for a minute"
    hint = "relay-client dashboard makes a new one; on the server, relay-server dashboard."


class SessionNotFound(RelayError, code="session_not_found", status=404):
    """No session is called so, or it is over."""

    message = "no session is called {!r}, or it is over"
    hint = "The list of sessions shows those there are."


class InvalidValue(RelayError, code="invalid_value", status=422):
    """Something given is not possible here."""


class Unauthorized(RelayError, code="unauthorized", status=401):
    """Whoever asks showed nothing that lets them in: the answer never says why."""

    message = "not authorized"

    def __init__(self, reason: str) -> None:
        super().__init__()
        self.reason = reason  # for the server's own log


class InvitationRefused(Unauthorized):
    """No token is made of an invitation; that counts as a wrong token does."""

    def __init__(self, *facts: object) -> None:
        RelayError.__init__(self, *facts)


class InvitationUnknown(InvitationRefused, code="invitation_unknown"):
    """No invitation has this secret; whoever guesses learns no more."""

    reason = N_("unknown invitation")
    message = "there is no such invitation: it was withdrawn, ended long ago, or is not whole"
    hint = "Copy all of the line that you were sent, or ask for another."


class InvitationUsed(InvitationRefused, code="invitation_used", status=410):
    """The invitation was accepted before."""

    reason = N_("used invitation")
    message = "this invitation was used already, at {}: it is good for one client, once"
    hint = "If that was not you, say so to whoever sent it: the token is to be revoked."


class InvitationExpired(InvitationRefused, code="invitation_expired", status=410):
    """Nobody accepted the invitation in time."""

    reason = N_("late invitation")
    message = "this invitation ended at {}"
    hint = "Ask whoever sent it for another: relay-server invite makes one."


class Forbidden(RelayError, code="forbidden", status=403):
    """The token is good, but not for this."""


class TooMany(RelayError, status=429):
    """Something comes more often than it is taken; it may come again later."""

    def __init__(self, wait_s: float = 1.0) -> None:
        super().__init__()
        self.retry_after_s = math.ceil(min(max(1.0, wait_s), MAX_RETRY_AFTER_S))


class RateLimited(TooMany, code="rate_limited"):
    """More webhooks came than the channel takes; this one was not stored."""

    message = "more webhooks came than this channel takes"
    hint = "The channel's --rate-per-s says how many it takes."


class TooManyFailures(TooMany, code="too_many_failures"):
    """Nothing good was shown, as often before from this address; a good token is let in at once."""

    message = "not authorized, and that too often: check the token"


class Busy(TooMany, code="busy", status=503):
    """More requests to the API are under way than are answered at once."""

    message = "more requests are under way than are answered at once"


class TooManyFeeds(TooMany, code="too_many_feeds"):
    """The token has as many live feeds as it may."""

    message = "this token has as many live feeds open as it may"
    hint = "Close one: a browser needs one for all of its tabs."


class RequestTooSlow(RelayError, code="request_timeout", status=408):
    """The body of a request to the API did not come whole in time."""

    message = "the request did not arrive whole within {:g} s"


class BodyTooLarge(RelayError, code="body_too_large", status=413):
    """The body is larger than the channel takes."""

    message = "the body is larger than the {} bytes that are accepted here"
    hint = "RELAY_SERVER_MAX_BODY_BYTES or the channel's --max-body-bytes raises this."


class StoreUnavailable(RelayError, code="store_unavailable", status=503):
    """Nothing was stored; the sender should try again."""


class DatabaseAway(StoreUnavailable, code="database_away"):
    """The servers' database does not answer; webhooks are taken and spooled meanwhile."""

    message = (
        "the database does not answer. Webhooks are taken meanwhile: {} wait in this server's"
        " spool. Why it does not: {}"
    )
    hint = "Once it is back, what is spooled is stored and delivered by itself."


class StoreFull(StoreUnavailable, code="store_full"):
    """Nothing was stored: the disk is full, or too much waits to be written."""


class ChannelFull(StoreUnavailable, code="channel_full"):
    """Nothing was stored: the channel's events take as much as they may."""

    message = "the channel holds as much as it may: {} bytes"
    hint = (
        "Deliver or delete what waits (relay-server status), or allow the channel more with"
        " relay-server channel set --max-bytes."
    )


class NobodyReads(StoreUnavailable, code="nobody_reads"):
    """Nothing was stored: the channel refuses webhooks while they could not go out for so long."""

    message = "nothing of the channel has gone out for more than {:g} s"
    hint = "Start its reader; the channel's --refuse-after says after how long this is so."


class StoreReadOnly(StoreUnavailable, code="store_read_only"):
    """Nothing was stored: the data dir cannot be written to."""

    hint = "Look why the data dir is read-only: the mount, its permissions, the kernel's log."


class StoreBroken(RelayError, code="store_broken"):
    """The disk failed or the database is damaged; what was refused so may be delivered later.

    A failed fsync leaves open what reached the disk. If the webhook did, the next start finds and
    delivers it; a repeat with its sender's id is stored once.
    """

    hint = "Check the disk, then restore the last backup if the database is damaged."


class BackupUnusable(RelayError, code="backup_unusable", status=422):
    """The file cannot be restored: it is no whole and sound store of Relay's."""

    hint = "Nothing was changed. Choose a file that relay-server backup wrote."


class StoreLocked(RelayError, code="store_locked"):
    """Another process has the store open."""

    hint = "Stop the other server, or give this one a data dir of its own."


class BodyKeyMissing(RelayError, code="body_key_missing"):
    """Stored bodies are sealed with a key that was not given."""

    message = "stored bodies are sealed with a key that is missing: {}; given: {}"
    hint = (
        "Give every key that bodies are sealed with in RELAY_SERVER_BODY_KEYS_FILE, the one for"
        " new bodies first. A body whose key is lost cannot be read by anybody."
    )


class DriftNotFound(RelayError, code="drift_not_found", status=404):
    """No change of webhooks' fields has this number."""

    message = "no change of fields has the number {}"
    hint = "relay-server drift list shows those there are."


class StoreTooNew(RelayError, code="store_too_new"):
    """A newer version wrote this store."""

    hint = "Start the version that wrote it, or a later one."
