"""How requests are read and answered."""

from __future__ import annotations

import asyncio
from typing import Any, TypeVar

import msgspec
from aiohttp import web

from relay_server.configs import settings_of
from relay_server.errors import InvalidValue, RequestTooSlow

V = TypeVar("V")

MAX_REQUEST_BYTES = 65_536  # of a request to the API; more: 422
BODY_DEADLINE_S = 10.0  # for the body of a request to the API; longer: 408
MAX_NUMBER_CHARS = 15  # digits of a number in a query or of a replay's; more: 422
MAX_LISTED = 500  # events or dead deliveries in one answer; a larger `limit` counts as this


def fields_of(
    config: type[msgspec.Struct], *, optional: bool = False, **more: Any
) -> type[msgspec.Struct]:
    """Make the type of a request that sets a config; a field that is left out stays as it is.

    Args:
        config: Its settings are the fields.
        optional: Each may be None.
        more: Fields beside them, and their types.
    """
    found = {
        one.name: one.setting.given or one.type
        for one in settings_of(config)
        if one.setting.parts is None
    }
    if optional:
        found = {name: kind | None for name, kind in found.items()}
    # Unset, not None, is what was left out: null is a value, such as for no limit.
    unset: list[tuple[str, Any, Any]] = [
        (name, kind | msgspec.UnsetType, msgspec.UNSET) for name, kind in (found | more).items()
    ]
    return msgspec.defstruct(f"{config.__name__}Fields", unset, forbid_unknown_fields=True)


def given(fields: msgspec.Struct) -> dict[str, Any]:
    """The fields that a request set, by name."""
    values = msgspec.structs.asdict(fields)
    return {
        name: given(value) if isinstance(value, msgspec.Struct) else value
        for name, value in values.items()
        if value is not msgspec.UNSET
    }


async def read(request: web.Request, fields: type[V]) -> V:
    """Read a request's JSON body.

    Raises:
        InvalidValue: It is not what is expected; the message says where.
        RequestTooSlow: It did not come whole in time.
    """
    try:
        async with asyncio.timeout(BODY_DEADLINE_S):
            body = await _body(request)
    except TimeoutError as exc:
        raise RequestTooSlow(BODY_DEADLINE_S) from exc
    try:
        return msgspec.json.decode(body, type=fields)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise InvalidValue(str(exc)) from exc


async def _body(request: web.Request) -> bytes:
    body = bytearray()
    async for part in request.content.iter_any():
        body += part
        if len(body) > MAX_REQUEST_BYTES:
            raise InvalidValue(f"the request is larger than {MAX_REQUEST_BYTES} bytes")
    return bytes(body)


def answer(value: object, status: int = 200) -> web.Response:
    """Answer with JSON."""
    return web.Response(
        status=status, body=msgspec.json.encode(value), content_type="application/json"
    )


def is_number(text: str) -> bool:
    """True if this is a number as a query or path says it."""
    return text.isascii() and text.isdecimal() and len(text) <= MAX_NUMBER_CHARS


def number(request: web.Request, name: str, default: int) -> int:
    """A number of a request's query.

    Raises:
        InvalidValue: It is none.
    """
    value = request.query.get(name, "")
    if value and not is_number(value):
        raise InvalidValue(f"{name} is no number")
    return int(value or default)


def limit(request: web.Request) -> int:
    """How many are to be listed."""
    return min(number(request, "limit", 50), MAX_LISTED)


def flag(request: web.Request, name: str) -> bool:
    """A yes or no of a request's query; no without it.

    Raises:
        InvalidValue: It is neither.
    """
    value = request.query.get(name, "false").lower()
    if value not in ("", "1", "true", "0", "false"):
        raise InvalidValue(f"{name} is true or false")
    return value in ("", "1", "true")
