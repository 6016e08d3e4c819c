"""A webhook on its way in: who may send it, what is kept of it, how it is refused.

How it arrives, byte by byte, is the matter of `front.py`, which calls these in turn:

1. `admit`, by the head alone: the channel by the path; then, for all channels alike, token and
   address (`auth.check_sender`); then what no target would ever be sent (`Target.replayable`). A
   stranger learns neither of channels nor of paths, and costs no body.
2. `store`, with the whole body: the signature, which is over the body's bytes; a challenge, which
   is answered at once and not stored (`signing.challenges`); the channel's rate; the order key and
   kind; and `store.append_for`, which tells once the event is on disk. Only then is there a 2xx.
3. `refuse`, in place of either: an error's status and code, and `Retry-After` where the sender
   should come back. What is not stored is answered 429 on a Chatwoot channel (Chatwoot's agent bots
   try again after 429 and 500 alone), 503 on any other.

None of them waits, so none is a coroutine. The hub is not told: readers are woken by the store's
feed.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import msgspec
import structlog
import uuid_utils

from relay_protocol.errors import RelayError
from relay_protocol.text import harmless
from relay_protocol.values import RequestHead
from relay_server.auth import ADDRESS_NOT_ALLOWED, check_sender, check_token
from relay_server.channels import identify
from relay_server.configs import HmacAuth, SenderKind
from relay_server.errors import (
    ChannelNotFound,
    InvalidValue,
    NobodyReads,
    RateLimited,
    StoreBroken,
    StoreUnavailable,
    TooMany,
    TooManyFailures,
    Unauthorized,
)
from relay_server.refusals import (
    MAX_ADDRESS_CHARS,
    MAX_NAME_CHARS,
    Cause,
    Described,
    like,
    masked,
)
from relay_server.signing import scheme_named, verify
from relay_server.signing.challenges import Challenge, challenge_of
from relay_server.signing.scheme import Request
from relay_server.store.interface import Waiter
from relay_server.values import Channel, NewEvent, Token
from relay_server.web import causes
from relay_server.web.access import error_body, refusal
from relay_server.web.capture import (
    MAX_REMEMBERED,
    BadTarget,
    Head,
    RawHeaders,
    Target,
    origin_form,
    read_head,
    read_target,
    sender_address,
)
from relay_server.web.context import Context
from relay_server.web.limits import Limit

log = structlog.get_logger()

RETRY_AFTER_S = 3  # in `Retry-After` of 429 and 503: what Chatwoot's agent bots wait
PREFIXES = ("/webhook", "/c/")


class Incoming(msgspec.Struct, frozen=True):
    """A webhook whose sender was let in, before its body.

    Attributes:
        raw_target: As it was asked for.
        limit: Bytes that its body may have.
        token: That let it in, where its channel asks for one.
    """

    raw_target: bytes
    channel: Channel
    request: RequestHead
    head: Head
    limit: int
    token: Token | None = None


def path_of(raw_target: bytes) -> str:
    """The path of a request's target, as it is shown to people."""
    return raw_target.decode("latin-1").partition("?")[0]


@functools.lru_cache(MAX_REMEMBERED)
def is_webhook(raw_target: bytes) -> bool:
    """True if a request's target is one that webhooks are posted to."""
    return origin_form(raw_target.decode("latin-1")).startswith(PREFIXES)


def admit(
    context: Context, method: str, raw_target: bytes, headers: RawHeaders, peer: str, scheme: str
) -> Incoming:
    """Let a sender in, or not, by what comes before the body.

    Raises:
        Unauthorized: It may not post here, or there is no such channel.
        TooManyFailures: The same, and so it was often before.
        BadTarget: As it says.
    """
    settings, catalog = context.settings, context.store.catalog
    target = read_target(method, raw_target, settings.default_channel)
    head = read_head(headers)
    sender, proxies = peer, settings.trusted_proxies
    if proxies:
        sender, scheme = sender_address(peer, scheme, head, proxies)
    channel = catalog.channels.get(target.channel)
    try:
        if channel is None:
            raise Unauthorized("no such channel")
        token = check_sender(channel, catalog, target.shown + head.shown, sender)
    except Unauthorized as exc:
        asked = Asked(method, raw_target, headers, peer, None)
        _note_sender(context, exc.reason, asked, target, channel, head, sender)
        raise refusal(context, exc, sender) from None
    if not target.replayable:  # nobody who subscribes would ever get it: the sender should know
        raise BadTarget("no target is sent a request of this method, or of such a path")
    request = RequestHead(method, target.request_target, head.headers, sender, scheme)
    limit = channel.config.max_body_bytes or settings.max_body_bytes
    return Incoming(raw_target, channel, request, head, limit, token)


def store(context: Context, incoming: Incoming, body: bytes, waiter: Waiter) -> bytes | None:
    """Check what needs the body, and have the webhook stored for who waits for the store's word.

    Returns:
        What a challenge asked to be said back, as plain text: nothing is stored then, and the
        waiter told nothing. None for a webhook.

    Raises:
        Unauthorized: The signature is wrong.
        TooManyFailures: The same, and so it was often before.
        BadTarget: It is a browser's, that opens a page.
        RateLimited: The channel takes no more now.
        StoreUnavailable: The signature cannot be checked.
    """
    now_ms = context.clock.unix_ms()
    channel, request, token = incoming.channel, incoming.request, incoming.token
    if token is not None:
        context.uses.tokens[token.name] = now_ms
    config = channel.config
    if config.hmac is not None:
        asked = challenge_of(config.hmac.scheme, request.method, request.request_target, body)
        try:
            proven = _check_proof(context, incoming, config.hmac, body, asked, now_ms)
        except Unauthorized as exc:
            _note_proof(context, exc.reason, incoming, body, asked, now_ms)
            raise refusal(context, exc, request.sender) from None
        if asked is not None and proven:
            log.info("challenge answered", channel=channel.name, address=request.sender)
            return asked.answer
    # A browser that opens the URL brings no webhook: stored, it would be one that no app answers.
    if request.method == "GET" and incoming.head.value(b"sec-fetch-mode") == b"navigate":
        raise BadTarget("the URL is right, and takes webhooks: what a browser opens is not stored")
    if config.rate_per_s is not None:
        _check_rate(context, channel, config.rate_per_s)
    key, kind = identify(config, body, request.headers)
    id_ = f"evt_{uuid_utils.uuid7()}"
    event = NewEvent(id_, now_ms, key, kind, request, body, incoming.head.delivery_id)
    refuse_after_s = config.refuse_after_s
    if refuse_after_s is not None and context.hub.readers.idle_s(channel.number) > refuse_after_s:
        context.store.refuse_for(channel.number, event, waiter, NobodyReads(refuse_after_s))
    else:
        context.store.append_for(channel.number, event, waiter)
    return None


class Asked(NamedTuple):
    """A request that is refused, as far as it was read.

    Attributes:
        incoming: Where its sender was let in.
    """

    method: str
    raw_target: bytes
    headers: RawHeaders
    peer: str
    incoming: Incoming | None

    @property
    def path(self) -> str:
        """Without its query, which may hold a secret."""
        return path_of(self.raw_target)

    @property
    def channel(self) -> Channel | None:
        return self.incoming.channel if self.incoming else None

    def sender(self, context: Context) -> str:
        """Its address, behind the proxies that are known."""
        if self.incoming is not None:
            return self.incoming.request.sender
        head, proxies = read_head(self.headers), context.settings.trusted_proxies
        return sender_address(self.peer, "", head, proxies)[0]

    def channel_asked(self, context: Context) -> str:
        """The name that it says, which may be no channel's; empty where it says none."""
        if self.channel is not None:
            return self.channel.name
        try:
            default = context.settings.default_channel
            return read_target(self.method, self.raw_target, default).channel
        except BadTarget:
            return ""


def refuse(context: Context, asked: Asked, error: BaseException) -> tuple[int, bytes, int]:
    """Log a refusal, and say it: status, JSON, and seconds of `Retry-After` or 0."""
    if isinstance(error, ChannelNotFound):
        _note_error(context, asked, error)
        error = Unauthorized("the channel was deleted")  # as if it had never been
    if not isinstance(error, RelayError):
        log.error("webhook failed", **_brief(context, asked), exc_info=error)
        error = RelayError("the webhook could not be taken")
    status, message = error.status_hint, str(error)
    retry_after_s = error.retry_after_s if isinstance(error, TooMany) else 0
    if isinstance(error, StoreBroken):
        # What an fsync that failed had written, the next start may find.
        message += "; the webhook may be delivered after the next start"
    if isinstance(error, StoreUnavailable | StoreBroken):
        # "Later", said so that the sender does come back: Chatwoot's agent bots do so on 429.
        channel = asked.channel
        chatwoot = channel is not None and channel.config.sender is SenderKind.CHATWOOT
        status, retry_after_s = 429 if chatwoot else 503, RETRY_AFTER_S
    if not isinstance(error, Unauthorized | TooManyFailures):  # those were noted with what is wrong
        _note_error(context, asked, error)
    return status, error_body(error.code, message, error.hint), retry_after_s


def _note_sender(
    context: Context,
    reason: str,
    asked: Asked,
    target: Target,
    channel: Channel | None,
    head: Head,
    sender: str,
) -> None:
    """Keep why a sender was not let in by its head."""

    def describe() -> Described:
        catalog = context.store.catalog
        if channel is None:
            cause = causes.of_unknown_channel(catalog, target.channel)
        elif reason == ADDRESS_NOT_ALLOWED:
            cause = causes.of_address(channel, sender)
        else:
            cause = causes.of_token(catalog, context.revoked, channel, target.shown, head.shown)
        return Described(cause, asked.method, asked.path, _client(head))

    shown = None if reason == ADDRESS_NOT_ALLOWED else target.shown + head.shown
    context.refused(like(reason, target.channel, sender, shown), channel, sender, describe)


def _note_proof(
    context: Context,
    reason: str,
    incoming: Incoming,
    body: bytes,
    asked: Challenge | None,
    now_ms: int,
) -> None:
    """Keep why a sender was not let in by its signature, or a challenge's token."""
    channel, request, head = incoming.channel, incoming.request, incoming.head
    catalog = context.store.catalog

    def describe() -> Described:
        if asked is not None and asked.token is not None:
            cause = causes.of_challenge(catalog, context.revoked, channel, asked.token)
        else:
            sent = _sent(incoming, body)
            cause = causes.of_signature(context.sealer, catalog, channel, sent, now_ms / 1_000)
        return Described(cause, request.method, path_of(incoming.raw_target), _client(head))

    sender = request.sender
    context.refused(like(reason, channel.name, sender), channel, sender, describe)


def _brief(context: Context, asked: Asked) -> dict[str, str]:
    """Which request it was, as far as it was read."""
    return {
        "channel": harmless(asked.channel_asked(context), MAX_NAME_CHARS),
        "address": harmless(asked.sender(context), MAX_ADDRESS_CHARS),
        "method": harmless(asked.method, 16),
        "path": harmless(masked(asked.path)),
    }


def _note_error(context: Context, asked: Asked, error: RelayError) -> None:
    """Keep what else was refused, by its code."""

    def describe() -> Described:
        cause = Cause(says=str(error), fix=error.hint)
        return Described(cause, asked.method, asked.path, _client(read_head(asked.headers)))

    sender = asked.sender(context)
    shared = like(error.code, asked.channel_asked(context), sender)
    match error:
        case TooMany():
            event = ""  # logged where it is counted
        case StoreUnavailable() | StoreBroken():
            event = "webhook not stored"
        case _:
            event = "webhook refused"
    context.refused(shared, asked.channel, sender, describe, event)


def _client(head: Head) -> str:
    return head.value(b"user-agent").decode("latin-1")


def _sent(incoming: Incoming, body: bytes) -> Request:
    """What signatures cover, its URL as the sender asked for it."""
    head, target = incoming.head, origin_form(incoming.raw_target.decode("latin-1"))
    url = f"{incoming.request.scheme}://{head.value(b'host').decode('latin-1')}{target}"
    return Request(url, head.value, body)


def _check_rate(context: Context, channel: Channel, rate_per_s: float) -> None:
    wait_s = context.rates.take(channel.number, rate_per_s, context.clock.monotonic())
    if wait_s:
        event = "rate of a channel exceeded"
        context.limited(Limit.RATE, event, of=channel.number, channel=channel.name)
        raise RateLimited(wait_s)


def _check_proof(
    context: Context,
    incoming: Incoming,
    hmac: HmacAuth,
    body: bytes,
    asked: Challenge | None,
    now_ms: int,
) -> bool:
    """Check a signature, or in place of one a challenge's token: true if it is right.

    Raises:
        Unauthorized: It is wrong, and that is not only logged.
        StoreUnavailable: It cannot be checked.
    """
    channel = incoming.channel
    if asked is not None and asked.token is not None:
        check_token(channel, context.store.catalog, (asked.token,))
        return True
    try:
        secrets = [context.sealer.open(secret) for secret in hmac.secrets]
        scheme, sent = scheme_named(hmac.scheme), _sent(incoming, body)
        which = verify(scheme, secrets, sent, now_ms / 1_000)
    except InvalidValue as exc:
        log.error("signatures cannot be checked", channel=channel.name, error=str(exc))
        raise StoreUnavailable("the signature cannot be checked now") from exc
    except Unauthorized as exc:
        if not hmac.log_only:
            raise
        log.warning("signature wrong, let through", channel=channel.name, reason=exc.reason)
        return False
    context.uses.verified(channel.number, hmac.secrets[which], now_ms)
    return True
