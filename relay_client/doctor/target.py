"""Why a target did not answer as one should, by a look at what listens there instead."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from dataclasses import replace

from relay_client.doctor.around import Care, Found
from relay_client.errors import ClientError
from relay_http.pool import addresses, open_socket
from relay_http.target import Target
from relay_http.tls import make_context
from relay_protocol.text import harmless
from relay_protocol.values import GONE, Failure, FailureKind, Outcome, Response
from relay_terminal.retold import retold
from relay_terminal.words import _

LOOK_S = 2.0  # for a connection, and for its TLS
GREETING_S = 0.3  # within which a server that speaks first has spoken
MAX_GREETING_BYTES = 64  # of that, which are looked at

_TLS = "tls"
_OTHER = {"127.0.0.1": "::1", "::1": "127.0.0.1"}


async def judged(target: Target, outcome: Outcome) -> Found:
    """What the canary's way through the target came to."""
    match outcome:
        case Response():
            return _answered(target, outcome)
        case Failure(FailureKind.TIMEOUT, text):
            hint = _("It may be at a breakpoint, or slow: --timeout lets it think for longer.")
            return ClientError(text, hint)
        case Failure():
            return await _failed(target, outcome)


def _answered(target: Target, response: Response) -> Found:
    text = _("{target} answered {status} in {elapsed} ms")
    text = text.format(target=target.url, status=response.status, elapsed=response.elapsed_ms)
    if response.delivered:
        return text
    match response.status:
        case 401 | 403:
            hint = _("It asks for a login of its own: have it let webhooks pass without.")
        case 404 | 405:
            hint = _(
                "It has nothing at that path, or knows no event relay.canary. If webhooks are"
                " expected elsewhere: --to HOST:PORT/path"
            )
        case status if status == GONE:
            hint = _("It wants no more: a webhook that is answered so pauses the subscription.")
        case status if 300 <= status < 400:
            hint = _("It points elsewhere, and redirects are not followed: give the final address.")
        case status if status >= 500:
            hint = _("It failed: see its log. It may only not know the event relay.canary.")
        case _:
            hint = _("It may not know the event relay.canary; else see its log.")
    return Care(text, hint)


async def _failed(target: Target, failure: Failure) -> ClientError:
    try:
        await addresses(target.host, target.port)
    except OSError:
        text = _("nobody knows the name {host}").format(host=target.host)
        return ClientError(text, _("Correct --to, or the name in this machine's hosts file."))
    spoken = await _spoken(target)
    if spoken is None:
        return await _not_listening(target)
    where = target.authority
    if spoken not in ("", _TLS):
        text = _("{target} speaks no HTTP: it greets with {greeting}")
        hint = _("Another program listens there. Give --to the port of your app.")
        return ClientError(text.format(target=where, greeting=spoken), hint)
    if spoken == _TLS and not target.secure:
        text = _("{target} speaks TLS, and was spoken to without").format(target=where)
        return ClientError(text, _("Give --to https://{target}").format(target=where))
    if failure.kind is not FailureKind.TARGET_DOWN:
        return ClientError(retold(failure.text), _("Look at your app's log."))
    if target.secure and spoken != _TLS:
        text = _("{target} speaks no TLS").format(target=where)
        return ClientError(text, _("Give --to {target}, without https://").format(target=where))
    if target.secure:
        hint = _("For a private certificate give --target-ca FILE, or --insecure-target.")
        return ClientError(retold(failure.text) or _refuses(target), hint)
    return ClientError(_refuses(target), _("Look at your app's log."))


async def _not_listening(target: Target) -> ClientError:
    other = _OTHER.get(target.host)
    if other is not None and await _spoken(replace(target, host=other)) is not None:
        text = _("{target} is not listening, but {other} answers on that port")
        hint = _("Give --to localhost:{port}, which tries both.").format(port=target.port)
        return ClientError(text.format(target=target.authority, other=other), hint)
    hint = _("Start your app, or correct --to; webhooks wait on the relay meanwhile.")
    return ClientError(_("{target} is not listening").format(target=target.authority), hint)


def _refuses(target: Target) -> str:
    return _("{target} does not take connections").format(target=target.authority)


async def _spoken(target: Target) -> str | None:
    """What is spoken there: a greeting, `tls`, or nothing at first; None where nothing listens."""
    try:
        async with asyncio.timeout(LOOK_S):
            opened = await open_socket(target)
    except OSError:
        return None
    reader, writer = await asyncio.open_connection(sock=opened)
    try:
        return await _greeting(reader) or await _tls(opened.getpeername())
    finally:
        writer.close()


async def _greeting(reader: asyncio.StreamReader) -> str:
    """The first words of a server that speaks first, as none of HTTP does."""
    with contextlib.suppress(TimeoutError, OSError):
        async with asyncio.timeout(GREETING_S):
            said = await reader.read(MAX_GREETING_BYTES)
            return harmless(said.decode("latin-1").split("\r")[0].split("\n")[0]) or ""
    return ""


async def _tls(peer: tuple[str, int]) -> str:
    context = make_context()
    context.check_hostname = False  # whether it is trusted is the poster's matter
    context.verify_mode = ssl.CERT_NONE
    try:
        async with asyncio.timeout(LOOK_S):
            _reader, writer = await asyncio.open_connection(*peer[:2], ssl=context)
    except (OSError, ssl.SSLError):
        return ""
    writer.close()
    return _TLS
