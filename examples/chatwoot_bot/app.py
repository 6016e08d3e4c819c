"""The receiver: checks a webhook, finds its handler, answers when the work is done."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from aiohttp import web

from examples.chatwoot_bot.chatwoot_api import ChatwootError
from examples.chatwoot_bot.events import Bot, Event, Registry, UnreadableEvent
from examples.chatwoot_bot.memory import Memory
from examples.chatwoot_bot.text import webhook_line
from relay_chatwoot.signature import Signatures

MAX_BODY_BYTES = 26_214_400  # the most that Relay can be told to accept

log = logging.getLogger("chatwoot_bot")


@dataclass(frozen=True, slots=True)
class Receiver:
    """All that one webhook needs. `say` prints a line."""

    bot: Bot
    registry: Registry
    signatures: Signatures
    say: Callable[[str], None]
    memory: Memory = field(default_factory=Memory)

    async def receive(self, headers: Mapping[str, str], body: bytes) -> web.Response:
        """Handle one webhook and answer 200, 400, 401 or 500."""
        if reason := self.signatures.refusal(headers, body, time.time()):
            self.say(webhook_line("refused (401)", None, reason))
            return _error(401, "bad_signature", reason)
        try:
            event = Event.parse(body)
        except UnreadableEvent as exc:
            self.say(webhook_line("refused (400)", None, str(exc)))
            return _error(400, "unreadable", str(exc))
        did, response = await self._answer(event, headers)
        self.say(webhook_line(event.name, event.conversation_id, did))
        return response

    async def _answer(self, event: Event, headers: Mapping[str, str]) -> tuple[str, web.Response]:
        """Handle the event: what was done, and what Relay hears of it."""
        try:
            did = await self._handle_once(event, headers)
        except UnreadableEvent as exc:
            return f"refused (400): {exc}", _error(400, "unreadable", str(exc))
        except ChatwootError as exc:
            return f"failed (500): {exc}", _error(500, "chatwoot_failed", str(exc))
        except Exception as exc:
            log.exception("%s failed", event.name)
            reason = f"{type(exc).__name__}: {exc}"
            return f"failed (500): {reason}", _error(500, "failed", reason)
        return did, web.json_response({"did": did})

    async def _handle_once(self, event: Event, headers: Mapping[str, str]) -> str:
        event_id = headers.get("Relay-Event-Id")
        if event_id is None:  # it did not come through Relay
            return await self._handle(event)
        if _is_asked_for_anew(headers):
            self.memory.forget(event_id)
        did = await self.memory.once(event_id, lambda: self._handle(event))
        return "repeat: was handled already" if did is None else did

    async def _handle(self, event: Event) -> str:
        handler = self.registry.find(event.name)
        return await handler(event, self.bot) if handler else "no handler for this event"


RECEIVER = web.AppKey("receiver", Receiver)


def make_app(receiver: Receiver) -> web.Application:
    """The server's routes: `POST /webhook`, and any path below it."""
    app = web.Application(client_max_size=MAX_BODY_BYTES)
    app[RECEIVER] = receiver
    app.router.add_post("/webhook", _webhook)
    app.router.add_post("/webhook/{rest:.*}", _webhook)
    return app


async def _webhook(request: web.Request) -> web.Response:
    return await request.app[RECEIVER].receive(request.headers, await request.read())


def _is_asked_for_anew(headers: Mapping[str, str]) -> bool:
    """Whether a person replays this event; later attempts of that replay are repeats again."""
    return headers.get("Relay-Replay") == "1" and headers.get("Relay-Attempt", "1") == "1"


def _error(status: int, code: str, message: str) -> web.Response:
    return web.json_response({"error": {"code": code, "message": message}}, status=status)
