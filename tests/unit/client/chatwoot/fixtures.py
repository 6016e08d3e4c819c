"""Webhooks of every shape that Chatwoot sends, as the samples and the fixtures have them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.support.chatwoot import FOLDER as SAMPLES

FIXTURES = Path(__file__).parents[3] / "fixtures" / "chatwoot"
FILES = {
    file.stem: file
    for folder in (SAMPLES, FIXTURES)
    for file in sorted(folder.glob("*.json"))
    if file.stem != "index"
}


def body_of(name: str) -> bytes:
    """As it came."""
    return FILES[name].read_bytes()


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
