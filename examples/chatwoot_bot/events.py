"""What Chatwoot sends, as the bot sees it, and the registry of who handles what."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol


class UnreadableEvent(ValueError):
    """A body that cannot be what Chatwoot sends."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """What `reply` is asked about: a customer's newest message, and where it was said.

    Attributes:
        account_id: Chatwoot's account.
        id: The number that Chatwoot shows for the conversation; unique within the account.
        status: `"open"`, `"pending"` (an agent bot has it), `"resolved"` or `"snoozed"`.
        customer: The customer's name.
        message: The text; `""` where only attachments came.
        attachments: Their URLs.
        body: The whole webhook. It carries secrets (`pubsub_token`): keep it out of logs.
    """

    account_id: int
    id: int
    status: str
    customer: str
    message: str
    attachments: tuple[str, ...] = ()
    body: Mapping[str, Any] = field(default_factory=dict, repr=False)


Reply = Callable[[Conversation], Awaitable[str | None]]
"""Finds the answer to a customer's message; None leaves it to a person."""


@dataclass(frozen=True, slots=True)
class Event:
    """A webhook's body.

    Attributes:
        name: Chatwoot's name for it, e.g. `"message_created"`.
        body: The decoded JSON; its shape depends on the name.
    """

    name: str
    body: Mapping[str, Any] = field(repr=False)

    @classmethod
    def parse(cls, raw: bytes) -> Event:
        """Read a body.

        Raises:
            UnreadableEvent: It is no JSON object.
        """
        try:
            body = json.loads(raw)
        except (ValueError, RecursionError) as exc:
            raise UnreadableEvent("the body is not JSON") from exc
        if not isinstance(body, dict):
            raise UnreadableEvent("the body is JSON, but no object")
        return cls(_text(body.get("event")) or "(no event name)", body)

    def at(self, *path: str) -> Any:
        """What stands at this path of the body, e.g. `at("conversation", "id")`, or None."""
        value: Any = self.body
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        return value

    @property
    def conversation_id(self) -> int | None:
        """The conversation this is about, if it is about one."""
        nested = _number(self.at("conversation", "id"))
        if nested is not None:
            return nested
        # only a body that is a conversation has this field at the top
        return _number(self.at("id")) if "can_reply" in self.body else None

    @property
    def person(self) -> str:
        """The name of who did it or whom it is about."""
        places = (("sender", "name"), ("meta", "sender", "name"), ("user", "name"), ("name",))
        return next((name for place in places if (name := _text(self.at(*place)))), "someone")

    @property
    def not_from_customer(self) -> str | None:
        """What kind of message this is, unless a customer wrote it."""
        if self.at("private"):
            return "a private note"
        if self.at("sender", "type") == "agent_bot":
            return "written by an agent bot"
        kind = self.at("message_type")
        return None if kind == "incoming" else f"message of type {kind}"

    def conversation(self) -> Conversation:
        """What a message says and where.

        Raises:
            UnreadableEvent: Account or conversation are missing.
        """
        account_id, conversation_id = _number(self.at("account", "id")), self.conversation_id
        if account_id is None or conversation_id is None:
            raise UnreadableEvent(f"{self.name} names no account or no conversation")
        return Conversation(
            account_id=account_id,
            id=conversation_id,
            status=_text(self.at("conversation", "status")),
            customer=self.person,
            message=_text(self.at("content")),
            attachments=self._attachments(),
            body=self.body,
        )

    def _attachments(self) -> tuple[str, ...]:
        listed = self.at("attachments") or ()  # absent when there are none
        return tuple(_text(each.get("data_url")) for each in listed if isinstance(each, dict))


class Sender(Protocol):
    """Brings an answer to the customer."""

    async def send(self, conversation: Conversation, text: str) -> str:
        """Send it; once this returns, it was sent. Returns what was done, for the terminal."""


@dataclass(frozen=True, slots=True)
class Bot:
    """What handlers work with."""

    reply: Reply
    sender: Sender


Handler = Callable[[Event, Bot], Awaitable[str]]
"""Does what an event asks for and returns what it did, for the terminal."""


class Registry:
    """Who handles which event."""

    def __init__(self) -> None:
        self._handlers: dict[str, Handler] = {}

    def on(self, *names: str) -> Callable[[Handler], Handler]:
        """Register a handler: `@on("contact_created", "contact_updated")`."""

        def register(handler: Handler) -> Handler:
            for name in names:
                if name in self._handlers:
                    raise ValueError(f"{name} has a handler already")
                self._handlers[name] = handler
            return handler

        return register

    def find(self, name: str) -> Handler | None:
        """The handler of this event, or None."""
        return self._handlers.get(name)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _number(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
