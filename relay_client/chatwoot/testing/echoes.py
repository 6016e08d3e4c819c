"""What a Chatwoot posts to the webhooks and bots that are set up in it, when something changes.

Made from the samples' bodies, so that its shape is the real one. As with the real one, an account's
webhook and an API inbox are posted to once, and an agent bot three times on 429 and 500; then the
conversation of a message is opened without anybody being told, unless the account says otherwise.
"""

from __future__ import annotations

import asyncio
import copy
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import aiohttp
from yarl import URL

from relay_chatwoot.signature import SIGNATURE, TIMESTAMP, sign
from relay_client import samples

if TYPE_CHECKING:
    from relay_client.chatwoot.testing.fake import FakeChatwoot

Json = dict[str, Any]

BOT_EVENTS = {
    *("message_created", "message_updated", "conversation_opened", "conversation_resolved"),
    *("conversation_status_changed", "conversation_updated", "webwidget_triggered"),
}
BOT_TRIES = 3
RETRY_S = 0.05  # Chatwoot waits 3 s
TIMEOUT_S = 5.0  # for an answer to a webhook of the fake Chatwoot, as with the real one


@dataclass(frozen=True, slots=True)
class Posted:
    """A webhook that was posted.

    Attributes:
        receiver: `webhook 11`, `bot 9` or `inbox 12`.
        status: Of the last answer; 0 where nobody was there.
    """

    receiver: str
    event: str
    status: int


@dataclass(frozen=True, slots=True)
class _Echo:
    receiver: str
    url: str
    secret: str | None
    conversation: int
    body: Json


class Echoes:
    """Posts them in the order they were told, one at a time.

    Attributes:
        posted: What came of each.
        timestamp: Of their signatures, in Unix seconds; None for what it is now.
    """

    def __init__(self, chatwoot: FakeChatwoot) -> None:
        self._chatwoot = chatwoot
        self._waiting: asyncio.Queue[_Echo] = asyncio.Queue()
        self._on = False
        self.posted: list[Posted] = []
        self.timestamp: int | None = None

    async def tell(self, conversation: int, event: str, more: Json | None = None) -> None:
        """Have whoever is to know it be told of something."""
        if not self._on:
            return
        body = self._body(conversation, event, more or {})
        for receiver, url, secret in self._receivers(conversation, event):
            self._waiting.put_nowait(_Echo(receiver, url, secret, conversation, body))

    async def settled(self) -> None:
        """Wait until everything that was told is posted."""
        await self._waiting.join()

    @asynccontextmanager
    async def posting(self) -> AsyncIterator[None]:
        self._on = True
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(TIMEOUT_S)) as session:
            task = asyncio.create_task(self._run(session))
            try:
                yield
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    def _body(self, conversation: int, event: str, more: Json) -> Json:
        talk = copy.deepcopy(self._chatwoot.conversations[conversation])
        if event.startswith("message_"):
            return {**more, "conversation": talk, "event": event}
        return {**talk, "event": event, **more}

    def _receivers(self, conversation: int, event: str) -> Iterator[tuple[str, str, str | None]]:
        chatwoot = self._chatwoot
        inbox = chatwoot.inboxes[chatwoot.conversations[conversation]["inbox_id"]]
        bot = chatwoot.bots.get(chatwoot.bot_of.get(inbox["id"], 0))
        if bot and bot["outgoing_url"] and event in BOT_EVENTS:
            secret = bot["secret"] if chatwoot.since(4, 13, 0) else None
            yield f"bot {bot['id']}", bot["outgoing_url"], secret
        for webhook in chatwoot.webhooks.values():
            if event in webhook["subscriptions"]:
                secret = webhook["secret"] if chatwoot.since(4, 12, 0) else None
                yield f"webhook {webhook['id']}", webhook["url"], secret
        if inbox.get("webhook_url") and event.startswith(("message_", "conversation_")):
            secret = inbox["secret"] if chatwoot.since(4, 13, 0) else None
            yield f"inbox {inbox['id']}", inbox["webhook_url"], secret

    async def _run(self, session: aiohttp.ClientSession) -> None:
        while True:
            echo = await self._waiting.get()
            try:
                status = await self._post(session, echo)
                self.posted.append(Posted(echo.receiver, echo.body["event"], status))
                if status != 200 and echo.receiver.startswith("bot"):
                    await self._bot_failed(echo)
            finally:
                self._waiting.task_done()

    async def _post(self, session: aiohttp.ClientSession, echo: _Echo) -> int:
        body = json.dumps(echo.body, ensure_ascii=False, separators=(",", ":")).encode()
        tries, status = BOT_TRIES if echo.receiver.startswith("bot") else 1, 0
        own = dict(samples.headers(delivery=bool(echo.secret)))  # a retry keeps its delivery id
        for number in range(tries):
            if number:
                await asyncio.sleep(RETRY_S)
            if echo.secret:
                when = str(round(time.time()) if self.timestamp is None else self.timestamp)
                own |= {TIMESTAMP: when, SIGNATURE: sign(echo.secret, when, body)}
            try:
                async with session.post(URL(echo.url), data=body, headers=own) as answer:
                    status = answer.status
            except (aiohttp.ClientError, TimeoutError):
                status = 0
            if status not in (429, 500):
                break
        return status

    async def _bot_failed(self, echo: _Echo) -> None:
        talk = self._chatwoot.conversations[echo.conversation]
        keeps = self._chatwoot.settings.get("keep_pending_on_bot_failure")
        of_message = echo.body["event"].startswith("message_")
        if of_message and talk["status"] == "pending" and not keeps:
            await self._chatwoot.open_without_alarm(echo.conversation)


def new_conversation(id_: int, status: str, inbox: int, owner: Json | None) -> Json:
    """A conversation in the shape of webhooks since 4.16.2, owned by a bot if one is given."""
    talk: Json = json.loads(samples.read("agent_bot_message_created"))["conversation"]
    talk |= {"id": id_, "status": status, "inbox_id": inbox, "labels": [], "waiting_since": 0}
    if owner:
        bot = {"id": owner["id"], "name": owner["name"], "avatar_url": "", "type": "agent_bot"}
        talk["meta"] |= {"assignee": bot, "assignee_type": "AgentBot"}
    return talk


def message(
    talk: Json,
    id_: int,
    content: str,
    kind: str,
    sender: str,
    private: bool = False,
    bot: Json | None = None,
) -> Json:
    """A message in the shape of webhooks, without its conversation; a bot's, if one is given."""
    sample = "message_created_private_note" if sender == "user" else "agent_bot_message_created"
    body: Json = json.loads(samples.read(sample))
    del body["event"], body["conversation"]
    body |= {"id": id_, "content": content, "message_type": kind, "private": private}
    body["inbox"]["id"] = talk["inbox_id"]
    if bot:
        body["sender"] = {"id": bot["id"], "name": bot["name"], "type": "agent_bot"}
    return body
