"""Secrets of bodies: masked where people read them, put back behind what people edited."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay_server.bodies.hidden import body_without_secrets, hidden_as, with_secrets
from relay_server.errors import InvalidValue

WAS = (
    b'{ "token": "one",\n "a" : "\\u00e9", "n": 1.50, "deep": {"token" : {"x": [1]}},'
    b' "pubsub_token":"p", "password": null }'
)
SHOWN = (
    '{ "token": "•••",\n "a" : "\\u00e9", "n": 1.50, "deep": {"token" : "•••"},'
    ' "pubsub_token":"•••", "password": null }'
).encode()


def test_nothing_but_the_secrets_changes_and_they_come_back() -> None:
    assert body_without_secrets(WAS) == SHOWN
    assert with_secrets(SHOWN, WAS) == WAS


@pytest.mark.parametrize(
    ("edits", "meant"),
    [
        ([("1.50", "2")], [("1.50", "2")]),
        ([(' "a"', ' broken "a"')], [(' "a"', ' broken "a"')]),  # it is no JSON then
        ([('"•••",\n', '"typed",\n')], [('"one"', '"typed"')]),
        ([(', "pubsub_token":"•••"', "")], [(', "pubsub_token":"p"', "")]),
        ([('"pubsub_token":"•••"', '"pubsub_token":""')], [(':"p"', ':""')]),
        ([("null }", 'null, "ttoken": 1}')], [("null }", 'null, "ttoken": 1}')]),
    ],
)
def test_an_edit_keeps_the_secrets_that_it_leaves_masked(
    edits: list[tuple[str, str]], meant: list[tuple[str, str]]
) -> None:
    text, expected = SHOWN.decode(), WAS.decode()
    for before, after in edits:
        assert before in text
        text = text.replace(before, after, 1)
    for before, after in meant:
        assert before in expected
        expected = expected.replace(before, after, 1)
    assert with_secrets(text.encode(), WAS).decode() == expected


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('"token": "•••",\n', ""),  # which of the two is gone?
        ('"a"', '"token": "•••", "a"'),
        ('"a"', '"other_token": "•••", "a"'),
    ],
)
def test_what_nobody_can_tell_is_refused(before: str, after: str) -> None:
    with pytest.raises(InvalidValue, match="what a ••• stood for"):
        with_secrets(SHOWN.decode().replace(before, after, 1).encode(), WAS)


def test_equal_secrets_can_become_fewer_and_more() -> None:
    was = b'[{"token":"t"},{"token":"t"}]'
    assert with_secrets('[{"token":"•••"}]'.encode(), was) == b'[{"token":"t"}]'
    three = '[{"token":"•••"},{"token":"•••"},{"token":"•••"}]'
    assert with_secrets(three.encode(), was).count(b'"t"') == 3


def test_a_form_has_its_secrets_back() -> None:
    was = b"a=1&token=abc&user[password]=x+y&b=2"
    shown = body_without_secrets(was)
    assert shown == "a=1&token=•••&user[password]=•••&b=2".encode()
    assert with_secrets(shown.replace(b"b=2", b"b=3"), was) == was.replace(b"b=2", b"b=3")


def test_who_made_one_sees_what_they_wrote_and_nothing_else() -> None:
    made = WAS.replace(b'"one"', b'"mine"')
    shown = hidden_as(made, WAS)
    assert shown == SHOWN.replace('"•••",\n'.encode(), b'"mine",\n')
    assert with_secrets(shown, WAS) == made


def test_what_is_no_text_or_has_no_secret_is_as_it_came() -> None:
    for body in (b"\xff\x00", b'{"a": 1}', '{"token": "•••"}'.encode()):
        assert body_without_secrets(body) == body
        assert with_secrets(body, body) == body


names = st.sampled_from(["token", "a", "b_token", 'x"token', "t\\oken", "é"])
values = st.recursive(
    st.none() | st.integers() | st.text(max_size=4) | st.just("•••"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4),
    max_leaves=12,
)


@given(values)
def test_whatever_it_is_untouched_it_comes_back(value: object) -> None:
    for ascii_only in (True, False):
        body = json.dumps(value, ensure_ascii=ascii_only).encode("utf-8", "replace")
        assert with_secrets(body_without_secrets(body), body) == body


@pytest.mark.parametrize("part", ['"', '\\"', '" ', '":', '"a":"•••"', '"a":'])
def test_no_text_takes_long(part: str) -> None:
    body = (part * (262_144 // len(part.encode()))).encode()
    began = time.process_time()
    with_secrets(body + "•••".encode(), b'{"a": 1, "token": 1}')
    body_without_secrets(body)
    assert time.process_time() - began < 2
