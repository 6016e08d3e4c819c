"""The language of filters: what each word means, and what is said of one that cannot be."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay_protocol.values import EventHead, HeaderList
from relay_server.filters.document import MAX_PARSED_BYTES, Document
from relay_server.filters.facts import fold
from relay_server.filters.language import (
    EVERYTHING,
    KNOWN,
    MAX_FILTER_CHARS,
    MAX_TERMS,
    MAX_TEXT_TERMS,
    MAX_VALUES,
    InvalidFilter,
    check_standing,
    parse,
    quoted,
    stored,
)
from relay_server.values import Event
from tests.support import events
from tests.support.chatwoot import fixture
from tests.support.clock import START_MS

NOW = START_MS + 3_600_000
HEADERS: HeaderList = ((b"X-GitHub-Event", b"push"), (b"X-Nome", "João".encode()))
OTHER = {
    "ref": "refs/heads/main",
    "commits": [{"author": {"name": "Zé"}, "added": 3, "signed": True}],
    "access_token": "tiptop",
    "say": "Não chegou o pão, moço! 😀 fim_de_papo",
}


def document(
    body: bytes = json.dumps(OTHER).encode(), kind: str = "", key: str = "main", **facts: Any
) -> Document:
    request = events.request("/c/git/hooks/push?x=1", HEADERS, "PUT")
    head = EventHead("evt_0197aa00c3d4", 7, START_MS, key, kind, request)
    return Document(msgspec.structs.replace(Event(1, head, body), **facts))


def chatwoot(name: str) -> Document:
    body = fixture(name)
    return document(body, json.loads(body)["event"], "2/318")


def meant(text: str, of: Document) -> bool:
    return parse(text, NOW).matches(of)


def parse_error(text: str) -> str:
    """What is said of a filter that cannot be; empty of one that can."""
    try:
        parse(text, NOW)
    except InvalidFilter as exc:
        return str(exc)
    return ""


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nao",
        "NÃO",
        '"não chegou"',
        "pao,",
        "cheg*",
        '"nao cheg"*',
        "fim_de_papo",
        "refs/heads/main",
        "Ze 3",
        "-sim",
        "-is:private",
        "conv:main",
        "method:put",
        "method:post,put",
        "path:/c/git/*",
        "-path:/c/hub/*",
        "header.x-github-event:push",
        "header.X-GitHub-Event:PUSH,pull_request",
        "header.x-nome:joão",
        "json.ref:refs/heads/main",
        "json.ref:refs/*",
        "json.commits.0.author.name:Zé",
        "json.commits.0.added:3",
        "json.commits.0.signed:true",
        "-json.commits.1.added:3",
        "-json.nowhere:*",
        "larger:10",
        "-larger:1M",
        "id:c3d4",
        "id:evt_0197aa00c3d4",
        "after:2h",
        "before:now",
        "-before:2h",
        "after:beginning",
        "before:2100-01-01",
        "  method:PUT    chegou ",
    ],
)
def test_what_is_meant(text: str) -> None:
    assert meant(text, document())


@pytest.mark.parametrize(
    "text",
    [
        "chega",
        "-nao",
        '"chegou não"',
        "che",
        "tiptop",  # a secret
        "method:POST",
        "path:/hooks",
        "path:/c/git/hooks/push?x=1",  # the query is none of it
        "header.x-nothing:push",
        "json.ref:main",
        "json.commits:3",
        "from:customer",
        "kind:*_created",  # a star is only at the end
        "is:private",
        "larger:1k",
        "id:0197",
        "after:1m",
        "before:2h",
        "nao sim",
    ],
)
def test_what_is_not_meant(text: str) -> None:
    assert not meant(text, document())


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("message_created_incoming", "kind:message_created from:customer conv:318 inbox:4"),
        ("message_created_incoming", "conv:2/318 contact:1187 joao goncalves"),
        ("message_created_incoming", "contact:gonçalves -contact:goncal contact:goncal*"),
        ("message_created_incoming", "+5511987654321 joao.goncalves@exemplo*"),
        ("message_created_outgoing_api_inbox", "from:agent -is:private"),
        ("message_created_private_note", "from:agent is:private kind:message_*"),
        ("message_updated", "from:bot"),
        ("message_created_template", "from:system,bot"),
    ],
)
def test_chatwoot(name: str, text: str) -> None:
    assert meant(text, chatwoot(name))


@pytest.mark.parametrize(
    ("is_", "facts"),
    [
        ("repeat", {"repeat_of": "evt_1"}),
        ("conflict", {"conflict": True}),
        ("damaged", {"damaged": True}),
    ],
)
def test_what_an_event_is(is_: str, facts: dict[str, Any]) -> None:
    assert meant(f"is:{is_}", document(**facts))
    assert not meant(f"is:{is_}", document())


def test_a_body_that_is_no_json_is_searched_as_text() -> None:
    of = document(b"nome=Jo%C3%A3o&fala=n\xc3\xa3o+sei \xff")
    assert meant("nao fala", of)
    assert not meant("json.nome:*", of)


def test_a_large_body_is_not_parsed() -> None:
    body = json.dumps({"a": {"b": "here"}, "x": "y" * MAX_PARSED_BYTES}).encode()
    assert not meant("here", document(body))
    assert meant("json.a.b:here larger:1M", document(body))


def test_what_became_of_deliveries_is_for_who_knows_it() -> None:
    for text in ("is:dead", "is:waiting,failed", "status:5xx", "subscription:ana"):
        asked = parse(text, NOW)
        assert asked.needs_outcome
        assert asked.matches(document())  # not asked here
        with pytest.raises(InvalidFilter, match="what becomes of a delivery"):
            check_standing(text, NOW)
    assert not parse("nao", NOW).needs_outcome


def test_spans_become_moments() -> None:
    text = check_standing("after:1h kind:message_created", NOW)
    assert text == "after:2026-07-02T14:00:10.000Z kind:message_created"
    assert stored(text).matches(document(kind="message_created"))


def test_what_is_stored_means_the_same() -> None:
    text = '"bom dia" -kind:a,b* json.a:"x, y" after:2026-07-02 ção*'
    once = check_standing(text, NOW)
    assert parse(once, 0) == stored(once) == parse(text, NOW)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("x" * (MAX_FILTER_CHARS + 1), "up to 500 characters"),
        (" ".join(["id:abcd"] * (MAX_TERMS + 1)), "up to 16 terms, not 17"),
        ("a " * (MAX_TEXT_TERMS + 1), "up to 8 words"),
        (f"kind:{','.join('a' * (MAX_VALUES + 1))}", "1 to 32 values"),
        ('"bom dia', "opened and not closed"),
        ("kind:", "nothing behind `kind:`"),
        ("bom - dia", "nothing behind `-`"),
        ("kind:,", "1 to 32 values"),
        ("is:faild", "did you mean `is:failed`?"),
        ("is:zzz", "there are private"),
        ("is:private,dead", "mixes"),
        ("from:costumer", "did you mean `from:customer`?"),
        ("knd:x", "did you mean `kind:`?"),
        ("zzzzz:x", "there are kind, conv"),
        ("zzzzz:x", "json.a.b.0. Text with a colon"),
        ("kind.a:x", "no word of a filter"),
        ("json:x", "json.NAME:value"),
        ("status:700", "503, or 5xx"),
        ("before:yesterday", "a day such as 2026-07-02"),
        ("before:2026-07-02T14:00:00", "with its zone"),
        ("larger:big", "20k or 1M"),
        ("larger:1k,2k", "takes one value"),
        ("after:2h,5h", "takes one value"),
        ("after:9999-12-31T23:59:59-23:59", "a day such as"),
        ("after:1h " * 15 + "x" * 300, "up to 500 characters, times written out"),
        ("id:abc", "is no id"),
        ("id:evt_0197*", "is no id"),
        ("😀", "no letter or digit"),
        ('""', "no letter or digit"),
        ("ab*", "at least 3 letters"),
    ],
)
def test_what_cannot_be_is_explained(text: str, says: str) -> None:
    with pytest.raises(InvalidFilter, match=re.escape(says)):
        parse(text, NOW)


@pytest.mark.parametrize("text", ["https://relay.example.com/x", "12:30", '"say: yes"', "a.b:c.d"])
def test_colons_in_plain_text(text: str) -> None:
    refused = parse_error(text)
    assert not refused or "in quotes" in refused


@given(st.text())
def test_any_text_is_a_filter_or_a_sentence(text: str) -> None:
    if not parse_error(text):
        found = parse(text, NOW)
        found.matches(document())
        assert parse(found.text, 0) == found


@pytest.mark.parametrize("word", ["", "kind", "path", "json.a"])
@pytest.mark.parametrize("value", ["a*", "a,b", "-a", "is:dead", 'say "a"', "*", "a b"])
def test_a_quoted_value_is_meant_as_it_is(value: str, word: str) -> None:
    if fold(value) or word:
        [term] = parse(quoted(word, value), NOW).terms
        [only] = term.values
        assert (only.prefix, term.negated) == (False, False)


@given(
    st.text(alphabet=st.characters(exclude_characters='"', exclude_categories=["Cs"]), min_size=1)
)
def test_what_a_body_says_is_found(text: str) -> None:
    if fold(text) and len(text) < MAX_FILTER_CHARS - 2:
        of = document(json.dumps({"say": text}).encode())
        assert meant(f'"{text}"', of)


def test_every_word_is_tried_here() -> None:
    """A new word needs a line above."""
    here = Path(__file__).read_text("utf-8")
    assert [word for word in KNOWN if not re.search(rf"{word.partition('.')[0]}[.:]", here)] == []


def test_no_terms() -> None:
    assert parse("  ", NOW) == EVERYTHING
