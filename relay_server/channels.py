"""Names, and what a body says of itself: its kind, and what it is ordered by.

A JSON pointer is followed into a body of a stranger's, so only what lies on the way is made into
objects: all of a body of 25 MiB would be 600 MiB of them, and seconds in which nobody else is
answered.
"""

from __future__ import annotations

import functools
import re
from typing import Any

import msgspec

from relay_protocol.text import harmless
from relay_protocol.values import HeaderList
from relay_server.configs import ChannelConfig, SenderKind
from relay_server.errors import InvalidValue

NAME_PATTERN = r"^[a-z0-9][a-z0-9._-]{0,62}$"
SUBSCRIPTION_PATTERN = r"^[^\s/\x00-\x1f\x7f][^/\x00-\x1f\x7f]{0,62}$"  # people's names: "João"
CANARY_PREFIX = "canary-"  # of channels and tokens that the server makes itself, for a moment
MAX_KEY_CHARS = 256  # a longer key is cut: keys that begin alike are ordered together
MAX_KIND_CHARS = 128  # a longer kind is cut

# Chatwoot bodies in which the conversation is the body itself (its serializers, 4.15).
CONVERSATION_EVENTS = ("conversation_", "automation_event.", "macro.")

MAX_INDEX = 999  # in a list; a pointer finds nothing behind it
MAX_UPDATE_BYTES = 65_536  # of a Telegram update whose kind is looked for; a larger one has none

# Where other senders name what happened: in a header,
_KIND_FIELDS = {
    SenderKind.GITHUB: b"x-github-event",
    SenderKind.GITLAB: b"x-gitlab-event",
    SenderKind.SHOPIFY: b"x-shopify-topic",
}
# or in the body, at the first of these pointers that leads to something.
_KIND_POINTERS = {
    SenderKind.META: ("/entry/0/changes/0/field", "/object"),
    SenderKind.SLACK: ("/event/type", "/type"),
    SenderKind.STANDARD_WEBHOOKS: ("/type",),
    SenderKind.STRIPE: ("/type",),
}

_NOTHING = msgspec.Raw(b"")
_INDEX = re.compile(r"0|[1-9][0-9]*")  # RFC 6901 §4
_NO_FIELD = re.compile(r'[\x00-\x1f"\\\ud800-\udfff]')  # what no field of a struct can be named


class _Account(msgspec.Struct):
    id: int | str | None = None


class _Conversation(msgspec.Struct):
    id: int | str | None = None
    account: _Account | None = None


class _ChatwootBody(msgspec.Struct):
    event: str = ""
    id: int | str | None = None
    account: _Account | None = None  # "is typing" alone has it in its conversation only
    conversation: _Conversation | None = None
    current_conversation: _Conversation | None = None  # of `webwidget_triggered`


_chatwoot = msgspec.json.Decoder(_ChatwootBody)


def check_name(name: str) -> str:
    """Return a name of something to be made; raise `InvalidValue` if it can be none."""
    if name.startswith(CANARY_PREFIX):
        raise InvalidValue(f"names that begin with {CANARY_PREFIX!r} are the server's own")
    if not is_name(name):
        raise InvalidValue(
            f"{name!r} is no name: it takes 1 to 63 of a-z, 0-9, '.', '_' and '-',"
            " beginning with a letter or digit"
        )
    return name


def is_name(text: str) -> bool:
    """Whether a channel, token or subscription that is made can be named so."""
    return re.fullmatch(NAME_PATTERN, text) is not None


def check_subscription_name(name: str, what: str = "subscription") -> str:
    """Return the name of a subscription there may be, or a pin; raise `InvalidValue` if of none.

    Subscriptions could once be named by any characters that can be seen.
    """
    if not re.fullmatch(SUBSCRIPTION_PATTERN, name):
        raise InvalidValue(f"a {what}'s name takes 1 to 63 characters, none of them '/'")
    if name in (".", ".."):
        raise InvalidValue(f"no {what} can be named {name!r}: no URL leads to it")
    if harmless(name) != name:
        raise InvalidValue(f"a {what}'s name takes characters that can be seen")
    return name


def identify(config: ChannelConfig, body: bytes, headers: HeaderList = ()) -> tuple[str, str]:
    """Find what a webhook is ordered by, and its sender's name for what happened.

    Either is empty when it does not say. Nothing that a sender writes makes this fail: a body
    that cannot be read is ordered with its whole channel.
    """
    key, kind = "", ""
    try:
        if config.sender is SenderKind.CHATWOOT:
            key, kind = _identify_chatwoot(body)
        elif (field := _KIND_FIELDS.get(config.sender)) is not None:
            named = [value for name, value in headers if name.lower() == field]
            kind = b"".join(named[-1:]).decode("latin-1")
        elif config.sender is SenderKind.TELEGRAM:
            kind = _kind_of_update(body)
        elif pointers := _KIND_POINTERS.get(config.sender):
            kind = next(filter(None, (follow(body, pointer) for pointer in pointers)), "")
        if config.key_pointer:
            key = follow(body, config.key_pointer)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return "", kind[:MAX_KIND_CHARS]
    return key[:MAX_KEY_CHARS], kind[:MAX_KIND_CHARS]


def _identify_chatwoot(body: bytes) -> tuple[str, str]:
    """Key by account and conversation, such as `2/318`: each account counts its own from 1."""
    message = _chatwoot.decode(body)
    talk = message.conversation or message.current_conversation or _Conversation()
    id_ = talk.id
    if id_ is None and message.event.startswith(CONVERSATION_EVENTS):
        id_ = message.id
    if id_ is None:
        return "", message.event
    account = message.account or talk.account or _Account()
    return str(id_) if account.id is None else f"{account.id}/{id_}", message.event


def _kind_of_update(body: bytes) -> str:
    """The field beside `update_id`, of which an update has one."""
    if len(body) > MAX_UPDATE_BYTES:
        return ""
    fields = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    return next((name for name in fields if name != "update_id"), "")


def follow(body: bytes, pointer: str) -> str:
    """Give the string or whole number that a pointer (RFC 6901) leads to; empty without one.

    Raises:
        msgspec.DecodeError, RecursionError: The body is no JSON, or too deep.
    """
    value = msgspec.Raw(body)
    for part in pointer.split("/")[1:]:
        value = _below(value, part.replace("~1", "/").replace("~0", "~"))
        if not memoryview(value).nbytes:
            return ""
    try:
        return str(msgspec.json.decode(value, type=bool | int | str))
    except msgspec.ValidationError:
        return ""


def _below(value: msgspec.Raw, step: str) -> msgspec.Raw:
    """The value one step below another; nothing where that is neither an object nor a list."""
    try:
        return _in_object(value, step)
    except msgspec.ValidationError:
        pass  # it is no object
    if not _INDEX.fullmatch(step) or int(step) > MAX_INDEX:
        return _NOTHING
    try:
        found: msgspec.Raw = getattr(_list(int(step)).decode(value), f"at_{step}")
    except msgspec.ValidationError:
        return _NOTHING
    return found


def _in_object(value: msgspec.Raw, step: str) -> msgspec.Raw:
    if _NO_FIELD.search(step):
        return msgspec.json.decode(value, type=dict[str, msgspec.Raw]).get(step, _NOTHING)
    found: msgspec.Raw = _object(step).decode(value).at
    return found


@functools.lru_cache(256)
def _object(name: str) -> msgspec.json.Decoder[Any]:
    """Reads one field of an object, and skips the others."""
    fields = [("at", msgspec.Raw, _NOTHING)]
    return msgspec.json.Decoder(msgspec.defstruct("Step", fields, rename={"at": name}))


@functools.lru_cache(16)
def _list(index: int) -> msgspec.json.Decoder[Any]:
    """Reads a list up to an index, and skips the rest."""
    fields = [(f"at_{i}", msgspec.Raw, _NOTHING) for i in range(index + 1)]
    return msgspec.json.Decoder(msgspec.defstruct("Steps", fields, array_like=True))
