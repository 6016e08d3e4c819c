"""What the fake's handlers share: a request's fields, and how they refuse it."""

from __future__ import annotations

import secrets
from typing import Any

from aiohttp import web

Json = dict[str, Any]
BODY = web.RequestKey("BODY", dict[str, Any])


class Refused(Exception):
    """The API says no."""

    def __init__(self, status: int, **answer: object) -> None:
        super().__init__(answer)
        self.status = status
        self.answer = answer


def fields_of(request: web.Request, *fields: str, inside: str = "") -> Json:
    """The fields of a body; Chatwoot takes them inside of their noun, too."""
    if request.content_type != "application/json":
        raise Refused(422, error="param is missing or the value is empty")
    body: Json = request[BODY]
    body = body.get(inside, body) if inside else body
    if unknown := body.keys() - set(fields):
        raise Refused(422, error=f"no route reads these: {sorted(unknown)}")
    if not body:
        raise Refused(422, error=f"param is missing or the value is empty: {inside or fields[0]}")
    return dict(body)


def id_of(request: web.Request) -> int:
    return int(request.match_info["id"])


def not_found() -> web.Response:
    return web.json_response({"error": "Resource could not be found"}, status=404)


def without(found: Json, *names: str) -> Json:
    return {name: value for name, value in found.items() if name not in names}


def change(previous: object, current: object) -> Json:
    return {"previous_value": previous, "current_value": current}


def new_token() -> str:
    return secrets.token_urlsafe(18)  # 24 characters, as Chatwoot's
