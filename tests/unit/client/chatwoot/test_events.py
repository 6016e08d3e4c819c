"""Webhooks are read whatever version sent them, and nothing that is written breaks the reader."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay_client.chatwoot.events import (
    ContactEvent,
    ConversationEvent,
    Event,
    Key,
    MessageEvent,
    TypingEvent,
    UnreadableEvent,
    WidgetEvent,
    parse,
)
from tests.unit.client.chatwoot.fixtures import FILES, body_of, changed

CLASSES: dict[str, type[Event]] = {
    "message": MessageEvent,
    "conversation_typing": TypingEvent,
    "agent_bot_message": MessageEvent,
    **dict.fromkeys(("conversation", "agent_bot", "automation", "macro"), ConversationEvent),
    "contact": ContactEvent,
    "webwidget": WidgetEvent,
    **dict.fromkeys(("inbox", "installation"), Event),
}
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.text(max_size=5), inside),
    max_leaves=5,
)
JSON = PLAIN | st.floats()


@pytest.mark.parametrize("name", FILES)
def test_every_shape_has_its_class_and_its_conversation(name: str) -> None:
    body = json.loads(body_of(name))
    event = parse(body_of(name))

    expected = next(
        kind for start, kind in sorted(CLASSES.items(), reverse=True) if name.startswith(start)
    )
    assert type(event) is expected
    assert event.kind == body["event"]
    talk = body if "can_reply" in body else body.get("conversation")
    assert event.key == (Key(2, talk["id"]) if talk else None)


@pytest.mark.parametrize("name", FILES)
def test_what_is_printed_of_it_are_ids_alone(name: str) -> None:
    """Bodies hold secrets, names and what customers wrote."""
    body = json.loads(body_of(name))
    said = [value for value in _texts(body) if len(value) > 12 and value != body["event"]]
    shown = f"{parse(body_of(name))!r} {parse(body_of(name))}"
    assert [value for value in said if value in shown] == []


def test_a_message_says_who_and_what() -> None:
    event = parse(body_of("message_created_incoming_attachments"))
    assert isinstance(event, MessageEvent)

    assert (event.message.id, event.message.content, event.message.message_type) == (
        *(90440, "", "incoming"),
    )
    assert [file.file_type for file in event.message.attachments] == ["image", "audio"]
    customer = event.conversation.meta.sender
    assert customer is not None
    assert customer.phone_number == "+5521912345678"
    [newest] = event.conversation.messages
    assert newest.message_type == "incoming"  # which it has as the number 0


def test_changes_are_told_by_name() -> None:
    event = parse(body_of("agent_bot_conversation_updated"))
    assert isinstance(event, ConversationEvent)
    assert event.changes["status"] == ("pending", "open")
    silent = parse(body_of("agent_bot_conversation_status_changed"))
    assert isinstance(silent, ConversationEvent)
    assert silent.changes == {}


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "it is not JSON"),
        (b'{"event": "message_created"', "it is not JSON"),
        (b"[" * 100_000, "it is not JSON"),
        (b'{"event": "x", "n": ' + b"9" * 5_000_000 + b"}", "it is not JSON"),
        (b"\xff\xfe", "it is not JSON"),
        (b'["event"]', "it names no event"),
        (b'{"event": 5}', "it names no event"),
        (b'{"event": "message_created"}', "message_created: account: "),
        (changed("message_created_incoming", id="secret"), "message_created: message.id: "),
        (changed("message_created_incoming", id=2**63), "message_created: message.id: "),
        (changed("message_created_incoming", private="?"), "message_created: message.private: "),
        (
            changed("message_created_incoming", {"status": 1}),
            "message_created: conversation.status",
        ),
    ],
    ids=range(12),
)
def test_what_is_no_webhook_is_refused_and_not_shown(body: bytes, why: str) -> None:
    with pytest.raises(UnreadableEvent) as raised:
        parse(body)
    assert str(raised.value).startswith(f"the body is no webhook of Chatwoot's: {why}")
    assert not any(words in str(raised.value) for words in ("secret", "Input should", "parse "))


@given(st.binary(max_size=200) | JSON.map(lambda one: json.dumps(one).encode()))
def test_any_bytes_are_read_or_unreadable(body: bytes) -> None:
    with suppress(UnreadableEvent):
        assert isinstance(parse(body), Event)


@given(st.sampled_from(sorted(FILES)), st.randoms(use_true_random=False), JSON)
def test_a_shape_with_anything_in_a_place_of_it_is_read_or_unreadable(
    name: str, random: Any, value: object
) -> None:
    body = json.loads(body_of(name))
    holder, key = random.choice([*_places(body)])
    holder[key] = value
    with suppress(UnreadableEvent):
        event = parse(json.dumps(body).encode())
        assert repr(event)
        if isinstance(event, MessageEvent):
            assert event.message.author(9)


@given(st.sampled_from(sorted(FILES)), PLAIN)
def test_fields_that_a_later_version_adds_are_kept(name: str, value: object) -> None:
    body = json.loads(body_of(name))
    body["brand_new"] = value
    if talk := body.get("conversation"):
        talk["brand_new"] = value
    event = parse(json.dumps(body).encode())

    whole = [getattr(event, part, None) for part in ("message", "contact", "conversation")]
    kept = [one.extra.get("brand_new", ...) for one in (*whole, event) if one is not None]
    assert kept.count(value) == 1 + bool(talk)


def _places(body: Any) -> Iterator[tuple[Any, Any]]:
    """Every object and list of a body, with the name or number of each thing in it."""
    for key in body if isinstance(body, dict) else range(len(body)):
        yield body, key
        if isinstance(body[key], dict | list):
            yield from _places(body[key])


def _texts(body: Any) -> Iterator[str]:
    for holder, key in _places(body):
        if isinstance(holder[key], str):
            yield holder[key]
