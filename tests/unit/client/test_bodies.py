"""A value in a body is changed, and nothing else."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay_client.bodies import changed

BODY = '{ "a" : 1.50, "text":"\\u003cb\\u003e é", "list": [ 1, {"b":null} ] ,"a":2e0 }'.encode()


@pytest.mark.parametrize(
    ("path", "value", "was", "now"),
    [
        ("text", 'Olá "x"\n', b'"\\u003cb\\u003e \xc3\xa9"', '"Olá \\"x\\"\\n"'.encode()),
        ("text", "5", b'"\\u003cb\\u003e \xc3\xa9"', b'"5"'),
        ("a", "5", b"2e0", b"5"),
        ("a", "true", b"2e0", b"true"),
        ("a", "five", b"2e0", b'"five"'),
        ("list.1.b", '{"c":[]}', b"null", b'{"c": []}'),
        ("list.0", "null", b"[ 1", b"[ null"),
        ("new", "5", b"2e0 }", b'2e0 ,"new":5}'),
        ("list.1.new", "x", b"null}", b'null,"new":"x"}'),
    ],
)
def test_every_other_byte_stays(path: str, value: str, was: bytes, now: bytes) -> None:
    """A text stays one; where a name is doubled, it is the last that readers take."""
    assert BODY.count(was) == 1
    assert changed(BODY, path, value) == BODY.replace(was, now)


def test_something_is_added_to_nothing() -> None:
    assert changed(b"{}", "a", "1") == b'{"a":1}'


@pytest.mark.parametrize(
    ("body", "path", "value", "said"),
    [
        (b"no", "a", "1", "no JSON"),
        (b"{} {}", "a", "1", "no JSON"),
        (b'{"a":', "a", "1", "no JSON"),
        (b"\xff", "a", "1", "no JSON"),
        (b"[" * 100_000, "a", "1", "no JSON"),
        (BODY, "list.2", "1", "nothing at list.2"),
        (BODY, "list.x", "1", "nothing at list.x"),
        (BODY, "text.a", "1", "nothing at text.a"),
        (BODY, "c.d", "1", "nothing at c"),
        (BODY, "a", "\udcff", "UTF-8"),
    ],
)
def test_what_cannot_be_changed_is_said(body: bytes, path: str, value: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        changed(body, path, value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.text('az"é', min_size=1, max_size=3), JSON, max_size=4), st.data())
def test_a_reader_finds_the_new_value_and_all_others(
    value: dict[str, object], data: st.DataObject
) -> None:
    body = json.dumps(value, ensure_ascii=data.draw(st.booleans())).encode("utf-8", "replace")
    value = json.loads(body)
    name = data.draw(st.sampled_from([*value, "new"]))

    found = json.loads(changed(body, name, '{"x": 1}'))

    new: object = '{"x": 1}' if isinstance(value.get(name), str) else {"x": 1}
    assert found == {**value, name: new}
