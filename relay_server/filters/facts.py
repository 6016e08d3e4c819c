"""What a webhook's body says: who wrote what to whom, and its text. Pure.

The shapes are Chatwoot's (its serializers, 4.0 to 4.18). A body that has another one, or none,
gives empty facts: nothing that a sender writes makes this fail.
"""

from __future__ import annotations

import enum
import re
import unicodedata
from collections.abc import Iterator
from itertools import islice, repeat
from typing import Any

import msgspec

SAYS_CHARS = 120  # of what was said, for a line in a list
MAX_TEXT_CHARS = 65_536  # of a body's text; what comes behind is not searched
MAX_VALUES = 20_000  # of a body; what comes behind is not searched

# Fields whose values are secrets, by the end of their names. They are in no index and no search.
SECRET_FIELD = re.compile(r"(?:token|secret|password|authorization|api_?key)$", re.IGNORECASE)

_MARKS = re.compile(r"[\u0300-\u036f]+")  # accents, once they stand beside their letters
_WORD = re.compile(r"\w+")


class Direction(enum.StrEnum):
    """Who is behind an event."""

    CUSTOMER = "customer"
    BOT = "bot"
    AGENT = "agent"
    SYSTEM = "system"


class Facts(msgspec.Struct, frozen=True):
    """What lists show of an event, and filters ask. What a body does not say is empty.

    Attributes:
        kind: The sender's name for what happened, such as `message_created`.
        account: Chatwoot's account, by number.
        conversation: By the number that Chatwoot shows; of other senders the order key.
        inbox: By number.
        contact: By number.
        name: The contact's.
        direction: A `Direction`, or empty.
        private: A note among agents, which the customer does not see.
        message: By number; the same in each webhook about one message.
        says: The first characters of what was said, in one line.
    """

    kind: str = ""
    account: str = ""
    conversation: str = ""
    inbox: str = ""
    contact: str = ""
    name: str = ""
    direction: str = ""
    private: bool = False
    message: str = ""
    says: str = ""


def facts_of(kind: str, key: str, body: object) -> Facts:
    """Read an event's facts.

    Args:
        kind: The event's; empty unless its channel is a Chatwoot's.
        key: The event's.
        body: Decoded from JSON; anything else has no facts.
    """
    if not kind or not isinstance(body, dict):
        return Facts(kind=kind, conversation=key)
    about_message = kind.removeprefix("automation_event.").startswith("message_")
    talk = _object(body, "conversation") or _object(body, "current_conversation")
    if not talk and kind.startswith(("conversation_", "automation_event.", "macro.")):
        talk = body
    contact = _contact(kind, body, talk)
    account = _object(body, "account") or _object(talk, "account")
    is_message = about_message and "message_type" in body
    inbox = body if kind.startswith("inbox_") else _object(body, "inbox")
    return Facts(
        kind=kind,
        account=_id(account),
        conversation=_id(talk),
        inbox=_id(inbox) or _text(talk.get("inbox_id")),
        contact=_id(contact),
        name=_line(contact.get("name")),
        direction=_direction(kind, body) if is_message else _direction_of_other(kind, body),
        private=body.get("private") is True or body.get("is_private") is True,
        message=_id(body) if is_message else "",
        says=_says(body) if is_message else "",
    )


def texts_of(body: object) -> str:
    """The values of a decoded body, one behind the other, without secrets."""
    text = " ".join(islice(_values(body), MAX_VALUES))
    return text[:MAX_TEXT_CHARS]


def fold(text: str) -> str:
    """The words of a text in lower case and without accents, with a space between each two.

    The same text for what is looked for and what is looked through: so `nao` finds `Não`.
    """
    if not text.isascii():
        text = _MARKS.sub("", unicodedata.normalize("NFD", text))
    return " ".join(_WORD.findall(text.lower()))


def _object(of: dict[str, Any], name: str) -> dict[str, Any]:
    found = of.get(name)
    return found if isinstance(found, dict) else {}


def _id(of: dict[str, Any]) -> str:
    return _text(of.get("id"))


def _text(value: object) -> str:
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""


def _line(value: object) -> str:
    """The beginning of a text, without line breaks; a long one ends in an ellipsis."""
    if not isinstance(value, str):
        return ""
    line = " ".join(value[: 4 * SAYS_CHARS].split())
    return line if len(line) <= SAYS_CHARS else f"{line[: SAYS_CHARS - 1]}…"


def _contact(kind: str, body: dict[str, Any], talk: dict[str, Any]) -> dict[str, Any]:
    if kind.startswith("contact_"):
        return body
    return _object(body, "contact") or _object(_object(talk, "meta"), "sender")


def _direction(kind: str, body: dict[str, Any]) -> Direction:
    """Who wrote a message."""
    attributes, sender = _object(body, "content_attributes"), _object(body, "sender")
    match body.get("message_type"), sender.get("type"):
        case "incoming" | 0, _:
            return Direction.CUSTOMER
        case "outgoing" | 1, "user":
            return Direction.AGENT
        case "outgoing" | 1, "agent_bot" | "captain_assistant":
            return Direction.BOT
        case "outgoing" | 1, _ if "external_echo" in attributes or (
            "external_sender_name" in attributes
        ):
            return Direction.AGENT  # on the phone, past Chatwoot
        case _:
            return Direction.SYSTEM  # templates, activities, automation rules


def _direction_of_other(kind: str, body: dict[str, Any]) -> str:
    """Who is behind what is no message: someone who types, or looks at a page."""
    if kind == "webwidget_triggered":
        return Direction.CUSTOMER
    if kind.startswith("conversation_typing_"):
        by_agent = _object(body, "user").get("type") == "user"
        return Direction.AGENT if by_agent else Direction.CUSTOMER
    return Direction.SYSTEM


def _says(body: dict[str, Any]) -> str:
    """What a message says, or which files it has."""
    if line := _line(body.get("content")):
        return line
    files = body.get("attachments")
    found = [f for f in files if isinstance(f, dict)] if isinstance(files, list) else []
    return _line(" ".join(f"[{_text(f.get('file_type')) or 'file'}]" for f in found))


def _values(body: object) -> Iterator[str]:
    """Strings and numbers, in the order of the body. A stack: a stranger chose how deep it is."""
    stack: list[Iterator[tuple[str, object]]] = [iter([("", body)])]
    while stack:
        for name, value in stack[-1]:
            if isinstance(value, dict):
                stack.append(iter(value.items()))
                break
            if isinstance(value, list):
                stack.append(zip(repeat(name), value))
                break
            if (text := _value(value)) and not SECRET_FIELD.search(name):
                yield text
        else:
            stack.pop()


def _value(value: object) -> str:
    return repr(value) if isinstance(value, float) else _text(value)
