"""Webhooks of every shape that Chatwoot sends, as the samples and the fixtures have them."""

from __future__ import annotations

import json
from typing import Any

from relay_client.chatwoot.testing import shapes

FILES = shapes()


def body_of(name: str) -> bytes:
    """As it came."""
    return FILES[name]


def given_to(bot: int | None, **fields: Any) -> bytes:
    """A pending conversation is given to a bot, after its customer wrote the message 90412."""
    body: dict[str, Any] = json.loads(body_of("agent_bot_conversation_updated"))
    given = {"assignee_agent_bot_id": {"previous_value": None, "current_value": bot}}
    body |= {"status": "pending", "changed_attributes": [given]} | fields
    return json.dumps(body).encode()


def changed(name: str, talk: dict[str, Any] | None = None, **fields: Any) -> bytes:
    """One of a pending conversation that nobody has, with other fields.

    Args:
        name: Of a message's.
        talk: Fields of its conversation.
        fields: Of the message.
    """
    body: dict[str, Any] = json.loads(body_of(name))
    body |= fields
    body["conversation"] |= {"status": "pending"} | (talk or {})
    if not talk or "meta" not in talk:
        body["conversation"]["meta"] |= {"assignee": None, "assignee_type": None}
    return json.dumps(body).encode()
