"""Takes webhooks: captured and authenticated, then on disk, then answered."""

from __future__ import annotations

import asyncio

import structlog
import uuid_utils
from aiohttp import web

from relay_protocol.errors import RelayError
from relay_protocol.values import RequestHead
from relay_server.auth import check_chatwoot_signature, check_sender
from relay_server.channels import identify
from relay_server.errors import StoreUnavailable, Unauthorized
from relay_server.values import Appended, Channel, NewEvent, SenderKind
from relay_server.web.capture import Head, below_channel, read_head, sender_address
from relay_server.web.context import CONTEXT, Context
from relay_server.web.errors import error_response, respond

log = structlog.get_logger()

BODY_DEADLINE_S = 10.0
STORE_DEADLINE_S = 2.5  # Chatwoot gives up at 5
RETRY_AFTER_S = 3  # what Chatwoot's agent bots wait


class BodyTooLarge(RelayError):
    """The body is larger than the channel takes."""

    code = "body_too_large"
    status_hint = 413

    def __init__(self, limit: int) -> None:
        super().__init__(f"the body is larger than the {limit} bytes that are accepted here")
        self.hint = "RELAY_SERVER_MAX_BODY_BYTES or the channel's --max-body-bytes raises this."


class BodyTooSlow(RelayError):
    """The body did not come whole in time."""

    code = "body_timeout"
    status_hint = 408

    def __init__(self) -> None:
        super().__init__(f"the body did not arrive whole within {BODY_DEADLINE_S:.0f} s")


async def ingest_default(request: web.Request) -> web.Response:
    """`ANY /webhook…`: the default channel; the target sees the same path."""
    context = request.app[CONTEXT]
    return await _ingest(request, context, context.settings.default_channel, below=False)


async def ingest_channel(request: web.Request) -> web.Response:
    """`ANY /c/{channel}/{path}`: a channel by name; the target sees `/{path}`."""
    name = request.match_info["channel"]
    return await _ingest(request, request.app[CONTEXT], name, below=True)


async def _ingest(
    request: web.Request, context: Context, name: str, *, below: bool
) -> web.Response:
    began = context.clock.monotonic()
    channel = context.store.catalog.channels.get(name)
    try:
        appended = await _accept(request, context, channel, below=below)
    except StoreUnavailable as exc:
        response = _refuse(channel, exc)
    except Unauthorized as exc:
        log.warning("webhook refused", channel=name if channel else None, reason=exc.reason)
        response = respond(exc)
    except RelayError as exc:
        response = respond(exc)
    else:
        response = web.Response(
            body=b'{"id": "%b"}' % appended.id.encode(), content_type="application/json"
        )
    label = channel.name if channel else ""
    context.metrics.answered(label, response.status, context.clock.monotonic() - began)
    return response


async def _accept(
    request: web.Request, context: Context, channel: Channel | None, *, below: bool
) -> Appended:
    """Return once the webhook is on disk.

    Raises:
        Unauthorized: The sender may not post here, or there is no such channel.
        BodyTooLarge, BodyTooSlow: As they say.
        StoreUnavailable: It was not stored.
    """
    if channel is None:
        raise Unauthorized("no such channel")
    head = read_head(request.raw_path, request.raw_headers)
    address, scheme = sender_address(request.remote or "", head, context.settings.trusted_proxies)
    check_sender(channel, context.store.catalog, head.shown, address)
    body = await _read(request, channel.config.max_body_bytes or context.settings.max_body_bytes)
    now_ms = context.clock.unix_ms()
    _check_signature(context, channel, head, body, now_ms)
    key, kind = identify(channel.config, body)
    event = NewEvent(
        id=f"evt_{uuid_utils.uuid7()}",
        received_at=now_ms,
        key=key,
        kind=kind,
        request=RequestHead(
            method=request.method,
            request_target=below_channel(head.target) if below else head.target,
            headers=head.headers,
            sender=address,
            scheme=scheme or request.scheme,
        ),
        body=body,
        sender_id=head.delivery_id,
    )
    return await _store(context, channel, event)


async def _store(context: Context, channel: Channel, event: NewEvent) -> Appended:
    try:
        async with asyncio.timeout(STORE_DEADLINE_S):
            return await context.store.append(channel.number, event)
    except TimeoutError as exc:
        raise StoreUnavailable("the disk did not take the webhook in time") from exc


async def _read(request: web.Request, limit: int) -> bytes:
    """Read a body, never more than the limit and a little."""
    if (request.content_length or 0) > limit:
        raise BodyTooLarge(limit)
    if not request.body_exists:
        return b""
    if request.content.is_eof():  # it came with the headers: nothing to wait for
        body = request.content.read_nowait()
        if len(body) > limit:
            raise BodyTooLarge(limit)
        return body
    parts, size = [], 0
    try:
        async with asyncio.timeout(BODY_DEADLINE_S):
            async for part in request.content.iter_any():
                size += len(part)
                if size > limit:
                    raise BodyTooLarge(limit)
                parts.append(part)
    except TimeoutError as exc:
        raise BodyTooSlow from exc
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _check_signature(
    context: Context, channel: Channel, head: Head, body: bytes, now_ms: int
) -> None:
    hmac = channel.config.hmac
    if hmac is None:
        return
    try:
        check_chatwoot_signature(
            [context.sealer.open(secret) for secret in hmac.secrets],
            head.fields.get(b"x-chatwoot-signature"),
            head.fields.get(b"x-chatwoot-timestamp"),
            body,
            now_ms / 1000,
        )
    except Unauthorized as exc:
        if not hmac.log_only:
            raise
        log.warning("signature wrong, let through", channel=channel.name, reason=exc.reason)


def _refuse(channel: Channel | None, error: StoreUnavailable) -> web.Response:
    """Say "later" so that the sender does come back: Chatwoot's agent bots do so on 429."""
    chatwoot = channel is not None and channel.config.sender is SenderKind.CHATWOOT
    status = 429 if chatwoot else 503
    log.error("webhook not stored", channel=channel.name if channel else None, error=str(error))
    headers = {"Retry-After": str(RETRY_AFTER_S)}
    return error_response(status, error.code, str(error), error.hint, headers)
