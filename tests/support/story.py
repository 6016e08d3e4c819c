"""A relay on which everything has happened that pages show: each state, mark, error and list."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.chatwoot import NAMES, fixture
from tests.support.relay import Relay, open_relay
from tests.support.senders import request
from tests.support.target import OK, Answering, Arrival, Target, open_target
from tests.support.waiting import until

CONVERSATION = "/conversations/chatwoot/2/318"
REFUSED = b"HTTP/1.1 404 Not Found\r\nContent-Length: 24\r\n\r\nno contact 1187 is known"
BROKEN = b"HTTP/1.1 500 Broken\r\nContent-Length: 34\r\n\r\nTypeError: None is no conversation"
UNKNOWN = "evt_019bdeaa-0000-7000-8000-000000000000"


@dataclass(frozen=True, slots=True)
class Story:
    """What happened, and to whom.

    Attributes:
        relay: Where.
        admin: A token with every right.
        ids: Events by what they are: each kind's first, and `edited`, `text`, `bytes`, `failed`.
    """

    relay: Relay
    admin: str
    ids: dict[str, str]

    def pages(self) -> dict[str, str]:
        """The path of each page, by a name of its own."""
        message, failed = self.ids["message_created_incoming"], self.ids["failed"]
        return {
            **EMPTY_PAGES,
            "conversation": f"{CONVERSATION}?subscription=ana&why=1",
            "event": f"/events/{message}",
            "event-failed": f"/events/{failed}",
            "event-edited": f"/events/{self.ids['edited']}",
            "event-headers": f"/events/{message}?view=headers",
            "event-raw": f"/events/{self.ids['text']}",
            "event-bytes": f"/events/{self.ids['bytes']}",
            "edit": f"/events/{message}/edit",
            "script": f"/events/{message}/as/curl",
            "attempts": f"/events/{message}/attempts",
            "compare": f"/compare?a=previous&b={failed}",
        }


# Those that there are where nothing has come yet.
EMPTY_PAGES = {
    "overview": "/",
    "list": "/channels/chatwoot",
    "list-filtered": "/channels/chatwoot?q=kind%3Anone",
    "list-problem": "/channels/chatwoot?q=is%3Afaild",
    "conversations": "/channels/chatwoot/conversations",
    "search": "/search?q=bolo",
    "subscriptions": "/subscriptions",
    "dead": "/dead",
    "refused": "/refused",
    "setup": "/setup",
    "styleguide": "/styleguide",
    "keys": "/keys",
    "unknown": f"/events/{UNKNOWN}",
}


@asynccontextmanager
async def told(folder: Path) -> AsyncIterator[Story]:
    """A relay where it has happened."""
    async with AsyncExitStack() as stack:
        bot, service = [await stack.enter_async_context(open_target()) for _ in range(2)]
        relay = await stack.enter_async_context(open_relay(folder, forward_allow="127.0.0.1"))
        yield await _tell(relay, bot, service)


async def _tell(relay: Relay, bot: Target, service: Target) -> Story:
    admin = await relay.make_token("boss", "admin")
    ana, bia = [await relay.make_token(name, "subscribe", "chatwoot") for name in ("ana", "bia")]
    bot.answer = _fails(b"CNPJ", BROKEN)
    service.answer = _fails(b'"event":"contact_updated"', REFUSED)
    await _leave_paused(relay, bia)
    production = {"name": "production", "url": f"http://{service.address}/webhook"}
    production |= {"channel": "chatwoot", "filter": "-kind:conversation_typing_*"}
    await relay.control("POST", "forwards", production)
    once = {"policy": {"other_tries": 1}}
    await relay.control("PATCH", "channels/chatwoot/subscriptions/production", once)
    client = await relay.connect(ana, "--to", bot.address)

    # What fails comes last: it holds its conversation.
    names = sorted(NAMES, key="message_created_private_note".__eq__)
    ids = {name: await _send(relay, fixture(name)) for name in names}
    ids["failed"] = ids[names[-1]]
    await until(lambda: bot.seen >= set(ids.values()))
    message = ids["message_created_incoming"]
    ids["edited"] = (await relay.control("POST", "events", _edit(message)))["id"]
    await relay.control("PUT", f"pins/{message}", {"name": "João asks for a cake"})
    again = {"selection": {"events": [message]}, "subscription": "ana"}
    await relay.control("POST", "replays", again)
    await until(lambda: bot.event_ids.count(message) > 1)
    client.terminate()
    await client.exit_status()

    ids["text"] = await _send(relay, b'{"event": "message_created",\n  "content": oops}')
    ids["bytes"] = await _send(relay, bytes(range(256)))
    await relay.send(request("/webhook", b"{}", token="rly_wrong"))
    await relay.control("POST", "invitations", {"name": "caio", "channels": ["chatwoot"]})
    return Story(relay, admin, ids)


async def _leave_paused(relay: Relay, token: str) -> None:
    """Bia's subscription, which nobody reads."""
    client = await relay.connect(token, "--to", "127.0.0.1:1")
    client.terminate()
    await client.exit_status()
    await relay.control("POST", "channels/chatwoot/subscriptions/bia/pause")


def _fails(words: bytes, raw: bytes) -> Answering:
    """Answers 200, but to what holds some words."""

    async def answered(arrival: Arrival) -> bytes:
        return raw if words in arrival.body else OK

    return answered


async def _send(relay: Relay, body: bytes) -> str:
    answer = await relay.send(request("/webhook", body, token=relay.send_token))
    assert answer.status == 200, answer
    return str(answer.json["id"])


def _edit(event: str) -> dict[str, str]:
    body = json.loads(fixture("message_created_incoming"))
    body["content"] = "alguém?"
    raw = json.dumps(body, ensure_ascii=False).encode()
    return {
        "subscription": "ana",
        "based_on": event,
        "body_base64": base64.b64encode(raw).decode(),
    }
