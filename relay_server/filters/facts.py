"""What a webhook's body says: who wrote what to whom, and its text. Pure.

The shapes are Chatwoot's (its serializers, 4.0 to 4.18). A body that has another one, or none,
gives empty facts: nothing that a sender writes makes this fail.
"""

from __future__ import annotations

import enum
import re
import unicodedata
from itertools import islice
from typing import Any

import msgspec

from relay_chatwoot.authors import Author, author_of

SAYS_CHARS = 120  # of what was said, for a line in a list
MAX_TEXT_CHARS = 65_536  # of a body's text; what comes behind is not searched
MAX_ID_CHARS = 100  # of a number or name that a body gives to what it is about
MAX_VALUES = 20_000  # of a body, empty ones too; what comes behind is not searched

MAX_KNOWN_NAMES = 1_024  # of fields, of which it is remembered that they are no secrets
SECRET_CHARS = 16  # of a name's end that are looked at
# Fields whose values are secrets, by the end of their names. They are in no index and no search.
SECRET_FIELD = re.compile(r"(?:token|secret|password|authorization|api_?key)$", re.IGNORECASE)

_FOLDED_CHARS = 256  # at once: a run of marks is put in order in a time that grows by its square
_HARMLESS = set[str]()  # names of fields that were looked at, and are no secrets'
_MARKS = re.compile(r"[\u0300-\u036f]+")  # accents, once they stand beside their letters
_WORD = re.compile(r"\w+")
# What Latin-1 has not, and is neither a letter nor an accent: it ends a word, whatever it is.
_SYMBOLS = re.compile(r"[^\x00-\xff\w\u0300-\u036f]+")


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
        direction=_direction(body) if is_message else _direction_of_other(kind, body),
        private=body.get("private") is True or body.get("is_private") is True,
        message=_id(body) if is_message else "",
        says=_says(body) if is_message else "",
    )


def text_of(body: object) -> str:
    """A decoded body's values in one text, without secrets; what is not ASCII in it is folded.

    `fold` makes words of it. So does the index' tokenizer, which knows ASCII and nothing else. A
    value that a body repeats counts once. Values that are all ASCII come first.
    """
    values = _values(body)
    ascii_ = " ".join(filter(str.isascii, values))[:MAX_TEXT_CHARS]
    others = " ".join([value for value in values if not value.isascii()])[:MAX_TEXT_CHARS]
    return f"{ascii_} {fold(others)}" if others else ascii_


def is_secret(name: str) -> bool:
    """Whether a field's value is a secret, by its name; of harmless ones it is remembered."""
    if SECRET_FIELD.search(name[-SECRET_CHARS:]) is not None:
        return True
    if len(_HARMLESS) < MAX_KNOWN_NAMES and len(name) <= MAX_ID_CHARS:
        _HARMLESS.add(name)
    return False


def fold(text: str) -> str:
    """The words of a text in lower case and without accents, with a space between each two.

    The same text for what is looked for and what is looked through: so `nao` finds `Não`. Each
    event is indexed by this: what Latin-1 can say, which is nearly all, is folded by a table.
    """
    try:
        latin = text.encode("latin-1")
    except UnicodeEncodeError:
        try:
            latin = _SYMBOLS.sub(" ", text).encode("latin-1")
        except UnicodeEncodeError:
            return _folded(text)
    return " ".join(latin.translate(_LATIN_WORDS).decode("latin-1").split())


def _folded(text: str) -> str:
    """As `fold`, whatever the text."""
    # Piece by piece: each character comes apart by itself, and marks are left out.
    pieces = (text[at : at + _FOLDED_CHARS] for at in range(0, len(text), _FOLDED_CHARS))
    text = "".join(unicodedata.normalize("NFD", piece) for piece in pieces)
    return " ".join(_WORD.findall(_MARKS.sub("", text).lower()))


# A byte for each character: none of these becomes several, and none depends on its neighbours.
_LATIN_WORDS = bytes(ord(_folded(chr(n)) or " ") for n in range(256))


def _object(of: dict[str, Any], name: str) -> dict[str, Any]:
    found = of.get(name)
    return found if isinstance(found, dict) else {}


def _id(of: dict[str, Any]) -> str:
    return _text(of.get("id"))


def _text(value: object) -> str:
    """A number or a short text; what is longer than `MAX_ID_CHARS` names nothing."""
    text = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
    return text if len(text) <= MAX_ID_CHARS else ""


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


def _direction(body: dict[str, Any]) -> Direction:
    """Who wrote a message."""
    author = author_of(
        body.get("message_type"),
        _object(body, "sender").get("type"),
        _object(body, "content_attributes"),
        more=_object(body, "additional_attributes"),
        source_id=body.get("source_id"),
    )
    if author is Author.CUSTOMER:
        return Direction.CUSTOMER
    if author.is_person:
        return Direction.AGENT
    return Direction.BOT if author.is_bot else Direction.SYSTEM


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
    return _line(" ".join(f"[{kind}]" for kind in attachments_of(body, SAYS_CHARS)))


def attachments_of(body: dict[str, Any], limit: int) -> list[str]:
    """What the first files of a message are, such as `image`."""
    files = body.get("attachments")
    found = files[:limit] if isinstance(files, list) else []
    return [_text(file.get("file_type")) or "file" for file in found if isinstance(file, dict)]


def _values(body: object) -> dict[str, None]:
    """Strings and numbers, each once, the outer ones first.

    The list grows while it is gone through: a stranger chose how deep the body is.
    """
    found, inside = dict[str, None](), list[Any]([body])
    for value in islice(inside, 1 + MAX_VALUES):
        if (kind := type(value)) is str:
            found[value] = None
        elif kind is dict:
            inside += value.values() if _HARMLESS.issuperset(value) else _shown(value)
        elif kind is int or kind is float:
            found[repr(value)] = None
        elif kind is list:
            inside += value
    return found


def _shown(fields: dict[str, Any]) -> list[Any]:
    """The values of an object's fields, without secrets and what these hold."""
    return [v for name, v in fields.items() if name in _HARMLESS or not is_secret(name)]
