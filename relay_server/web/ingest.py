"""A webhook on its way in: who may send it, what is kept of it, how it is refused.

How it arrives, byte by byte, is the matter of `front.py`, which calls these in turn:

1. `admit`, by the head alone: the channel by the path; then, for all channels alike, token and
   address (`auth.check_sender`); then what no target would ever be sent (`check_request`). A
   stranger learns neither of channels nor of paths, and costs no body.
2. `store`, with the whole body: the signature, which is over the body's bytes; the channel's rate;
   the order key and kind; and `store.append`, which returns once the event is on disk. Only then is
   there a 2xx.
3. `refuse`, in place of either: an error's status and code, and `Retry-After` where the sender
   should come back. What is not stored is answered 429 on a Chatwoot channel (Chatwoot's agent bots
   try again after 429 and 500 alone), 503 on any other.

The hub is not told: readers are woken by the store's feed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import structlog
import uuid_utils

from relay_http.outgoing import RequestRefused, check_request
from relay_protocol.errors import RelayError
from relay_protocol.values import RequestHead
from relay_server.auth import check_chatwoot_signature, check_sender
from relay_server.channels import identify
from relay_server.configs import HmacAuth, SenderKind
from relay_server.errors import (
    ChannelNotFound,
    InvalidValue,
    RateLimited,
    StoreBroken,
    StoreUnavailable,
    TooMany,
    Unauthorized,
)
from relay_server.values import Appended, Channel, NewEvent
from relay_server.web.access import refusal
from relay_server.web.capture import (
    BadTarget,
    Head,
    RawHeaders,
    origin_form,
    read_head,
    sender_address,
    split_channel,
)
from relay_server.web.context import Context
from relay_server.web.errors import error_body
from relay_server.web.limits import Limit

log = structlog.get_logger()

RETRY_AFTER_S = 3  # in `Retry-After` of 429 and 503: what Chatwoot's agent bots wait
PREFIXES = ("/webhook", "/c/")


class BodyTooLarge(RelayError):
    """The body is larger than the channel takes."""

    code = "body_too_large"
    status_hint = 413
    message = "the body is larger than the {} bytes that are accepted here"
    hint = "RELAY_SERVER_MAX_BODY_BYTES or the channel's --max-body-bytes raises this."


@dataclass(frozen=True, slots=True)
class Incoming:
    """A webhook whose sender was let in, before its body."""

    channel: Channel
    method: str
    head: Head
    sender: str
    scheme: str
    request_target: str  # path and query as the target sees them
    limit: int  # bytes that its body may have


def is_webhook(raw_target: bytes) -> bool:
    """True if a request's target is one that webhooks are posted to."""
    return origin_form(raw_target.decode("latin-1")).startswith(PREFIXES)


def admit(
    context: Context, method: str, raw_target: str, headers: RawHeaders, peer: str, scheme: str
) -> Incoming:
    """Let a sender in, or not, by what comes before the body.

    Raises:
        Unauthorized: It may not post here, or there is no such channel.
        TooManyFailures: The same, and so it was often before.
        BadTarget, HeadTooLarge: As they say.
    """
    head = read_head(raw_target, headers)
    name, target = split_channel(head.target, context.settings.default_channel)
    proxies = context.settings.trusted_proxies
    sender, forwarded_scheme = sender_address(peer, head, proxies)
    try:
        channel = _let_in(context, name, head, sender)
    except Unauthorized as exc:
        raise refusal(context, exc, sender) from None
    try:
        check_request(method, target)
    except RequestRefused:  # nobody who subscribes would ever get it: the sender should know
        raise BadTarget("no target is sent a request of this method, or of such a path") from None
    return Incoming(
        channel=channel,
        method=method,
        head=head,
        sender=sender,
        scheme=forwarded_scheme or scheme,
        request_target=target,
        limit=channel.config.max_body_bytes or context.settings.max_body_bytes,
    )


def _let_in(context: Context, name: str, head: Head, sender: str) -> Channel:
    catalog = context.store.catalog
    channel = catalog.channels.get(name)
    if channel is None:
        raise Unauthorized("no such channel")
    check_sender(channel, catalog, head.shown, sender)
    return channel


async def store(context: Context, incoming: Incoming, body: bytes) -> Appended:
    """Check what needs the body, and return once the webhook is on disk.

    Raises:
        Unauthorized: The signature is wrong, or the channel was deleted meanwhile.
        TooManyFailures: The signature is wrong, and so it was often before.
        RateLimited: The channel takes no more now.
        StoreUnavailable, StoreBroken: It was not stored.
    """
    now_ms = context.clock.unix_ms()
    channel, head = incoming.channel, incoming.head
    if (hmac := channel.config.hmac) is not None:
        try:
            _check_signature(context, channel, hmac, head, body, now_ms)
        except Unauthorized as exc:
            raise refusal(context, exc, incoming.sender) from None
    if (rate := channel.config.rate_per_s) is not None:
        _check_rate(context, channel, rate)
    key, kind = identify(channel.config, body)
    request = RequestHead(
        incoming.method, incoming.request_target, head.headers, incoming.sender, incoming.scheme
    )
    id_ = f"evt_{uuid_utils.uuid7()}"
    event = NewEvent(id_, now_ms, key, kind, request, body, head.delivery_id)
    try:
        return await context.store.append(channel.number, event)
    except ChannelNotFound as exc:
        raise Unauthorized("the channel was deleted") from exc


def refuse(
    channel: Channel | None, error: RelayError
) -> tuple[int, bytes, Sequence[tuple[str, str]]]:
    """Log a refusal, and say it: status, JSON and further header fields."""
    _note(channel, error)
    status, headers = error.status_hint, list[tuple[str, str]]()
    message = str(error)
    if isinstance(error, StoreBroken):
        # What an fsync that failed had written, the next start may find.
        message += "; the webhook may be delivered after the next start"
    if isinstance(error, StoreUnavailable | StoreBroken):
        # "Later", said so that the sender does come back: Chatwoot's agent bots do so on 429.
        chatwoot = channel is not None and channel.config.sender is SenderKind.CHATWOOT
        status = 429 if chatwoot else 503
        headers.append(("Retry-After", str(RETRY_AFTER_S)))
    elif isinstance(error, TooMany):
        headers.append(("Retry-After", str(error.retry_after_s)))
    return status, error_body(error.code, message, error.hint), headers


def _note(channel: Channel | None, error: RelayError) -> None:
    """The log has the reasons that no answer gives."""
    name = channel.name if channel else None
    match error:
        case Unauthorized(reason=reason):
            log.warning("webhook refused", channel=name, reason=reason)
        case TooMany():
            pass  # logged where it is counted, at a bounded rate
        case StoreUnavailable() | StoreBroken():
            log.error("webhook not stored", channel=name, error=str(error))
        case _:
            log.info("webhook refused", channel=name, reason=error.code)


def _check_rate(context: Context, channel: Channel, rate_per_s: float) -> None:
    wait_s = context.rates.take(channel.number, rate_per_s, context.clock.monotonic())
    if wait_s:
        event = "rate of a channel exceeded"
        context.limited(Limit.RATE, event, of=channel.number, channel=channel.name)
        raise RateLimited(wait_s)


def _check_signature(
    context: Context, channel: Channel, hmac: HmacAuth, head: Head, body: bytes, now_ms: int
) -> None:
    try:
        secrets = [context.sealer.open(secret) for secret in hmac.secrets]
    except InvalidValue as exc:
        log.error("signatures cannot be checked", channel=channel.name, error=str(exc))
        raise StoreUnavailable("the signature cannot be checked now") from exc
    try:
        check_chatwoot_signature(
            secrets,
            head.fields.get(b"x-chatwoot-signature"),
            head.fields.get(b"x-chatwoot-timestamp"),
            body,
            now_ms / 1000,
        )
    except Unauthorized as exc:
        if not hmac.log_only:
            raise
        log.warning("signature wrong, let through", channel=channel.name, reason=exc.reason)
