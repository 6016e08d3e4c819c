"""The JSON API behind the commands: by token on the public port, by file mode on the host.

A route is a line of the table below: a request's method and path, and the operation that is called
with who asks, the names in the path and, where the line has a struct, what the request says: as the
JSON of its body, or of a GET in its query. The operation's answer is sent as JSON. So a new path is
an operation, its struct, and a line here.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from aiohttp import web

from relay_server.errors import InvalidValue, RequestTooSlow
from relay_server.operations import ForAdmins, channels, events, replays, server, subscriptions
from relay_server.web.access import caller

MAX_REQUEST_BYTES = 65_536  # of a request to the API; more: 422
BODY_DEADLINE_S = 10.0  # for the body of a request to the API; longer: 408

CHANNEL = "/channels/{name}"
SUBSCRIPTION = "/channels/{name}/subscriptions/{subscription}"
FORWARD = "/forwards/{channel}/{name}"


def _route(
    method: str,
    path: str,
    operation: Callable[..., Awaitable[Any]],
    fields: type[msgspec.Struct] | None = None,
    status: int = 200,
) -> web.RouteDef:
    """A line of the table.

    Args:
        method: Of the request.
        path: Below the API's root.
        operation: Called with who asks, the path's names and the fields.
        fields: The struct of what a request says; None where it says nothing.
        status: Of the answer; one that has no JSON has 204.
    """
    # The types of a line are not checked: one that does not fit its operation ends the start.
    takes = 1 + path.count("{") + (fields is not None)
    assert len(inspect.signature(operation).parameters) == takes, path

    async def handle(request: web.Request) -> web.Response:
        who, said = caller(request), list[msgspec.Struct]()
        if isinstance(operation, ForAdmins):
            who.check_admin()
        if fields is not None:
            read = _from_query if method == "GET" else _from_body
            said.append(await read(request, fields))
        # The names stand in the order of the path, as the operation's parameters do.
        answer = await operation(who, *request.match_info.values(), *said)
        if answer is None:
            return web.Response(status=204)
        body = msgspec.json.encode(answer)
        return web.Response(status=status, body=body, content_type="application/json")

    return web.route(method, f"/api/v1{path}", handle)


routes = [
    _route("GET", "/whoami", server.whoami),
    _route("GET", "/status", server.status),
    _route("POST", "/backup", server.backup, server.Backup, 201),
    _route("GET", "/channels", channels.list_channels),
    _route("POST", "/channels", channels.create_channel, channels.ChannelFields, 201),
    _route("GET", CHANNEL, channels.show_channel),
    _route("PATCH", CHANNEL, channels.change_channel, channels.ChannelFields),
    _route("DELETE", CHANNEL, channels.delete_channel),
    _route("GET", SUBSCRIPTION, subscriptions.show_subscription),
    _route("PATCH", SUBSCRIPTION, subscriptions.change_subscription, subscriptions.OwnPolicy),
    _route("POST", f"{SUBSCRIPTION}/pause", subscriptions.pause_subscription),
    _route("POST", f"{SUBSCRIPTION}/resume", subscriptions.resume_subscription),
    _route("DELETE", SUBSCRIPTION, subscriptions.delete_subscription),
    _route("GET", "/forwards", subscriptions.list_forwards),
    _route("POST", "/forwards", subscriptions.create_forward, subscriptions.NewForward, 201),
    _route("GET", FORWARD, subscriptions.show_forward),
    _route("PATCH", FORWARD, subscriptions.change_forward, subscriptions.ForwardFields),
    _route("DELETE", FORWARD, subscriptions.delete_forward),
    _route("GET", "/tokens", channels.list_tokens),
    _route("POST", "/tokens", channels.create_token, channels.NewToken, 201),
    _route("DELETE", "/tokens/{name}", channels.revoke_token),
    _route("GET", "/events", events.list_events, events.EventPage),
    _route("GET", "/events/{id}", events.show_event),
    _route("GET", "/replays", replays.list_replays, replays.ReplayPage),
    _route("POST", "/replays", replays.create_replays, replays.NewReplay, 201),
    _route("GET", "/replays/{number}", replays.show_replay),
    _route("DELETE", "/replays/{number}", replays.stop_replay),
    _route("GET", "/dead", replays.list_dead, replays.DeadPage),
    _route("POST", "/dead/discard", replays.discard_dead, replays.Discarded),
]
# Not for the host: whoever makes one has a token.
canary_routes = [
    _route("POST", "/canary", channels.create_canary, status=201),
    _route("DELETE", "/canary/{name}", channels.delete_canary),
]


async def _from_body(request: web.Request, fields: type[msgspec.Struct]) -> msgspec.Struct:
    """Read a request's JSON body; what is not as expected is `InvalidValue` and says where."""
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_DEADLINE_S):
            async for part in request.content.iter_any():
                body += part
                if len(body) > MAX_REQUEST_BYTES:
                    raise InvalidValue(f"the request is larger than {MAX_REQUEST_BYTES} bytes")
    except TimeoutError as exc:
        raise RequestTooSlow(BODY_DEADLINE_S) from exc
    try:
        return msgspec.json.decode(bytes(body), type=fields)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise InvalidValue(str(exc)) from exc


async def _from_query(request: web.Request, fields: type[msgspec.Struct]) -> msgspec.Struct:
    """Read a request's query; what it has beside the fields is let be."""
    given = dict[str, object]()
    for field in msgspec.structs.fields(fields):
        text = request.query.get(field.name)
        if text is not None and (text or field.type is not int):  # an empty number is none
            given[field.name] = _value(field.name, field.type, text)
    return fields(**given)


def _value(name: str, kind: type, text: str) -> object:
    if kind is bool:
        if text.lower() not in ("", "1", "true", "0", "false"):
            raise InvalidValue(f"{name} is true or false")
        return text.lower() in ("", "1", "true")
    if kind is int:
        if not replays.is_number(text):
            raise InvalidValue(f"{name} is no number")
        return int(text)
    return text
