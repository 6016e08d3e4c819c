"""A conversation as people saw it, from the webhooks about it alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import msgspec

from relay_protocol.values import EventHead
from relay_server.bodies.talk import (
    MAX_EDITS,
    Heard,
    Line,
    hear,
    lines_of,
    state_of,
    unanswered_since,
)
from relay_server.filters.document import Document
from relay_server.values import Event
from tests.support.chatwoot import fixture
from tests.support.events import event_head

CUSTOMER = "message_created_incoming"
AGENT = "message_created_outgoing_api_inbox"


def talk(*told: tuple[str, dict[str, Any]]) -> list[Heard]:
    """Webhooks of one conversation, a second apart: each a fixture, and what is other in it."""
    heard = []
    for number, (name, changes) in enumerate(told, 1):
        body = json.loads(fixture(name)) | changes
        head: EventHead = msgspec.structs.replace(
            event_head(number, "2/318"), kind=body["event"], received_at=1_000 * number
        )
        heard.append(hear(Document(Event(1, head, json.dumps(body).encode()))))
    return heard


def said(lines: Sequence[Line]) -> list[tuple[str, str]]:
    return [(line.message.direction, line.message.content) for line in lines if line.message]


def test_messages_in_their_order() -> None:
    lines = lines_of(
        talk(
            ("conversation_created", {}),
            (CUSTOMER, {"content": "oi", "id": 1}),
            (AGENT, {"content": "olá", "id": 2}),
        )
    )
    assert lines[0].kind == "conversation_created"
    assert said(lines) == [("customer", "oi"), ("agent", "olá")]
    assert lines[1].message is not None
    assert lines[1].message.name.startswith("João")


def test_a_message_that_chatwoot_sends_three_times_is_one() -> None:
    lines = lines_of(talk(*[(CUSTOMER, {"id": 1})] * 3))
    assert len(said(lines)) == 1
    assert [line.about for line in lines] == ["1"] * 3


def test_an_edited_and_a_deleted_message_keep_what_they_said() -> None:
    updated = {"event": "message_updated", "id": 1}
    deleted = {"content": "apagada", "content_attributes": {"deleted": True}}
    first, *rest = lines_of(
        talk(
            (CUSTOMER, {"content": "a", "id": 1}),
            (CUSTOMER, {**updated, "content": "b"}),
            (CUSTOMER, {**updated, "content": "b"}),
            (CUSTOMER, {**updated, **deleted}),
        )
    )
    assert first.message is not None
    assert (first.message.content, first.message.was) == ("apagada", ["a", "b"])
    assert first.message.deleted
    assert not any(line.message for line in rest)


def test_edits_are_bounded() -> None:
    updated = {"event": "message_updated", "id": 1}
    updates = [(CUSTOMER, {**updated, "content": str(n)}) for n in range(30)]
    [message] = [line.message for line in lines_of(talk(*updates)) if line.message]
    assert message.was == [str(n) for n in range(29 - MAX_EDITS, 29)]


def test_attachments_are_named() -> None:
    [line] = lines_of(talk(("message_created_incoming_attachments", {})))
    assert line.message is not None
    assert (line.message.content, line.message.attachments) == ("", ["image", "audio"])


def test_who_waits_since_when() -> None:
    note = ("message_created_private_note", {"id": 9})
    customer, agent = (CUSTOMER, {"id": 1}), (AGENT, {"id": 3})
    template = ("message_created_template", {"id": 4})
    for told, since in [
        ([], None),
        ([customer], 1_000),
        ([customer, (CUSTOMER, {"id": 2})], 1_000),
        ([customer, note, template], 1_000),  # neither is an answer
        ([customer, agent], None),
        ([customer, agent, (CUSTOMER, {"id": 5})], 3_000),
    ]:
        assert unanswered_since(lines_of(talk(*told))) == since


def test_how_it_stands() -> None:
    state = state_of(
        talk((CUSTOMER, {}), ("conversation_updated", {}), ("conversation_status_changed", {}))
    )
    assert (state.account, state.conversation, state.inbox, state.contact) == (
        *("2", "318", "4", "1187"),
    )
    assert (state.status, state.assigned_to) == ("resolved", "user")
    assert state.assignee


def test_bodies_that_say_nothing() -> None:
    head = msgspec.structs.replace(event_head(1, "2/318"), kind="message_created")
    bodies = (b"", b"[]", b'{"message_type": []}')
    heard = [hear(Document(Event(1, head, body))) for body in bodies]
    assert said(lines_of(heard)) == []
    assert state_of(heard).status == ""
