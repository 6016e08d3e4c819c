"""JSON pointers into bodies of strangers."""

from __future__ import annotations

import json
import time
import tracemalloc

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay_server import channels
from relay_server.channels import follow, identify
from relay_server.configs import ChannelConfig, SenderKind

MIB = 1_048_576
SECOND = 1.0

Json = dict[str, "Json"] | list["Json"] | str | int | bool | float | None


@pytest.mark.parametrize(
    ("body", "pointer", "found"),
    [
        (b'{"a":{"":1}}', "/a/", "1"),
        (b'{"a":{"b/c~d":["k"]}}', "/a/b~1c~0d/0", "k"),
        (b'{"a":[true]}', "/a/0", "True"),
        (b'{"a":{}}', "/a", ""),
        (b"[0,[1,2]]", "/1/1", "2"),
        (b" [ 5 ] ", "/0", "5"),
        (b'{"a":1,"a":"2"}', "/a", "2"),
        (b'{"a":{"b":1},"a":{"c":2}}', "/a/b", ""),
        (b'{"~1":{"/":"x"}}', "/~01/~1", "x"),
        (b'{"a\\"b":3}', '/a"b', "3"),
        (b'{"a\\\\b":3}', "/a\\b", "3"),
        (b'{"a\\u0062":3}', "/ab", "3"),
        (b'{"at":9}', "/at", "9"),
        (b'{"__class__":4}', "/__class__", "4"),
        (b'{"a":1.5}', "/a", ""),
        (b'{"a":1e999}', "/a", ""),
        (b'{"a":-0}', "/a", "0"),
        (b'{"a":"\\u0000"}', "/a", "\0"),
        (b'{"a":null}', "/a", ""),
        (b'{"a":1}', "/a/b", ""),
        (b"[1]", "/00", ""),
        (b"[1]", "/\u0660", ""),
        (b"[1]", "/-", ""),
        (b"[1]", "/+0", ""),
        *(
            (b"[1]", f"/{part}", "")
            for part in ("1", "-1", "01x", "\u00b2", "1" * 200, " 0", "", "b")
        ),
        (b"[]", "/0", ""),
        (b'{"0":"x"}', "/0", "x"),
        (b'"a"', "/0", ""),
        (b"{}", "/a\ud800", ""),
        (b"[" + b"1," * 999 + b"7]", "/999", "7"),
        (b"[" + b"1," * 1_000 + b"7]", "/1000", ""),
        (b'{"1000":7}', "/1000", "7"),
    ],
)
def test_where_a_pointer_leads(body: bytes, pointer: str, found: str) -> None:
    assert follow(body, pointer) == found


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'{"a":1',
        b'{"a":1,}',
        b'{"a":1}{}',
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b"\0",
        b'\xef\xbb\xbf{"a":1}',
        '{"a":1}'.encode("utf-16"),
        '{"a":1}'.encode("utf-32"),
        b"{a:1}",
        b"{'a':1}",
        b'{"a":"\\ud800"}',
        b'{"a":"\xff"}',
        b'{"a":01}',
        b'{"a":+1}',
        b"/**/{}",
    ],
)
def test_what_is_no_json_leads_nowhere(body: bytes) -> None:
    with pytest.raises((msgspec.DecodeError, UnicodeDecodeError)):
        follow(body, "/a")
    assert identify(ChannelConfig(sender=SenderKind.OTHER, key_pointer="/a"), body) == ("", "")


KEYS = st.text(alphabet='ab~/"\\0é\x01', max_size=3)
VALUES: st.SearchStrategy[Json] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.text(max_size=4)
    | st.floats(0, 9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=12,
)


@given(VALUES, st.lists(KEYS | st.sampled_from("012"), min_size=1, max_size=4))
def test_it_leads_where_a_plain_reading_of_the_rfc_does(value: Json, steps: list[str]) -> None:
    found, there = value, True
    for step in steps:
        if isinstance(found, dict) and step in found:
            found = found[step]
        elif isinstance(found, list) and step in ("0", "1", "2") and int(step) < len(found):
            found = found[int(step)]
        else:
            there = False
    expected = str(found) if there and isinstance(found, str | int) else ""
    pointer = "".join("/" + step.replace("~", "~0").replace("/", "~1") for step in steps)
    assert follow(json.dumps(value).encode(), pointer) == expected


@pytest.mark.parametrize("unit", [b"[],", b"{},", b"1,", b'"a",', b'{"a":[1]},'])
def test_a_body_costs_no_more_than_reading_it(unit: bytes) -> None:
    """All of it was made into objects: 25 MiB of lists took 3 s and 584 MiB."""
    body = b'{"z":[' + unit * (8 * MIB // len(unit)) + b'1],"a":{"b":"key"}}'
    began = time.process_time()
    tracemalloc.start()
    try:
        assert follow(body, "/a/b") == "key"
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < MIB / 4
    assert time.process_time() - began < SECOND


def test_a_far_index_costs_no_more_either() -> None:
    body = b"[" + b"[]," * MIB + b"1]"
    tracemalloc.start()
    try:
        assert follow(body, f"/{MIB}") == ""
        assert follow(body, f"/{channels.MAX_INDEX}/0") == ""
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2 * MIB
