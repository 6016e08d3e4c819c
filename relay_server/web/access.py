"""Who asks: the bearer of a token, or somebody on the host through the control socket.

Refusals are uniform: whatever the reason, and whether or not a channel exists, the same is counted
against the address and the same is answered. A good token never comes that far, from any address.
"""

from __future__ import annotations

from aiohttp import web

from relay_protocol.errors import RelayError
from relay_server.auth import find_token
from relay_server.errors import TooManyFailures, Unauthorized
from relay_server.operations import Caller
from relay_server.values import Scope, Token
from relay_server.web.capture import FORWARDED_FOR, address_behind
from relay_server.web.context import CONTEXT, Context
from relay_server.web.limits import Limit, group_of

ON_HOST = web.AppKey("on_host", bool)  # the app behind the control socket: its file mode guards it


def caller(request: web.Request) -> Caller:
    """Find out who asks.

    Raises:
        Unauthorized: No good token.
    """
    on_host = request.app.get(ON_HOST, False)
    return Caller(request.app[CONTEXT], None if on_host else _token(request))


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


def _token(request: web.Request) -> Token:
    scheme, _, secret = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        raise Unauthorized("no bearer token")
    shown = secret.strip().encode("utf-8", "surrogateescape")
    token = find_token(request.app[CONTEXT].store.catalog, shown)
    if token is None:
        raise Unauthorized("unknown token")
    return token
