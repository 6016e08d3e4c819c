"""A Chatwoot conversation as people saw it, from the webhooks about it alone. Pure.

A message is one line at the time when it came; what Chatwoot says of it later (an edit, a deletion)
changes that line and keeps what it said before. Chatwoot sends a message up to three times, to
account, agent bot and inbox: by its number it is one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from relay_server.filters.document import Document
from relay_server.filters.facts import Direction, attachments_of

MAX_CONTENT_CHARS = 4_000  # of a message that is shown; the rest is in its event
MAX_ATTACHMENTS = 20  # of a message that are named
MAX_REFERENCE_CHARS = 40  # of the number of a message that one answers; Chatwoot's have up to 19
MAX_EDITS = 10  # of a message that are kept
ANSWERING = (Direction.BOT, Direction.AGENT)
SAID_BY_FACTS = ("account", "conversation", "contact", "name", "inbox")  # of a state
NEW_MESSAGE = ("message_created", "automation_event.message_created")  # of kinds


class Message(msgspec.Struct, kw_only=True):
    """What somebody said.

    Attributes:
        message: Chatwoot's number.
        direction: Who said it: `customer`, `bot`, `agent` or `system`.
        name: Of whoever said it.
        private: A note among agents.
        attachments: Their kinds, such as `image`; they are never loaded.
        was: What it said before, the oldest first.
        deleted: It was taken back.
        in_reply_to: Chatwoot's number of the message that it says it answers; empty for none.
    """

    message: str
    direction: str
    name: str
    private: bool
    content: str
    attachments: list[str] = []
    was: list[str] = []
    deleted: bool = False
    in_reply_to: str = ""

    @property
    def is_answer(self) -> bool:
        """Whether the customer got it as an answer."""
        return self.direction in ANSWERING and not self.private


class Line(msgspec.Struct, kw_only=True):
    """One event of a conversation.

    Attributes:
        event: Its id.
        message: What it brought; null where it is about something else, or about a message that
            came before.
        about: That message's number.
    """

    event: str
    sequence: int
    received_at: int
    kind: str
    message: Message | None = None
    about: str = ""


class State(msgspec.Struct, kw_only=True):
    """A conversation, as the newest of its events says it.

    Attributes:
        status: Chatwoot's: `open`, `pending`, `resolved` or `snoozed`.
        assignee: Who has it, by name.
        assigned_to: `user`, `agent_bot`, or empty for nobody.
    """

    account: str = ""
    conversation: str = ""
    contact: str = ""
    name: str = ""
    inbox: str = ""
    status: str = ""
    assignee: str = ""
    assigned_to: str = ""


class Heard(msgspec.Struct, frozen=True):
    """What one event says: read where the event is, so that bodies need not be kept."""

    line: Line
    message: Message | None
    state: State


def hear(document: Document) -> Heard:
    """Read one event of a conversation."""
    head, facts, talk = document.event.head, document.facts, _talk(document)
    line = Line(
        event=head.id,
        sequence=head.sequence,
        received_at=head.received_at,
        kind=head.kind,
        about=facts.message,
    )
    assignee = _object(_object(talk.get("meta")).get("assignee"))
    state = State(
        **{name: getattr(facts, name) for name in SAID_BY_FACTS},
        status=_text(talk.get("status")),
        assignee=_text(assignee.get("name")),
        assigned_to=_text(assignee.get("type")),
    )
    return Heard(line, _message(document) if facts.message else None, state)


def lines_of(heard: Iterable[Heard]) -> list[Line]:
    """The events of one conversation with what each brought, the oldest first."""
    said = dict[str, Message]()
    return [_line(one, said) for one in heard]


def state_of(heard: Iterable[Heard]) -> State:
    """How it stands: of each fact the newest that was heard; who has it, as the status says."""
    state = State()
    for one in heard:
        for name in SAID_BY_FACTS:
            if value := getattr(one.state, name):
                setattr(state, name, value)
        if one.state.status:  # then it said who has it, too: perhaps nobody
            state.status, state.assignee = one.state.status, one.state.assignee
            state.assigned_to = one.state.assigned_to
    return state


def unanswered_since(lines: Sequence[Line]) -> int | None:
    """When the customer said what nobody has answered yet; None where all is answered."""
    since = None
    for line in lines:
        if line.message is None:
            continue
        if line.message.is_answer:
            since = None
        elif line.message.direction == Direction.CUSTOMER and since is None:
            since = line.received_at
    return since


def _line(heard: Heard, said: dict[str, Message]) -> Line:
    """The line of an event, which the first one about a message brings it with."""
    line, message = heard.line, heard.message
    if message is None:
        return line
    if (known := said.get(message.message)) is None:
        line.message = said[message.message] = message
    elif known.content != message.content or known.deleted != message.deleted:
        known.was = [*known.was, known.content][-MAX_EDITS:]
        known.content, known.deleted = message.content, message.deleted
    return line


def _message(document: Document) -> Message:
    facts, body = document.facts, _object(document.json)
    said_beside = _object(body.get("content_attributes"))
    return Message(
        message=facts.message,
        direction=facts.direction,
        name=_text(_object(body.get("sender")).get("name")),
        private=facts.private,
        content=_text(body.get("content"))[:MAX_CONTENT_CHARS],
        attachments=attachments_of(body, MAX_ATTACHMENTS),
        deleted=said_beside.get("deleted") is True,
        in_reply_to=str(said_beside.get("in_reply_to") or "")[:MAX_REFERENCE_CHARS],
    )


def _talk(document: Document) -> dict[str, Any]:
    """The conversation as an event has it: in a part of its body, or as the body itself."""
    body = _object(document.json)
    return _object(body.get("conversation")) or (body if "meta" in body else {})


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
