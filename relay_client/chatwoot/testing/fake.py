"""A Chatwoot's API, as strict as the real one in routes, roles and errors.

    async with open_chatwoot() as chatwoot:
        …                       # what is tested calls chatwoot.url with one of its tokens
        assert chatwoot.changes == ["POST webhooks"]

Written from Chatwoot's controllers and policies of 4.16.2; `version` makes it an older one. Beyond
Chatwoot, which ignores it, a field that no route reads is refused: a typing error must not pass.

It keeps `calls` in the order they came, and does as it is told by `faults`. With `echoing`, what
changes is posted to the webhooks and bots that are set up in it (`echoes`).
"""

from __future__ import annotations

import asyncio
import fnmatch
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

from relay_client.chatwoot.events import TYPES
from relay_client.chatwoot.testing.asked import (
    BODY,
    Json,
    Refused,
    change,
    fields_of,
    id_of,
    new_token,
    not_found,
)
from relay_client.chatwoot.testing.echoes import Echoes, message, new_conversation
from relay_client.chatwoot.testing.installation import Installation

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

# What an agent bot's token is good for (AccessTokenAuthHelper); since 4.14.2 the last three, too.
BOT_ROUTES = {"POST conversations", "PATCH conversations/{id}"} | {
    f"POST conversations/{{id}}/{part}"
    for part in ("messages", "toggle_status", "toggle_typing_status", "assignments")
}
NEWER_BOT_ROUTES = {
    "GET conversations/{id}",
    "GET conversations/{id}/labels",
    "POST conversations/{id}/labels",
}
MAX_CONTENT_CHARS = 150_000  # of a message to the fake Chatwoot, as to the real one


@dataclass(frozen=True, slots=True)
class Call:
    """A request that came.

    Attributes:
        path: Below the account, such as `webhooks/11`; of other routes the whole.
        by: Whose token it had: `admin`, `agent`, `outsider`, `bot 9`; empty for none that is known.
        body: Empty where it had none.
        status: Of the answer; 0 where there was none.
    """

    method: str
    path: str
    by: str
    body: Json
    status: int

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


@dataclass(slots=True)
class Fault:
    """What goes wrong with calls.

    Attributes:
        call: Which, such as `POST conversations/*/labels`.
        status: What is answered; 0 for nothing at all, as long as the caller waits.
        times: So often; then it works.
        done: The call is carried out, and its answer lost.
        body: Of the answer.
        headers: Of the answer, too.
        then: Called before the answer.
    """

    call: str
    status: int = 500
    times: int = 1
    done: bool = False
    body: bytes = b'{"status":500,"error":"Internal Server Error"}'
    headers: Mapping[str, str] = field(default_factory=dict)
    then: Callable[[], object] = lambda: None


class FakeChatwoot(Installation):
    """One installation with the account 2, an inbox (4) and its people.

    Attributes:
        settings: The account's.
        api_enabled: False as on the cloud's free plan.
        conversations: By the number that people see, in the shape of webhooks.
        messages: By conversation.
        handed_off: Conversations that everybody of the inbox was told of, in order.
        faults: The first that fits a call happens.
    """

    def __init__(self) -> None:
        super().__init__()
        self.url = ""
        self.settings: Json = {"keep_pending_on_bot_failure": False}
        self.api_enabled = True
        self.conversations: dict[int, Json] = {}
        self.messages: dict[int, list[Json]] = {}
        self.handed_off: list[int] = []
        self.calls: list[Call] = []
        self.faults: list[Fault] = []
        self.echoes = Echoes(self)
        self._closing = asyncio.Event()

    @property
    def changes(self) -> list[str]:
        """The calls that changed something, in order."""
        return [str(call) for call in self.calls if call.method != "GET" and call.status == 200]

    def answers(self, id_: int) -> list[str]:
        """What was said to the customer of a conversation, in order."""
        said = self.messages[id_]
        shown = [one for one in said if one["message_type"] == "outgoing" and not one["private"]]
        return [one["content"] for one in shown]

    def add_conversation(self, id_: int = 318, status: str = "pending", inbox: int = 4) -> Json:
        """A conversation; one that is pending is its inbox's bot's."""
        owner = self.bots.get(self.bot_of.get(inbox, 0)) if status == "pending" else None
        self.conversations[id_] = new_conversation(id_, status, inbox, owner)
        self.messages[id_] = []
        return self.conversations[id_]

    async def customer_says(self, id_: int, content: str) -> Json:
        """A customer writes; webhooks tell of it with `echoing`."""
        said = message(self.conversations[id_], self.next_id(), content, "incoming", "contact")
        return await self._said(id_, said)

    async def human_says(self, id_: int, content: str, *, private: bool = False) -> Json:
        """Somebody of the team answers: Chatwoot leaves the conversation's status as it is."""
        talk = self.conversations[id_]
        said = message(talk, self.next_id(), content, "outgoing", "user", private)
        return await self._said(id_, said)

    async def human_takes(self, id_: int, user: int = 5) -> None:
        """Somebody of the team opens a conversation and has it from then on."""
        await self._open(id_, {"id": user, "name": "Mariana Araújo", "type": "user"}, "User")

    async def turn(self, id_: int, status: str) -> None:
        """Somebody, or Chatwoot itself, sets the status of a conversation."""
        was, self.conversations[id_]["status"] = self.conversations[id_]["status"], status
        await self._status_changed(id_, [{"status": change(was, status)}])

    async def delete(self, id_: int, message: int) -> None:
        """Somebody deletes a message: its words are Chatwoot's from then on."""
        [said] = [one for one in self.messages[id_] if one["id"] == message]
        said |= {"content": "This message was deleted", "content_attributes": {"deleted": True}}
        await self.echoes.tell(id_, "message_updated", said)

    async def _said(self, id_: int, said: Json) -> Json:
        self.messages[id_].append(said)
        await self.echoes.tell(id_, "message_created", said)
        return said

    async def open_without_alarm(self, id_: int) -> None:
        """What Chatwoot does where a bot failed: nobody is told, and its owner stays."""
        self.conversations[id_]["status"] = "open"
        await self._status_changed(id_, [{"status": change("pending", "open")}])

    async def _open(self, id_: int, assignee: Json | None, assignee_type: str | None) -> None:
        talk = self.conversations[id_]
        was = talk["status"], talk["meta"]["assignee"]
        talk["status"] = "open"
        talk["meta"] |= {"assignee": assignee, "assignee_type": assignee_type}
        changed = [{"status": change(was[0], "open")}] if was[0] != "open" else []
        if was[1] and was[1]["type"] == "agent_bot":
            changed.append({"assignee_agent_bot_id": change(was[1]["id"], None)})
        await self._status_changed(id_, changed)

    async def _status_changed(self, id_: int, changed: list[Json]) -> None:
        status = self.conversations[id_]["status"]
        named = {"open": "conversation_opened", "resolved": "conversation_resolved"}.get(status)
        if named:
            await self.echoes.tell(id_, named)
        await self.echoes.tell(id_, "conversation_status_changed", {"changed_attributes": None})
        await self.echoes.tell(id_, "conversation_updated", {"changed_attributes": changed})

    # What comes in

    def app(self) -> web.Application:
        """All routes; what is none answers 404."""
        app = web.Application(middlewares=[self._carry_out], client_max_size=1 << 20)
        account = "/api/v1/accounts/{account}"
        app.router.add_get("/api", self._versions)
        app.router.add_get("/api/v1/profile", self._profile)
        app.router.add_get(account, self._account)
        for route, handler in self._routes().items():
            method, path = route.split(" ")
            app.router.add_route(method, f"{account}/{path}", handler)
        return app

    def _routes(self) -> dict[str, Handler]:
        talk = "conversations/{id}"
        return {
            "GET webhooks": self._list_webhooks,
            "POST webhooks": self._make_webhook,
            "PATCH webhooks/{id}": self._change_webhook,
            "DELETE webhooks/{id}": self._delete_webhook,
            "GET agent_bots": self._list_bots,
            "POST agent_bots": self._make_bot,
            "GET agent_bots/{id}": self._show_bot,
            "PATCH agent_bots/{id}": self._change_bot,
            "DELETE agent_bots/{id}": self._delete_bot,
            "POST agent_bots/{id}/reset_secret": self._reset_bot,
            "POST agent_bots/{id}/reset_access_token": self._reset_bot,
            "GET inboxes": self._list_inboxes,
            "POST inboxes": self._make_inbox,
            "GET inboxes/{id}": self._show_inbox,
            "PATCH inboxes/{id}": self._change_inbox,
            "DELETE inboxes/{id}": self._delete_inbox,
            "POST inboxes/{id}/reset_secret": self._reset_inbox,
            "POST inboxes/{id}/set_agent_bot": self._set_agent_bot,
            "GET inboxes/{id}/agent_bot": self._show_agent_bot,
            f"GET {talk}": self._show_conversation,
            f"POST {talk}/messages": self._make_message,
            f"GET {talk}/labels": self._labels,
            f"POST {talk}/labels": self._set_labels,
            f"POST {talk}/toggle_status": self._toggle_status,
            f"POST {talk}/toggle_typing_status": self._toggle_typing,
            f"POST {talk}/assignments": self._assign,
        }

    @web.middleware
    async def _carry_out(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        raw = await request.read()
        request[BODY] = json.loads(raw) if raw else {}
        _root, _slash, below = request.path.partition("/accounts/2/")
        path, by, status = below or request.path, self._whose(request), 0
        fault = self._fault(f"{request.method} {path}")
        try:
            if fault is None:
                answer = await self._answer(request, handler, by)
            else:
                if fault.done:
                    await self._answer(request, handler, by)
                fault.then()
                if not fault.status:
                    await self._closing.wait()
                answer = web.Response(
                    status=fault.status or 500, body=fault.body, headers=fault.headers
                )
            status = answer.status
            return answer
        finally:
            self.calls.append(Call(request.method, path, by, request[BODY], status))

    def _fault(self, call: str) -> Fault | None:
        for fault in self.faults:
            if fault.times and fnmatch.fnmatch(call, fault.call):
                fault.times -= 1
                return fault
        return None

    async def _answer(self, request: web.Request, handler: Handler, by: str) -> web.StreamResponse:
        try:
            if request.path != "/api":
                self._let_in(request, by)
            return await handler(request)
        except Refused as refused:
            return web.json_response(refused.answer, status=refused.status)
        except KeyError:
            return not_found()
        except web.HTTPException as exc:
            return not_found() if exc.status == 404 else web.Response(status=exc.status)

    def _let_in(self, request: web.Request, by: str) -> None:
        if "api_access_token" not in request.headers:
            sign_in = "You need to sign in or sign up before continuing."
            raise Refused(401, errors=[sign_in])
        if not by:
            raise Refused(401, error="Invalid Access Token")
        route = self._route(request)
        allowed = BOT_ROUTES | (NEWER_BOT_ROUTES if self.since(4, 14, 2) else set())
        if by.startswith("bot") and route not in allowed:
            raise Refused(401, error="Access to this endpoint is not authorized for bots")
        if self.version == "4.16.0" and ("agent_bot" in route or "labels" in route):
            raise Refused(500, error="Internal Server Error")
        if "/accounts/" in request.path:
            self._let_into_account(request, by, route)

    def _let_into_account(self, request: web.Request, by: str, route: str) -> None:
        if request.match_info.get("account") != "2":
            raise Refused(404, error="Resource could not be found")
        if by == "outsider":
            raise Refused(401, error="You are not authorized to access this account")
        if not self.api_enabled and self.since(4, 16, 0):
            raise Refused(403, error="API access is not enabled for this account")
        if by == "agent" and self._for_administrators(request.method, route):
            raise Refused(401, error="You are not authorized to do this action")

    @staticmethod
    def _route(request: web.Request) -> str:
        resource = request.match_info.route.resource
        whole = resource.canonical if resource is not None else request.path
        return f"{request.method} {whole.partition('{account}/')[2]}"

    @staticmethod
    def _for_administrators(method: str, route: str) -> bool:
        noun = route.split(" ")[1].partition("/")[0]
        return noun == "webhooks" or (method != "GET" and noun in ("agent_bots", "inboxes"))

    # Who and what it is

    async def _versions(self, _: web.Request) -> web.Response:
        services = {"queue_services": "ok", "data_services": "ok"}
        answer = {"version": self.version, "timestamp": "2026-07-27 10:00:00", **services}
        return web.json_response(answer)

    async def _profile(self, request: web.Request) -> web.Response:
        by = self._whose(request)
        role = "administrator" if by == "admin" else "agent"
        account: Json = {"id": 9 if by == "outsider" else 2, "name": "Padaria", "status": "active"}
        account |= {"role": role, "permissions": [role], "api_and_webhooks": self.api_enabled}
        who = {"id": 21, "name": "Ana", "email": "ana@exemplo.com.br", "role": role, "type": None}
        token = {"access_token": request.headers["api_access_token"], "pubsub_token": new_token()}
        return web.json_response({**who, **token, "accounts": [account]})

    async def _account(self, _: web.Request) -> web.Response:
        settings = self.settings if self.since(4, 11, 0) else {}
        named = {"id": 2, "name": "Padaria Pão Quente & Cia", "locale": "pt_BR"}
        return web.json_response({**named, "settings": settings, "features": {}})

    # Conversations

    async def _show_conversation(self, request: web.Request) -> web.Response:
        id_, said = id_of(request), self.messages.get(id_of(request), [])
        last = said and said[-1] | {"message_type": TYPES.index(said[-1]["message_type"])}
        return web.json_response(
            {**self.conversations[id_], "last_non_activity_message": last or None}
        )

    async def _make_message(self, request: web.Request) -> web.Response:
        given = fields_of(request, "content", "message_type", "private", "content_attributes")
        id_, by = id_of(request), self._whose(request)
        if len(given.get("content") or "") > MAX_CONTENT_CHARS:
            text = "Content is too long (maximum is 150000 characters)"
            raise Refused(422, message=text, attributes=["content"])
        bot = self.bots.get(int(by.removeprefix("bot "))) if by.startswith("bot") else None
        kind, private = given.get("message_type", "outgoing"), given.get("private", False)
        talk = self.conversations[id_]
        said = message(talk, self.next_id(), given["content"], kind, "user", private, bot)
        await self._said(id_, said)
        shown = {name: said[name] for name in ("id", "content", "content_type", "private")}
        number, sender = TYPES.index(kind), said["sender"]
        sender = {"conversation_id": id_, "message_type": number, "sender": sender}
        return web.json_response({**shown, "inbox_id": talk["inbox_id"], **sender})

    async def _labels(self, request: web.Request) -> web.Response:
        return web.json_response({"payload": self.conversations[id_of(request)]["labels"]})

    async def _set_labels(self, request: web.Request) -> web.Response:
        talk, labels = self.conversations[id_of(request)], fields_of(request, "labels")["labels"]
        changed = [{"label_list": change(talk["labels"], labels)}]
        same, talk["labels"] = talk["labels"] == labels, labels
        if not same:  # a label makes two of these
            for _ in range(2):
                updated = {"changed_attributes": changed}
                await self.echoes.tell(talk["id"], "conversation_updated", updated)
        return web.json_response({"payload": labels})

    async def _toggle_status(self, request: web.Request) -> web.Response:
        id_, by = id_of(request), self._whose(request)
        given, talk = (
            fields_of(request, "status", "snoozed_until"),
            self.conversations[id_of(request)],
        )
        other = "resolved" if talk["status"] == "open" else "open"
        status = given.get("status", other)
        if status == "open" and talk["status"] == "pending" and by.startswith("bot"):
            await self._hand_off(id_)
        elif status == "open" and by == "agent":
            await self.human_takes(id_)
        elif status != talk["status"]:
            was, talk["status"] = talk["status"], status
            await self._status_changed(id_, [{"status": change(was, status)}])
        payload = {"success": None, "conversation_id": id_, "current_status": talk["status"]}
        return web.json_response({"meta": {}, "payload": {**payload, "snoozed_until": None}})

    async def _toggle_typing(self, request: web.Request) -> web.Response:
        wanted = fields_of(request, "typing_status", "is_private")
        self.conversations[id_of(request)]  # a KeyError is a 404
        if wanted.get("typing_status") not in ("on", "off"):
            raise Refused(422, error="param is missing or the value is empty: typing_status")
        return web.Response()

    async def _hand_off(self, id_: int) -> None:
        talk = self.conversations[id_]
        if not talk["waiting_since"]:
            talk["waiting_since"] = talk["timestamp"]
            waits = {"waiting_since": change(0, talk["waiting_since"])}
            await self.echoes.tell(id_, "conversation_updated", {"changed_attributes": [waits]})
        self.handed_off.append(id_)
        await self._open(id_, None, None)

    async def _assign(self, request: web.Request) -> web.Response:
        given = fields_of(request, "assignee_id", "team_id")
        meta, answer = self.conversations[id_of(request)]["meta"], None
        if "team_id" in given:
            answer = {"id": given["team_id"], "name": "atendimento", "icon": "", "icon_color": ""}
            meta["team"] = answer
        else:
            answer = {"id": given["assignee_id"], "name": "Mariana Araújo", "type": "user"}
            meta |= {"assignee": answer, "assignee_type": "User"}
        [(name, value)] = given.items()
        updated = {"changed_attributes": [{name: change(None, value)}]}
        await self.echoes.tell(id_of(request), "conversation_updated", updated)
        return web.json_response(answer)

    def close(self) -> None:
        """Let go of the calls that hang."""
        self._closing.set()


@asynccontextmanager
async def open_chatwoot(*, echoing: bool = False) -> AsyncIterator[FakeChatwoot]:
    """A Chatwoot on a port of its own; `echoing` posts what changes to who is set up to hear it."""
    chatwoot = FakeChatwoot()
    runner = web.AppRunner(chatwoot.app(), access_log=None, shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    chatwoot.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        if echoing:
            async with chatwoot.echoes.posting():
                yield chatwoot
        else:
            yield chatwoot
    finally:
        chatwoot.close()
        await runner.cleanup()
