"""A sample webhook, sent from a page: it takes the way of every other, but for who sends it.

Whoever presses the button is logged in, and may send: a page knows no token, and is not where the
channel's sender is. All else is as at the door: the channel's signature is made and checked, its
limit, its rate and its other rules hold.
"""

from __future__ import annotations

import asyncio
import uuid
from urllib.parse import urlsplit

from aiohttp import web
from msgspec.structs import replace

from relay_chatwoot import samples
from relay_protocol.values import RequestHead
from relay_server.auth import allows
from relay_server.configs import SenderKind
from relay_server.dashboard.visit import Fields, Visitor, form, see
from relay_server.errors import BodyTooLarge, Forbidden
from relay_server.operations import Caller
from relay_server.operations.audit import audited
from relay_server.operations.channels import webhook_path
from relay_server.signing import scheme_named, sign
from relay_server.signing.twilio import digest_in_query
from relay_server.values import Appended, Channel, Scope
from relay_server.web import ingest
from relay_server.web.capture import read_head, read_target
from relay_server.web.context import CONTEXT, Context
from relay_server.web.front import STORE_DEADLINE_S, StoreTooSlow
from relay_terminal.words import _

SAMPLE = "message_created_incoming"  # of a Chatwoot channel: what every bot is for
TWILIO = "twilio"  # signs the URL, in which it has the digest of a body that is no form
PLAIN = b'{"event": "hello"}'  # of any other


def may_send(who: Caller, channel: Channel) -> bool:
    """True if somebody's webhooks would be taken."""
    return who.token is None or allows(who.token, Scope.SEND, channel)


async def send_sample(request: web.Request, visitor: Visitor, _fields: Fields) -> web.Response:
    """`POST /channels/{channel}/sample`."""
    name = request.match_info["channel"]
    stored = await _send(visitor.who, name, request.app[CONTEXT])
    return see(f"/channels/{name}?sent={stored.id}")


@audited("event.sample")
async def _send(who: Caller, name: str, context: Context) -> Appended:
    channel = who.channel(name)
    if not may_send(who, channel):
        raise Forbidden(_("this takes a token that may send to {channel}").format(channel=name))
    chatwoot = channel.config.sender is SenderKind.CHATWOOT
    body = samples.read(SAMPLE) if chatwoot else PLAIN
    stored: asyncio.Future[Appended] = asyncio.get_running_loop().create_future()
    incoming = _incoming(who, context, channel, body)
    if len(body) > incoming.limit:
        raise BodyTooLarge(incoming.limit)
    ingest.store(context, incoming, body, stored)
    try:
        async with asyncio.timeout(STORE_DEADLINE_S):
            return await stored
    except TimeoutError as exc:
        raise StoreTooSlow from exc


def _incoming(who: Caller, context: Context, channel: Channel, body: bytes) -> ingest.Incoming:
    """The request as its sender would have made it, signed where the channel asks for that."""
    settings, hmac, url = context.settings, channel.config.hmac, urlsplit(context.settings.url)
    path = webhook_path(context, channel)
    if hmac is not None and hmac.scheme == TWILIO:
        path += f"?{digest_in_query(body)}"
    fields = [
        (b"Host", url.netloc.encode()),
        *((name.encode(), value.encode()) for name, value in samples.headers()),
        (b"Content-Length", b"%d" % len(body)),
    ]
    request = RequestHead("POST", path, tuple(fields), who.address, url.scheme)
    if hmac is not None:
        secret, now_s = context.sealer.open(hmac.secrets[0]), context.clock.unix_ms() // 1_000
        id_ = f"msg_{uuid.uuid4()}"
        headers = sign(scheme_named(hmac.scheme), secret, request, body, now_s, id_)
        request = replace(request, headers=headers)
    head = read_head(request.headers)
    target = read_target("POST", path.encode(), settings.default_channel).request_target
    request = replace(request, request_target=target, headers=head.headers)
    return ingest.Incoming(path.encode(), channel, request, head, who.body_limit(channel))


routes = [web.post("/channels/{channel}/sample", form(send_sample))]
