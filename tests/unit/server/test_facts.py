"""What a webhook's body says: who wrote what to whom, and its text."""

from __future__ import annotations

import json
import re
import time
import unicodedata
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay_server.filters.facts import (
    MAX_TEXT_CHARS,
    MAX_VALUES,
    SAYS_CHARS,
    Facts,
    facts_of,
    fold,
    text_of,
)
from tests.support.chatwoot import fixture

JOAO = "João Gonçalves da Conceição"

jsons = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def of(name: str, **changes: object) -> Facts:
    body = json.loads(fixture(name)) | changes
    return facts_of(body["event"], "2/318", body)


def test_a_message() -> None:
    facts = of("message_created_incoming")
    assert facts.name.startswith("João Gonçalves")
    assert msgspec.structs.replace(facts, name="") == Facts(
        kind="message_created",
        account="2",
        conversation="318",
        inbox="4",
        contact="1187",
        direction="customer",
        message="90412",
        says=facts.says,
    )
    assert facts.says.startswith("Olá, bom dia! 😀")


@pytest.mark.parametrize(
    ("name", "changes", "direction"),
    [
        ("message_created_outgoing_api_inbox", {}, "agent"),
        ("message_created_template", {}, "system"),
        ("message_updated", {}, "bot"),
        ("message_created_outgoing_api_inbox", {"sender": {"type": "captain_assistant"}}, "bot"),
        (
            "message_created_template",
            {"message_type": "outgoing", "content_attributes": {"external_echo": True}},
            "agent",  # from the phone
        ),
        (
            "message_created_template",
            {"message_type": "outgoing", "content_attributes": {"automation_rule_id": 4}},
            "system",
        ),
        ("conversation_typing_on", {}, "agent"),
        ("conversation_typing_off", {}, "customer"),
        ("webwidget_triggered", {}, "customer"),
        ("conversation_updated", {}, "system"),
        ("contact_updated", {}, "system"),
    ],
)
def test_who_is_behind_it(name: str, changes: dict[str, object], direction: str) -> None:
    assert of(name, **changes).direction == direction


@pytest.mark.parametrize(
    ("name", "conversation", "contact", "inbox"),
    [
        ("conversation_updated", "318", "1187", "4"),
        ("automation_event_message_created", "318", "1187", "4"),
        ("macro_executed", "318", "1187", "4"),
        ("conversation_typing_on", "318", "1187", "4"),
        ("contact_updated", "", "1187", ""),
        ("webwidget_triggered", "", "1187", "4"),
        ("inbox_updated", "", "", "*"),
    ],
)
def test_where_it_happened(name: str, conversation: str, contact: str, inbox: str) -> None:
    facts = of(name)
    assert (facts.account, facts.conversation, facts.contact) == ("2", conversation, contact)
    assert facts.inbox == inbox or (inbox == "*" and facts.inbox == "")


def test_what_is_said() -> None:
    assert of("message_created_incoming_attachments").says == "[image] [audio]"
    said = of("message_created_incoming", content="a\nb  " + "ç" * 500).says
    assert said.startswith("a b ç")
    assert len(said) == SAYS_CHARS


def test_another_sender_has_a_key_alone() -> None:
    assert facts_of("", "main", {"conversation": {"id": 3}}) == Facts(conversation="main")


@given(jsons, st.sampled_from(["message_created", "conversation_updated", "webwidget_triggered"]))
def test_nothing_makes_it_fail(body: object, kind: str) -> None:
    assert facts_of(kind, "", body).kind == kind
    text_of(body)


@given(jsons)
def test_parts_of_another_shape_are_left_out(inner: object) -> None:
    body = dict.fromkeys(
        ("account", "conversation", "sender", "content", "attachments", "content_attributes"), inner
    )
    facts_of("message_created", "", {"message_type": "outgoing", **body})


def test_text_is_what_a_body_says_without_secrets() -> None:
    body = {
        "a": ["Olá", {"b": 9_007_199_254_740_993}],
        "pubsub_token": "hidden",
        "secret": {"inner": "hidden"},
        "x_token": ["hidden", 7, {"inner": "hidden"}],
        "API_KEY": "hidden",
        "n": 1.5,
        "t": True,
    }
    assert sorted(fold(text_of(body)).split()) == ["1", "5", "9007199254740993", "ola"]


def test_text_is_bounded() -> None:
    assert len(text_of([f"{n:010}" for n in range(100_000)])) == MAX_TEXT_CHARS
    assert len(fold(text_of([f"é{n}" for n in range(100_000)]))) == MAX_TEXT_CHARS
    assert text_of([*([""] * MAX_VALUES), ["far"]]) == ""
    assert fold(text_of(["twice é", "twice é", "Twice é"])) == "twice e twice e"
    deep: object = "end"
    for _ in range(500):
        deep = [deep]
    assert text_of(deep) == "end"


@given(jsons)
def test_text_of_many_values_has_the_words_of_each(body: object) -> None:
    found = f" {fold(text_of(body))} "
    for value in body.values() if isinstance(body, dict) else [body]:
        if isinstance(value, str) and not isinstance(body, dict):
            assert f" {fold(value)} " in found or not fold(value)


@pytest.mark.parametrize(
    "work",
    [
        lambda: text_of({"A" * 500_000: [str(n) for n in range(80_000)]}),
        lambda: text_of([[]] * 350_000),
        lambda: fold("a" + "\u0301" * 32_767 + "\u0316" * 32_767),
        lambda: of("message_created_incoming", content="", attachments=[{}] * 350_000),
    ],
    ids=["long name", "empty lists", "marks", "attachments"],
)
def test_what_a_stranger_made_hard_takes_no_longer(work: Callable[[], object]) -> None:
    """Of 1 MiB each; while one is read, nobody else is answered."""
    began = time.thread_time()
    work()
    assert time.thread_time() - began < 0.5  # seconds; some took minutes


def test_folding_is_the_same_wherever_a_piece_ends() -> None:
    word = "a\u0301\u0316\u05b4c\u0327한é"
    assert {fold("x" * at + " " + word).split(" ", 1)[1] for at in range(240, 260)} == {fold(word)}


@given(st.text() | st.text("aÉçß ªK\u0301\u05b4ΓΣ한漢😀_-\x00\x85\xad"))
def test_folding_is_what_unicode_says_and_folds_no_further(text: str) -> None:
    apart = unicodedata.normalize("NFD", text)
    bare = re.sub("[\u0300-\u036f]", "", apart).lower()
    assert fold(text) == " ".join(re.findall(r"\w+", bare))
    assert fold(fold(text)) == fold(text)


def test_folding() -> None:
    assert fold("  Não, JOÃO: «pão»-de_ló 😀 çedilha é Ωmega") == (
        "nao joao pao de_lo cedilha e ωmega"
    )
    assert fold("cafe\u0301") == fold("café") == "cafe"
