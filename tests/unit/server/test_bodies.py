"""A body as a tree in which everything is as it came, and how two of them differ."""

from __future__ import annotations

import json
from itertools import islice
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay_server.bodies.compare import Difference, differences, is_comparable
from relay_server.bodies.tree import (
    MASK,
    MAX_DEPTH,
    BadJson,
    Kind,
    Number,
    at,
    parse,
    text_of,
    walk,
)
from relay_server.operations.bodies import MAX_LINE_CHARS, MAX_LINES_CHARS
from tests.support.chatwoot import fixture
from tests.unit.server.asking import Asking, append
from tests.unit.server.support import Served

jsons = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


def diff(a: object, b: object) -> dict[str, str]:
    found = differences(parse(json.dumps(a).encode()), parse(json.dumps(b).encode()))
    return {one.path: one.change.value for one in found}


def test_numbers_names_and_their_order_are_as_they_came() -> None:
    body = b'{"b": 9007199254740993123, "10": 1.50, "b": 1e400, "a": [true, null, "\\u00e7"]}'
    nodes = [(node.path, node.kind.value, node.text, node.size) for node in walk(parse(body))]
    assert nodes == [
        ("", "object", "", 4),
        ("/b", "number", "9007199254740993123", 0),
        ("/10", "number", "1.50", 0),
        ("/b", "number", "1e400", 0),
        ("/a", "list", "", 3),
        ("/a/0", "boolean", "true", 0),
        ("/a/1", "null", "null", 0),
        ("/a/2", "string", "ç", 0),
    ]


def test_secrets_are_masked() -> None:
    """Whatever they are, and all that they hold, but whether there is one."""
    body = (
        b'{"pubsub_token": "abc", "hmac_secret": "", "token": {"a": "b"}, "tokens": 3,'
        b' "pin": {"password": 1234}, "api_key": ["a", ["b"]], "x_token": null, "y_token": true}'
    )
    texts = {n.path: n.text for n in walk(parse(body))}
    assert texts == {
        "": "",
        "/pubsub_token": MASK,
        "/hmac_secret": "",
        "/token": MASK,
        "/tokens": "3",
        "/pin": "",
        "/pin/password": MASK,
        "/api_key": MASK,
        "/x_token": "null",
        "/y_token": "true",
    }
    for path in ("/api_key/0", "/api_key/1", "/token/a"):
        [node] = walk(at(parse(body), path), path)
        assert node.text == MASK


def test_secrets_that_differ_are_not_shown() -> None:
    deep = "[" * 300 + "]" * 300
    a = parse(b'{"token": {"a": 1, "b": 2}, "api_key": [1], "password": "x", "deep_token": []}')
    b = parse(
        b'{"token": {"a": 1, "b": 3}, "api_key": 7, "password": "x", "deep_token": %b}'
        % deep.encode()
    )
    assert is_comparable(b)
    found = {d.path: (d.change, d.a, d.b) for d in differences(a, b)}
    assert found == {
        "/token": ("changed", MASK, MASK),
        "/api_key": ("type", MASK, MASK),
        "/deep_token": ("changed", MASK, MASK),
    }


def test_of_an_object_that_comes_or_goes_its_first_values_are_shown() -> None:
    """In short, and none of its secrets."""
    new = (
        b'{"id": 90412000000000000001, "content": "oi", "meta": {"a": 1}, "none": {}, "token": "x",'
        b' "ids": [1], "seventh": true}'
    )
    a, b = (
        parse(b'{"a": null, "b": [1, "x", []]}'),
        parse(b'{"a": %b, "b": "%b"}' % (new, b"y" * 600)),
    )
    found = {d.path: (d.change, d.a, d.b) for d in differences(a, b)}
    said = '{id: 90412000000000000001, content: "oi", meta: {…}, none: {}, token: •••, ids: […], …}'
    assert found == {"/a": ("type", "null", said), "/b": ("type", '[1, "x", []]', "y" * 500)}


@pytest.mark.parametrize(
    ("body", "problem", "line", "column"),
    [
        (b'{"a": 1,\n "b": }', "Expecting value", 2, 7),
        (b"", "Expecting value", 1, 1),
        (b"nome=Jo%C3%A3o", "Expecting value", 1, 1),
        (b"[NaN]", "NaN is no JSON", 1, 1),
        (b'{"a": "\xff"}', "byte 7 is no UTF-8", 1, 1),
        (b"[" * 100_000, "it is nested too deep", 1, 1),
    ],
)
def test_what_is_no_json_says_where(body: bytes, problem: str, line: int, column: int) -> None:
    with pytest.raises(BadJson, match=problem) as refused:
        parse(body)
    assert (refused.value.line, refused.value.column) == (line, column)


def test_half_a_character_is_shown_as_it_was_written() -> None:
    body = rb'{"\ud83d": "\ud83d\ude00 \\ud800 \uDE00", "b": "\n\ud83d\ud83d\ude00"}'
    nodes = list(walk(parse(body)))
    assert [node.text for node in nodes] == ["", "😀 \\ud800 \\uDE00", "\n\\ud83d😀"]
    assert json.loads(msgspec.json.encode(nodes))[1]["path"] == "/\\ud83d"


def test_a_tree_ends_at_a_depth() -> None:
    body = b"[" * (MAX_DEPTH + 5) + b"]" * (MAX_DEPTH + 5)
    assert max(node.depth for node in walk(parse(body))) == MAX_DEPTH
    assert not is_comparable(parse(body))


def test_a_tree_ends_where_paths_would_be_much_more_than_the_body() -> None:
    root = parse(json.dumps({"A" * 500_000: {"b" * 500: {"c" * 600: [1] * 10}}}).encode())
    assert [node.kind for node in walk(root)] == [Kind.OBJECT, Kind.OBJECT]
    assert not is_comparable(root)
    assert next(islice(walk(at(root, f"/{'A' * 500_000}")), 2, None)).path.endswith("c")


@given(jsons)
def test_every_path_leads_to_its_value(value: object) -> None:
    root = parse(json.dumps(value).encode())
    for node in walk(root):
        found = at(root, node.path)
        assert node.text in (text_of(found), MASK)


@given(jsons)
def test_a_part_is_as_in_the_whole(value: object) -> None:
    root = parse(json.dumps({"a/b": {"~": value}}).encode())
    whole = [n for n in walk(root) if n.path.startswith("/a~1b/~0")]
    part = list(walk(at(root, "/a~1b/~0"), "/a~1b/~0"))
    assert [(n.path, n.name, n.text) for n in part] == [(n.path, n.name, n.text) for n in whole]


@pytest.mark.parametrize(
    ("a", "b", "found"),
    [
        ({"x": 1, "y": 2}, {"y": 2, "x": 1}, {}),
        ({"x": 1}, {"x": 2}, {"/x": "changed"}),
        ({"x": 1}, {"x": "1"}, {"/x": "type"}),
        ({"x": {"y": 1}}, {"x": {"y": "1"}}, {"/x/y": "type"}),
        ({"x": None}, {}, {"/x": "removed"}),
        ({}, {"x": None}, {"/x": "added"}),
        ([1, 2], [1, 2, 3], {"/2": "added"}),
        ([{"id": 1}, {"id": 2}], [{"id": 2}, {"id": 1}], {"/0": "moved", "/1": "moved"}),
        ([{"id": 1, "a": 1}, {"id": 2}], [{"id": 1, "a": 2}], {"/0/a": "changed", "/1": "removed"}),
        ([{"id": 1}, {"id": 1}], [{"id": 1}], {"/1": "removed"}),
        (1, [1], {"": "type"}),
        ({"a/b": 1}, {"a/b": 2}, {"/a~1b": "changed"}),
    ],
)
def test_differences(a: object, b: object, found: dict[str, str]) -> None:
    assert diff(a, b) == found


@given(jsons, jsons)
def test_there_are_differences_if_and_only_if_values_differ(a: object, b: object) -> None:
    one, other = parse(json.dumps(a).encode()), parse(json.dumps(b).encode())
    same = json.dumps(a, sort_keys=True) == json.dumps(b, sort_keys=True)
    assert (list(differences(one, other)) == []) is same


def test_doubled_names_are_compared_in_their_order() -> None:
    found = list(differences(parse(b'{"a": 1, "a": 2}'), parse(b'{"a": 1, "a": 3}')))
    assert found == [Difference("/a", found[0].change, a="2", b="3")]
    assert not is_comparable([Number("1")] * 30_000)


# The API


async def test_the_tree_of_an_event(served: Served, ana: Asking) -> None:
    id_ = await append(served, body=fixture("message_created_incoming"))
    tree = await ana.ok("GET", f"events/{id_}/tree?path=/conversation/contact_inbox")
    texts = {node["name"]: node.get("text") for node in tree["nodes"]}
    assert texts["source_id"] != MASK
    assert texts["pubsub_token"] == MASK
    assert tree["next"] is None


async def test_a_large_tree_comes_in_parts(served: Served, ana: Asking) -> None:
    id_ = await append(served, body=json.dumps(list(range(4_500))).encode())
    found: list[str] = []
    first: int | None = 0
    while first is not None:
        tree = await ana.ok("GET", f"events/{id_}/tree?first={first}")
        found += [node["text"] for node in tree["nodes"] if node["kind"] == "number"]
        first = tree["next"]
    assert found == [str(n) for n in range(4_500)]


async def test_what_has_no_tree(served: Served, ana: Asking) -> None:
    broken = await ana.ok("GET", f"events/{await append(served, body=b'{')}/tree")
    assert (broken["line"], broken["column"], broken["nodes"]) == (1, 2, [])
    large = await append(served, body=b"[" + b"1," * 600_000 + b"1]")
    assert (await ana.ok("GET", f"events/{large}/tree"))["problem"].startswith("it is larger")
    id_ = await append(served)
    for path in ("/x", "x"):
        assert await ana.refused("GET", f"events/{id_}/tree?path={path}") == (422, "invalid_value")


async def compared(served: Served, ana: Asking, a: bytes, b: bytes, query: str = "") -> Any:
    one, other = await append(served, body=a), await append(served, body=b)
    return await ana.ok("GET", f"compare?a={one}&b={other}{query}")


async def test_events_are_compared(served: Served, ana: Asking) -> None:
    a, b = b'{"id": 1, "say": "oi", "x": {"y": 1}}', b'{"id": 2, "say": "ol\xc3\xa1", "x": {}}'
    found = await compared(served, ana, a, b)
    assert [d["path"] for d in found["differences"]] == ["/say", "/x/y"]
    assert (found["expected"], found["equal"]) == (1, "")
    everything = await compared(served, ana, a, b, "&expected=1&ignore=/x,/say")
    assert [d["path"] for d in everything["differences"]] == ["/id"]


@pytest.mark.parametrize(
    ("b", "equal"), [(b'{"a": 1, "b": 2}', "bytes"), (b'{"b":2,"a":1}', "json")]
)
async def test_equal_events(served: Served, ana: Asking, b: bytes, equal: str) -> None:
    assert (await compared(served, ana, b'{"a": 1, "b": 2}', b))["equal"] == equal


async def test_what_is_no_json_is_compared_by_lines(served: Served, ana: Asking) -> None:
    found = await compared(served, ana, b"one\ntwo", b"one\nthree")
    assert found["lines"][-2:] == ["-two", "+three"]
    found = await compared(served, ana, b"name=a&token=abc", b"name=b&token=xyz")
    assert found["lines"][-2:] == [f"-name=a&token={MASK}", f"+name=b&token={MASK}"]
    one, other = (b"[" * 300 + end + b"]" * 300 for end in (b"1", b"2"))
    assert (await compared(served, ana, one, other))["equal"] == ""
    many = await compared(served, ana, b"x\n" * 5_000, b"y\n" * 5_000)
    assert many["truncated"]


async def test_of_long_lines_that_differ_only_so_much_is_shown(served: Served, ana: Asking) -> None:
    found = await compared(served, ana, b"a" * 500_000, b"b" * 500_000)
    ends = [f"-{'a' * (MAX_LINE_CHARS - 1)}", f"+{'b' * (MAX_LINE_CHARS - 1)}"]
    assert (found["lines"][-2:], found["truncated"]) == (ends, True)
    one, other = b"a" * 50_000 + b"\n", b"b" * 50_000 + b"\n"
    found = await compared(served, ana, one * 10, other * 10)
    assert sum(map(len, found["lines"])) == MAX_LINES_CHARS
    assert found["truncated"]


async def test_others_events_are_not_compared(served: Served, ana: Asking) -> None:
    mine, theirs = await append(served), await append(served, channel="other")
    refused = await ana.refused("GET", f"compare?a={mine}&b={theirs}")
    assert refused == (404, "event_not_found")
    assert await ana.refused("GET", f"events/{theirs}/tree") == (404, "event_not_found")
