"""Conversations in a Chatwoot of this process, for code on virtual time: no socket, no thread."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from relay_chatwoot import resources
from relay_chatwoot.errors import ChatwootUnreachable
from tests.unit.client.chatwoot.fixtures import body_of, changed

BEGAN_AT = 1_783_000_800.0  # when virtual time does, in Unix seconds
MARIANA = {"id": 5, "name": "Mariana Araújo", "type": "user"}
ROBOT = {"id": 9, "name": "Robô Pão", "type": "agent_bot"}


def unix_time() -> float:
    """Of the loop that runs."""
    return BEGAN_AT + asyncio.get_running_loop().time()


@dataclass
class Chat:
    """A conversation, what is posted of it, and how often Chatwoot fails though it wrote."""

    number: int = 318
    failing: int = 0
    status: str = "pending"
    labels: tuple[str, ...] = ()
    said: list[resources.LastMessage] = field(default_factory=list)
    outbox: list[bytes] = field(default_factory=list)  # each is posted until it is answered 200
    to_come: int = 0

    def customer_says(self, content: str) -> None:
        """Their words; what was to come is less by one."""
        self.to_come -= self.to_come > 0
        self._say(content, None)

    def bot_says(self, content: str, *, private: bool) -> int:
        """Chatwoot posts a bot's own words to it, too."""
        return self._say(content, ROBOT, private=private)

    def human_says(self, content: str) -> None:
        """Somebody of the team answers; Chatwoot leaves the status as it is."""
        self._say(content, MARIANA)

    def ends_and_begins_again(self) -> None:
        """It is resolved, and it is the bot's turn again, as once the customer writes."""
        body = json.loads(body_of("agent_bot_conversation_status_changed"))
        body["meta"] |= {"assignee": None, "assignee_type": None}
        for self.status in ("resolved", "pending"):
            self.outbox.append(json.dumps(body | self._talk).encode())

    @property
    def _talk(self) -> dict[str, Any]:
        return {"id": self.number, "status": self.status}

    def _say(self, content: str, sender: dict[str, Any] | None, *, private: bool = False) -> int:
        id_ = self.number * 1_000 + len(self.said)
        by = resources.Sender(sender["id"], sender["type"]) if sender else None
        kind = 1 if sender else 0
        self.said.append(
            resources.LastMessage(id_, content, by, message_type=kind, private=private)
        )
        fields: dict[str, Any] = {"id": id_, "content": content, "private": private}
        if sender:
            fields |= {"message_type": "outgoing", "sender": sender}
        self.outbox.append(changed("agent_bot_message_created", self._talk, **fields))
        return id_

    @property
    def answers(self) -> list[str]:
        """What the customer got."""
        own = (one for one in self.said if one.sender and one.sender.type == "agent_bot")
        return [one.content or "" for one in own if not one.private]

    @property
    def heard(self) -> bool:
        """True once all was said, and posted."""
        return not self.to_come and not self.outbox

    @property
    def notes(self) -> int:
        """How many the team got."""
        return sum(one.private for one in self.said)


class Desk:
    """Chatwoot's API for some conversations.

    Args:
        step: Called before and after each call does what it is to do.
    """

    def __init__(self, chats: Mapping[int, Chat], step: Callable[[], None] = lambda: None) -> None:
        self._chats = chats
        self._step = step

    async def conversation(self, id_: int) -> resources.Conversation:
        await self._on_the_way()
        chat = self._chats[id_]
        found = resources.Conversation(id_, chat.status, last_non_activity_message=chat.said[-1])
        await self._on_the_way()
        return found

    async def write(self, id_: int, content: str, *, private: bool) -> resources.Message:
        await self._on_the_way()
        chat = self._chats[id_]
        written = chat.bot_says(content, private=private)
        await self._on_the_way()
        if chat.failing:
            chat.failing -= 1
            raise ChatwootUnreachable("chat", "POST messages", "it says 502")
        return resources.Message(written)

    async def labels(self, id_: int) -> tuple[str, ...]:
        await self._on_the_way()
        return self._chats[id_].labels

    async def set_labels(self, id_: int, labels: list[str]) -> tuple[str, ...]:
        await self._on_the_way()
        self._chats[id_].labels = tuple(labels)
        await self._on_the_way()
        return self._chats[id_].labels

    async def set_status(self, id_: int, status: str) -> str:
        await self._on_the_way()
        self._chats[id_].status = status
        await self._on_the_way()
        return status

    async def assign(self, id_: int, *, team: int | None = None, user: int | None = None) -> None:
        await self._on_the_way()

    async def typing(self, id_: int, on: bool) -> None:
        await self._on_the_way()

    async def _on_the_way(self) -> None:
        await asyncio.sleep(0.1)
        self._step()
