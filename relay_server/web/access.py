"""Who asks, and what is answered to whoever gets an error instead.

Whoever asks bears a token, or is on the host and uses the control socket. Refusals are uniform:
whatever the reason, and whether or not a channel exists, the same is counted against the address
and the same is answered. A good token never comes that far, from any address.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler

from relay_protocol.errors import RelayError
from relay_server.auth import find_token
from relay_server.errors import InvitationRefused, TooMany, TooManyFailures, Unauthorized
from relay_server.operations import Caller
from relay_server.refusals import Cause, Described, like
from relay_server.values import Scope, Token
from relay_server.web.capture import FORWARDED_FOR, address_behind
from relay_server.web.causes import of_bearer
from relay_server.web.context import CONTEXT, Context
from relay_server.web.language import language_of
from relay_server.web.limits import Limit, group_of
from relay_terminal.retold import told
from relay_terminal.words import speak

CODES = {404: "not_found", 405: "method_not_allowed", 413: "body_too_large"}
ON_HOST = web.AppKey("on_host", bool)  # the app behind the control socket: its file mode guards it


def caller(request: web.Request) -> Caller:
    """Find out who asks.

    Raises:
        Unauthorized: No good token.
    """
    parts, key = request.app[CONTEXT], request.headers.get("Idempotency-Key") or None
    if request.app.get(ON_HOST, False):
        return Caller(parts, idempotency_key=key)
    return Caller(parts, _token(request), address(request), key)


def bearer(request: web.Request, scope: Scope) -> Token:
    """The token of a request, which must have a scope.

    Raises:
        Unauthorized: No good token, or not for this.
    """
    token = _token(request)
    if scope not in token.scopes and Scope.ADMIN not in token.scopes:
        raise Unauthorized(f"the token has not the scope {scope}")
    return token


def address(request: web.Request) -> str:
    """Who asks, as seen through the proxies that are known."""
    proxies = request.app[CONTEXT].settings.trusted_proxies
    lines = [v for name, v in request.raw_headers if name.lower() == FORWARDED_FOR]
    return address_behind(request.remote or "", b",".join(lines), proxies)


def refusal(context: Context, error: Unauthorized, address: str) -> RelayError:
    """Count a refusal against its address, and say what is answered."""
    wait_s = context.failures.wrong(address, context.clock.monotonic())
    if not wait_s:
        return error
    context.limited(
        Limit.FAILURES,
        "too many failures",
        of=group_of(address),
        address=address,
        reason=error.reason,
    )
    return TooManyFailures(wait_s)


def _note(request: web.Request, error: Unauthorized) -> None:
    """Keep why a request to the API or the WebSocket was not let in."""
    context, shown, sender = request.app[CONTEXT], _bearer(request), address(request)

    def describe() -> Described:
        if isinstance(error, InvitationRefused):
            cause = Cause(says=str(error), fix="relay-server invite NAME --channel …")
        else:
            cause = of_bearer(context.store.catalog, context.revoked, shown)
        client = request.headers.get("User-Agent", "")
        return Described(cause, request.method, request.path, client)

    alike = like(error.reason, "", sender, shown)
    context.refused(alike, None, sender, describe, "request refused")


def _bearer(request: web.Request) -> bytes:
    """The secret that a request shows; empty for none."""
    scheme, _, secret = request.headers.get("Authorization", "").partition(" ")
    return secret.strip().encode("utf-8", "surrogateescape") if scheme.lower() == "bearer" else b""


def _token(request: web.Request) -> Token:
    shown = _bearer(request)
    if not shown:
        raise Unauthorized("no bearer token")
    context = request.app[CONTEXT]
    token = find_token(context.store.catalog, shown)
    if token is None:
        raise Unauthorized("unknown token")
    context.uses.tokens[token.name] = context.clock.unix_ms()
    return token


def error_body(code: str, message: str, hint: str = "") -> bytes:
    """The one shape that every error has, as JSON."""
    error = {"code": code, "message": message}
    if hint:
        error["hint"] = hint
    return msgspec.json.encode({"error": error})


def error_response(
    status: int, code: str, message: str, hint: str = "", headers: Mapping[str, str] | None = None
) -> web.Response:
    body = error_body(code, message, hint)
    return web.Response(status=status, body=body, content_type="application/json", headers=headers)


@web.middleware
async def errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn whatever a handler raises into JSON; nothing of a request is ever echoed.

    What people read in answers is in the language that they ask for, English to programs.
    """
    speak(language_of(request))
    try:
        return await handler(request)
    except Unauthorized as exc:
        _note(request, exc)
        error = refusal(request.app[CONTEXT], exc, address(request))
    except RelayError as exc:
        error = exc
    except web.HTTPException as exc:
        if exc.status < 400:
            raise
        allow = {"Allow": exc.headers["Allow"]} if "Allow" in exc.headers else None
        code = CODES.get(exc.status, "http_error")
        return error_response(exc.status, code, exc.reason, headers=allow)
    later = {"Retry-After": str(error.retry_after_s)} if isinstance(error, TooMany) else None
    return error_response(error.status_hint, error.code, *told(error), later)
