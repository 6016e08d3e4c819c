"""Changing one value of a JSON text changes nothing else of it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay_server.bodies.places import (
    MAX_QUICK_TEXT_CHARS,
    Quick,
    place_of,
    put,
    quick_fields,
)
from relay_server.bodies.tree import step
from tests.support.chatwoot import fixture

BODY = (
    '{ "id":90071992547409931234,\r\n\t"content" : "a\\u0026b \\"}\\"", "n": 1.50,'
    '"sender":{"name":null,"a/b~":[{"name":"no"}]} , "content_type":"text"}'
)


@pytest.mark.parametrize(
    ("path", "value", "was", "written"),
    [
        ("/content", 'x "é"\n', '"a\\u0026b \\"}\\""', '"x \\"é\\"\\n"'),
        ("/sender/name", "Ana", "null", '"Ana"'),
        ("/n", "2.50", "1.50", "2.50"),
        ("/n", "two", "1.50", '"two"'),
        ("/id", "7", "90071992547409931234", "7"),
        ("/sender/a~1b~0", "x", '[{"name":"no"}]', '"x"'),
        ("", "x", BODY, '"x"'),
    ],
)
def test_only_the_value_is_written_anew(path: str, value: str, was: str, written: str) -> None:
    assert BODY.count(was) == 1
    assert put(BODY, path, value) == BODY.replace(was, written)


@pytest.mark.parametrize(
    ("text", "path"),
    [(BODY, "/missing"), (BODY, "/content/x"), (BODY, "/sender/a~1b~0/0"), ("", ""), ("{", "/a")],
)
def test_what_is_not_there_is_not_written(text: str, path: str) -> None:
    assert put(text, path, "x") == text


@pytest.mark.parametrize(
    "text", ['{"a" 1}', '{"a": 1 "b": 2', '{"a": ', "[" * 100_000, '{"a":' * 100_000, '{"b": 1}x']
)
def test_what_is_no_json_has_no_places(text: str) -> None:
    assert place_of(text, "/a") is None or place_of(text, "/a") == (5, 6)


def test_of_doubled_names_the_last_counts_as_in_most_readers() -> None:
    assert put('{"a":1,"a":2}', "/a", "3") == '{"a":1,"a":3}'


def test_a_message_has_fields_for_what_people_change_most() -> None:
    found = quick_fields(fixture("message_created_incoming").decode())
    assert [one.path for one in found] == [
        "/content",
        "/sender/name",
        "/inbox/name",
        "/conversation/status",
    ]
    assert found[2] == Quick("inbox", "/inbox/name", "Site Pão Quente")
    changed = quick_fields(fixture("conversation_updated").decode())
    assert [one.path for one in changed] == ["/meta/sender/name", "/inbox_id", "/status"]


def test_a_large_body_has_no_fields() -> None:
    text = json.dumps({"content": "a", "x": ""})
    room = MAX_QUICK_TEXT_CHARS - len(text)
    assert len(quick_fields(text.replace('""', f'"{"y" * room}"'))) == 1
    assert quick_fields(text.replace('""', f'"{"y" * (room + 1)}"')) == []


def test_half_a_character_is_a_mark() -> None:
    assert quick_fields('{"content": "\\ud83d!"}')[0].value == "\ufffd!"


@pytest.mark.parametrize("text", ['{"content": ["a"]}', "no {", "[1]"])
def test_what_no_field_holds_has_none(text: str) -> None:
    assert quick_fields(text) == []


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text(), VALUES, min_size=1), st.text(), st.sampled_from([None, 1]))
def test_whatever_it_holds_it_is_the_same_but_for_the_value(
    whole: dict[str, Any], value: str, indent: int | None
) -> None:
    name = next(iter(whole))
    text = json.dumps(whole, indent=indent)
    written = json.loads(put(text, step(name), f"x{value}"))
    assert written == whole | {name: f"x{value}"}
