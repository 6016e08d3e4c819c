"""Chatwoot's webhooks as the index meets them, and texts that are hard to find."""

from __future__ import annotations

import json

from relay_protocol.values import EventHead
from relay_server.values import Event, NewEvent
from tests.support.clock import START_MS
from tests.support.events import new_event, request

# Portuguese, and what a query language, a tokenizer or a case folding might trip over.
HARD_TEXTS = (
    "Não chegou o pedido 318, João!",
    "nao chegou",
    "NÃO CHEGOU",
    "coração de açúcar à mão 🎂👋🏽",
    "Cora\u0327a\u0303o a\u0301",
    "İstanbul \u0131I ß ẞ ﬁ Ω Ω",
    "a_b __ NEAR(a b) OR AND NOT * ^ {x} -y : z",
    "\"aspas\" 'e' \\ %_ \x00 \u2028",
    "maria@exemplo.com.br +55 11 98765-4321",
    "٣ ① ² Ⅷ 漢字かな 한글 नमस्ते",
    "x" * 9_000,
)

# What nobody should type into a search, and somebody does.
HARD_QUESTIONS = (
    *HARD_TEXTS,
    '"',
    "*",
    "NEAR(",
    "OR",
    "-",
    "kind:",
    "is:faild",
    "😀",
    "a" * 1_900,
)


def body_of(says: str, *, talk: int = 7, name: str = "João Gonçalves", **more: object) -> bytes:
    """A customer's message, or what `more` makes of it."""
    sender = {"id": 40 + talk, "name": name, "type": "contact"}
    message = {
        "event": "message_created",
        "id": 9,
        "content": says,
        "message_type": "incoming",
        "sender": sender,
        "account": {"id": 2},
        "inbox": {"id": 3},
        "conversation": {"id": talk, "meta": {"sender": sender}},
    }
    return json.dumps(message | more, ensure_ascii=False).encode()


def message(says: str, *, talk: int = 7, received_at: int = START_MS) -> NewEvent:
    """A message that is to be stored."""
    return new_event(body_of(says, talk=talk), key=f"2/{talk}", received_at=received_at)


def stored(
    sequence: int, body: bytes, *, kind: str = "message_created", key: str = "2/7", at: int = 0
) -> Event:
    """An event as the store gives it."""
    id_ = f"evt_{sequence:012d}"
    return Event(1, EventHead(id_, sequence, START_MS + at, key, kind, request()), body)
