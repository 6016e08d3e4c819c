"""The API's description, `openapi.json`, made of its table of routes.

What a request says and what is answered are structs: msgspec makes their JSON schemas. An
operation's docstring says what it is for. It is made when it is first asked for, and says nothing
that is not in every copy of this server: who asks needs no token.
"""

from __future__ import annotations

import asyncio
import inspect
import re
import types
import typing
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any

import msgspec
from aiohttp import web

from relay_server.live.messages import MESSAGES
from relay_server.operations import ForAdmins
from relay_server.operations.events import Download
from relay_server.web.api import ROOT, Route
from relay_server.web.context import CONTEXT
from relay_server.web.feed import FeedFields, feed
from relay_server.web.server import FEED_PATH

PATH = f"{ROOT}/openapi.json"
REF = "#/components/schemas/{name}"
REFUSED = {
    "description": "Refused.",
    "content": {"application/json": {"schema": {"$ref": REF.format(name="Error")}}},
}

Schema = dict[str, Any]


class ErrorFacts(msgspec.Struct, omit_defaults=True):
    """Why a request was refused: a stable code, and sentences for people."""

    code: str
    message: str
    hint: str = ""


class Error(msgspec.Struct):
    """The one shape of every error."""

    error: ErrorFacts


def handler(routes: Sequence[Route]) -> Callable[[web.Request], Coroutine[Any, Any, web.Response]]:
    """Answer with the description of some routes."""
    made, making = b"", asyncio.Lock()

    async def describe_routes(request: web.Request) -> web.Response:
        nonlocal made
        base_path = request.app[CONTEXT].settings.base_path
        async with making:
            # In a thread: it takes a tenth of a second, and anybody may ask.
            made = made or await asyncio.to_thread(
                lambda: msgspec.json.encode(describe(routes, base_path))
            )
        return web.Response(body=made, content_type="application/json")

    return describe_routes


def describe(routes: Sequence[Route], base_path: str = "") -> Schema:
    """The OpenAPI 3.1 document of some routes, which stand below a path."""
    kinds = [kind for route in routes for kind in _types(route)]
    kinds += MESSAGES.values()
    schemas, components = msgspec.json.schema_components([Error, *kinds], ref_template=REF)
    for component in components.values():
        _describe_fields(component)
    found = iter(schemas[1:])
    paths: dict[str, Schema] = {}
    for route in routes:
        schema_of = {kind: next(found) for kind in _types(route)}
        paths.setdefault(ROOT + route.path, {})[route.method.lower()] = _operation(route, schema_of)
    paths[FEED_PATH] = {"get": _feed(found)}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Relay", "version": "1", "description": "Webhooks, stored and replayed."},
        "servers": [{"url": base_path or "/"}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"token": []}],
    }


def answers_of(route: Route) -> dict[int, Any]:
    """The types of a route's answers by their status; none where it has no JSON."""
    answer = typing.get_type_hints(route.operation)["return"]
    each = typing.get_args(answer) if isinstance(answer, types.UnionType) else [answer]
    return {route.status_of(kind): kind for kind in each if kind is not type(None)}


def _types(route: Route) -> Iterator[Any]:
    """What of a route has a schema: its answer, and what it says in a body."""
    yield from (answer for answer in answers_of(route).values() if answer is not Download)
    if route.fields is not None and route.method != "GET":
        yield route.fields


def _operation(route: Route, schema_of: dict[Any, Schema]) -> Schema:
    summary, _, more = (inspect.getdoc(route.operation) or "").partition("\n")
    if isinstance(route.operation, ForAdmins):
        more = f"Takes a token with the scope admin.\n{more}"
    success: dict[str, Schema] = {
        str(status): {"description": summary} | _content(answer, schema_of)
        for status, answer in answers_of(route).items()
    }
    query = _query_parameters(route.fields) if route.fields and route.method == "GET" else ()
    operation: Schema = {
        "operationId": route.operation.__name__,
        "summary": summary,
        "description": more.partition("Raises:")[0].strip(),
        "tags": [route.path.split("/")[1]],
        "parameters": [*_path_parameters(route), *query],
        "responses": (success or {"204": {"description": summary}}) | {"default": REFUSED},
    }
    if route.for_anybody:
        operation["security"] = []
    if route.method == "GET":
        operation["responses"]["304"] = {"description": "`If-None-Match` names its `ETag`."}
    if route.fields is not None and route.method != "GET":
        operation["requestBody"] = {"required": True} | _json(schema_of[route.fields])
    return operation


def _feed(messages: Iterator[Schema]) -> Schema:
    """The live feed: it has no line in the table, as its answer has no end."""
    stream = {"text/event-stream": {"schema": {"anyOf": list(messages)}}}
    return {
        "operationId": "feed",
        "summary": (inspect.getdoc(feed) or "").partition("\n")[0],
        "tags": ["feed"],
        "parameters": list(_query_parameters(FeedFields)),
        "responses": {
            "200": {"description": "What happens, as it happens.", "content": stream},
            "default": REFUSED,
        },
    }


def _content(answer: Any, schema_of: dict[Any, Schema]) -> Schema:
    if answer is Download:
        return {"content": {"application/octet-stream": {}}}
    return _json(schema_of[answer])


def _describe_fields(component: Schema) -> None:
    """Give each field what the struct's docstring says of it."""
    text, _, fields = inspect.cleandoc(component.get("description", "")).partition(
        "\nAttributes:\n"
    )
    if text:
        component["description"] = text.strip()
    for names, meaning in re.findall(r"^ {4}(\w[\w, ]*): (.*(?:\n {8}.*)*)", fields, re.MULTILINE):
        for name in names.split(", "):
            # A name that Python keeps for itself has a `_` behind it there.
            component["properties"][name.rstrip("_")]["description"] = " ".join(meaning.split())


def _json(schema: Schema) -> Schema:
    return {"content": {"application/json": {"schema": schema}}}


def _path_parameters(route: Route) -> Iterator[Schema]:
    for name in re.findall(r"{(\w+)}", route.path):
        yield {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def _query_parameters(fields: type[msgspec.Struct]) -> Iterator[Schema]:
    for field in msgspec.structs.fields(fields):
        schema = msgspec.json.schema(field.type)
        yield {"name": field.encode_name, "in": "query", "schema": schema}
