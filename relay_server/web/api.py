"""The JSON API behind the commands: by token on the public port, by file mode on the host.

A route is a line of the table below: a request's method and path, and the operation that is called
with who asks, the names in the path and, where the line has a struct, what the request says: as the
JSON of its body, or of a GET in its query. The operation's answer is sent as JSON. So a new path is
an operation, its struct, and a line here.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple, TypeVar, get_args

import msgspec
from aiohttp import web

from relay_server.errors import Busy, InvalidValue, RequestTooSlow
from relay_server.operations import (
    NOBODY,
    Caller,
    ForAdmins,
    Plan,
    audit,
    bodies,
    channels,
    conversations,
    dead,
    drifts,
    edited,
    events,
    forwards,
    invitations,
    listing,
    pins,
    proofs,
    pulse,
    refused,
    replays,
    scripts,
    server,
    sessions,
    subscriptions,
    trial,
    versions,
    why,
)
from relay_server.web.access import address, caller
from relay_server.web.context import CONTEXT
from relay_server.web.limits import Limit
from relay_server.web.misfits import misfit
from relay_terminal.words import spoken

FieldsT = TypeVar("FieldsT", bound=msgspec.Struct)

MAX_REQUEST_BYTES = 65_536  # of a request to the API; more: 422
# With an event's body in them, at once: each takes some three times that. More: 503 `busy`.
MAX_EVENT_REQUESTS = 8
BODY_DEADLINE_S = 10.0  # for the body of a request to the API; longer: 408

# What msgspec calls the kinds of JSON's values.
ROOT = "/api/v1"
CHANNEL = "/channels/{name}"
SUBSCRIPTION = "/channels/{name}/subscriptions/{subscription}"
TALK = "/conversations/{channel}/{key}"
FORWARD = "/forwards/{channel}/{name}"


class Route(NamedTuple):
    """A line of the table.

    Attributes:
        path: Below the API's root.
        operation: Called with who asks, the path's names and the fields.
        fields: The struct of what a request says; None where it says nothing.
        status: Of the answer; one that has no JSON has 204.
        with_event: A request may be as large as the body of an event of the caller's makes it.
        version: Called as the operation: gives what changes whenever a GET's answer may, from
            counters alone. Who has that answer already gets 304, as where there are none and it
            comes out the same.
        for_anybody: It takes no token.
    """

    method: str
    path: str
    operation: Callable[..., Awaitable[Any]]
    fields: type[msgspec.Struct] | None = None
    status: int = 200
    with_event: bool = False
    version: Callable[..., str] | None = None
    for_anybody: bool = False

    def definition(self) -> web.RouteDef:
        """The same, as an application takes it."""
        return web.route(self.method, ROOT + self.path, self._handle)

    def status_of(self, answer: Any) -> int:
        """The status of an answer of a type: what only says what would be made has 200."""
        is_plan = isinstance(answer, type) and issubclass(answer, Plan)
        return 200 if is_plan else self.status

    async def _handle(self, request: web.Request) -> web.Response:
        context = request.app[CONTEXT]
        if self.for_anybody:
            return await self._do(request, Caller(context, NOBODY, address(request)))
        who = caller(request)
        if not self.with_event:
            return await self._do(request, who)
        if context.event_requests >= MAX_EVENT_REQUESTS:
            context.limited(Limit.REQUESTS, "too many events to be made at once")
            raise Busy
        context.event_requests += 1
        try:
            return await self._do(request, who)
        finally:
            context.event_requests -= 1

    async def _do(self, request: web.Request, who: Caller) -> web.Response:
        said = list[msgspec.Struct]()
        if isinstance(self.operation, ForAdmins):
            who.check_admin()
        if self.fields is not None:
            if self.method == "GET":
                said.append(await from_query(request, self.fields))
            else:
                limit = _limit(who, with_event=self.with_event)
                said.append(await _from_body(request, self.fields, limit))
        # The names stand in the order of the path, as the operation's parameters do.
        asked = (who, *request.match_info.values(), *said)
        if self.method != "GET":
            return self._answer(await self.operation(*asked))
        known = request.headers.get("If-None-Match", "")
        # As it is before the operation looks: what changes meanwhile is another version.
        tag = None if self.version is None else f'W/"{self.version(*asked)}-{spoken()}"'
        if tag is not None and _names(known, tag):
            return web.Response(status=304, headers={"ETag": tag})
        response = self._answer(await self.operation(*asked))
        tag = tag or f'"{_digest(response)}"'
        if _names(known, tag):
            response = web.Response(status=304)
        response.headers["ETag"] = tag
        return response

    def _answer(self, answer: object) -> web.Response:
        if answer is None:
            return web.Response(status=204)
        if isinstance(answer, events.Download):
            return web.Response(body=answer.body, headers=answer.headers)
        body = msgspec.json.encode(answer)
        status = self.status_of(type(answer))
        return web.Response(status=status, body=body, content_type="application/json")


routes = [
    Route("GET", "/whoami", server.whoami),
    Route("GET", "/status", server.status),
    Route("POST", "/backup", server.backup, server.Backup, 201),
    Route("GET", "/channels", channels.list_channels),
    Route("POST", "/channels", channels.create_channel, channels.ChannelFields, 201),
    Route("GET", CHANNEL, channels.show_channel),
    Route("PATCH", CHANNEL, channels.change_channel, channels.ChannelFields),
    Route("DELETE", CHANNEL, channels.delete_channel),
    Route("GET", f"{CHANNEL}/chatwoot", channels.show_chatwoot),
    Route("POST", f"{CHANNEL}/test", trial.try_channel),
    Route("GET", f"{CHANNEL}/secrets", proofs.list_secrets),
    Route("POST", f"{CHANNEL}/secrets", proofs.add_secret, proofs.NewSecret, 201),
    Route("DELETE", f"{CHANNEL}/secrets/{{id}}", proofs.remove_secret),
    Route("GET", SUBSCRIPTION, subscriptions.show_subscription, version=versions.of_named),
    Route(
        "PATCH", SUBSCRIPTION, subscriptions.change_subscription, subscriptions.SubscriptionFields
    ),
    Route("POST", f"{SUBSCRIPTION}/pause", subscriptions.pause_subscription),
    Route("POST", f"{SUBSCRIPTION}/resume", subscriptions.resume_subscription),
    Route("POST", f"{SUBSCRIPTION}/skip", subscriptions.skip_waiting, subscriptions.Until),
    Route("POST", f"{SUBSCRIPTION}/give-up", dead.give_up_delivery, dead.GivenUp),
    Route("DELETE", SUBSCRIPTION, subscriptions.delete_subscription),
    Route("GET", "/forwards", forwards.list_forwards, version=versions.of_all),
    Route("POST", "/forwards", forwards.create_forward, forwards.NewForward, 201),
    Route("GET", FORWARD, forwards.show_forward, version=versions.of_named),
    Route("PATCH", FORWARD, forwards.change_forward, forwards.ForwardFields),
    Route("DELETE", FORWARD, forwards.delete_forward),
    Route("GET", "/tokens", channels.list_tokens),
    Route("POST", "/tokens", channels.create_token, channels.NewToken, 201),
    Route("DELETE", "/tokens/{name}", channels.revoke_token),
    Route("GET", "/invitations", invitations.list_invitations),
    Route("POST", "/invitations", invitations.create_invitation, invitations.NewInvitation, 201),
    Route("DELETE", "/invitations/{name}", invitations.revoke_invitation),
    Route(
        "GET", "/events", listing.list_events, listing.EventQuery, version=listing.version_of_list
    ),
    Route(
        "GET",
        "/events/latest",
        listing.latest_event,
        listing.Meant,
        version=listing.version_of_list,
    ),
    Route(
        "GET",
        "/events/count",
        listing.count_events,
        listing.CountQuery,
        version=listing.version_of_list,
    ),
    Route("POST", "/events", edited.create_edited, edited.NewEdit, 201, with_event=True),
    Route("GET", "/events/{id}", events.show_event, version=versions.of_all),
    Route("GET", "/events/{id}/body", events.event_body, version=versions.of_all),
    Route("GET", "/events/{id}/attempts", events.event_attempts, version=versions.of_all),
    Route("GET", "/events/{id}/as/{language}", scripts.show_script, scripts.ScriptPage),
    Route("GET", "/edited", edited.list_edited, edited.EditedPage, version=versions.of_asked),
    Route("GET", "/events/{id}/tree", bodies.show_tree, bodies.TreePage, version=versions.of_all),
    Route(
        "GET",
        "/conversations",
        conversations.list_conversations,
        conversations.TalkQuery,
        version=versions.of_asked,
    ),
    Route(
        "GET",
        TALK,
        conversations.show_conversation,
        conversations.TalkPage,
        version=versions.of_named,
    ),
    Route("GET", f"{TALK}/why", why.why_unanswered, why.WhyQuery, version=versions.of_named),
    Route("GET", "/compare", bodies.compare, bodies.ComparePage, version=versions.of_all),
    Route("GET", "/pins", pins.list_pins, pins.PinPage, version=versions.of_all),
    Route("PUT", "/pins/{id}", pins.pin_event, pins.NewPin),
    Route("DELETE", "/pins/{id}", pins.unpin_event),
    Route("GET", "/refused", refused.list_refused, refused.RefusedFields),
    Route("GET", "/drifts", drifts.list_drifts),
    Route("DELETE", "/drifts/{number}", drifts.dismiss_drift),
    Route("GET", "/pulse", pulse.show_pulse, pulse.PulseFields),
    Route("GET", "/replays", replays.list_replays, replays.ReplayPage),
    Route("POST", "/replays", replays.create_replays, replays.NewReplay, 201),
    Route("GET", "/replays/{number}", replays.show_replay),
    Route("DELETE", "/replays/{number}", replays.stop_replay),
    Route("GET", "/dead", dead.list_dead, dead.DeadPage, version=versions.of_all),
    Route("POST", "/dead/discard", dead.discard_dead, dead.Discarded),
    Route("POST", "/login-links", sessions.create_login_link, status=201),
    Route("GET", "/sessions", sessions.list_sessions),
    Route("DELETE", "/sessions/{id}", sessions.end_session),
    Route("GET", "/audit", audit.list_audit, audit.AuditPage),
]
# Not for the host: who makes a canary has a token, and who was invited is elsewhere.
public_routes = [
    Route(
        "POST",
        "/invitations/accept",
        invitations.accept_invitation,
        invitations.Acceptance,
        201,
        for_anybody=True,
    ),
    Route("POST", "/canary", channels.create_canary, status=201),
    Route("DELETE", "/canary/{name}", channels.delete_canary),
]


def _names(known: str, tag: str) -> bool:
    """Whether an `If-None-Match` names a tag."""
    return tag in map(str.strip, known.split(","))


def _digest(response: web.Response) -> str:
    """Of an answer that nothing counts the changes of."""
    assert isinstance(response.body, bytes)
    return hashlib.blake2b(response.body, digest_size=8).hexdigest()


def _limit(who: Caller, *, with_event: bool) -> int:
    """Bytes that a request may have."""
    if not with_event:
        return MAX_REQUEST_BYTES
    # In base64: four characters for three bytes.
    return MAX_REQUEST_BYTES + 4 * max(map(who.body_limit, who.channels()), default=0) // 3


async def _from_body(
    request: web.Request, fields: type[msgspec.Struct], limit: int
) -> msgspec.Struct:
    """Read a request's JSON body; what is not as expected is `InvalidValue` and says where."""
    try:
        return msgspec.json.decode(await read_body(request, limit), type=fields)
    except msgspec.ValidationError as exc:
        raise InvalidValue(misfit(exc, fields)) from exc
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise InvalidValue(f"the request's body is no JSON: {exc}") from exc


async def read_body(request: web.Request, limit: int) -> bytes:
    """Read a request's body, of so many bytes at most, within a deadline."""
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_DEADLINE_S):
            async for part in request.content.iter_any():
                body += part
                if len(body) > limit:
                    raise InvalidValue(f"the request is larger than {limit} bytes")
    except TimeoutError as exc:
        raise RequestTooSlow(BODY_DEADLINE_S) from exc
    return bytes(body)


async def from_query(request: web.Request, fields: type[FieldsT]) -> FieldsT:
    """Read a request's query; what it has beside the fields is let be."""
    given = dict[str, object]()
    for field in msgspec.structs.fields(fields):
        text = request.query.get(field.encode_name)
        kind = next(iter(get_args(field.type)), field.type)  # of `int | None`: int
        if text is not None and (text or kind is not int):  # an empty number is none
            given[field.name] = _value(field.encode_name, kind, text)
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
