"""Errors to answers, in one place."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler

from relay_protocol.errors import RelayError
from relay_server.errors import TooMany, Unauthorized
from relay_server.web import access
from relay_server.web.context import CONTEXT

CODES = {404: "not_found", 405: "method_not_allowed", 413: "body_too_large"}


def error_body(code: str, message: str, hint: str = "") -> bytes:
    """The one shape that every error has, as JSON."""
    error = {"code": code, "message": message}
    if hint:
        error["hint"] = hint
    return msgspec.json.encode({"error": error})


def error_response(
    status: int, code: str, message: str, hint: str = "", headers: Mapping[str, str] | None = None
) -> web.Response:
    """Answer with an error."""
    return web.Response(
        status=status,
        body=error_body(code, message, hint),
        content_type="application/json",
        headers=headers,
    )


@web.middleware
async def errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn whatever a handler raises into JSON; nothing of a request is ever echoed."""
    try:
        return await handler(request)
    except Unauthorized as exc:
        error = access.refusal(request.app[CONTEXT], exc, access.address(request))
    except RelayError as exc:
        error = exc
    except web.HTTPException as exc:
        if exc.status < 400:
            raise
        allow = {"Allow": exc.headers["Allow"]} if "Allow" in exc.headers else None
        code = CODES.get(exc.status, "http_error")
        return error_response(exc.status, code, exc.reason, headers=allow)
    later = {"Retry-After": str(error.retry_after_s)} if isinstance(error, TooMany) else None
    return error_response(error.status_hint, error.code, str(error), error.hint, later)
