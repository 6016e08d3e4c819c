"""What a channel masks: shown to nobody, on no way out, and delivered as it came."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay_server.bodies.masking import MAX_BODY_BYTES, masked, unmasked
from relay_server.bodies.tree import MASK
from relay_server.errors import InvalidValue
from relay_server.filters.language import EVERYTHING
from relay_server.live.rendering import render
from tests.unit.server.asking import Asking, append
from tests.unit.server.support import Served

PHONE, NAME = "+5511998765432", "Maria Araújo"
BODY = json.dumps(
    {
        "event": "message_created",
        "id": 7,
        "message_type": "incoming",
        "content": "Oi",
        "created_at": 1783000810.10,
        "account": {"id": 2},
        "sender": {"id": 31, "name": NAME, "phone_number": PHONE, "blocked": False},
        "conversation": {"id": 318, "meta": {"sender": {"name": NAME, "phone_number": PHONE}}},
    }
).encode()
DEEP = 20_000  # levels, more than can be read
VALUES = st.recursive(
    st.none() | st.booleans() | st.text(max_size=4) | st.integers(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("mask", "shown"),
    [
        ("/a", {"a": MASK, "b": [{"a": "x"}, 1.50], "c": ""}),
        ("/*", {"a": MASK, "b": MASK, "c": ""}),
        ("/b/0", {"a": {"a": 1}, "b": [MASK, 1.50], "c": ""}),
        ("/**/a", {"a": MASK, "b": [{"a": MASK}, 1.50], "c": ""}),
        ("/b/*/a", {"a": {"a": 1}, "b": [{"a": MASK}, 1.50], "c": ""}),
        ("/**", MASK),
    ],
)
def test_what_a_mask_leads_to(mask: str, shown: Any) -> None:
    body = b'{"a": {"a": 1}, "b": [{"a": "x"}, 1.50], "c": ""}'
    assert json.loads(masked(body, (mask,))) == shown


@given(value=VALUES)
def test_where_a_mask_leads_to_nothing_a_body_is_as_it_came(value: object) -> None:
    body = json.dumps(value, indent=3).encode()
    assert masked(body, ("/nowhere/of/it",)) is body
    assert masked(body, ("/**",)) == body or MASK.encode() in masked(body, ("/**",))


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        (b"a=1", b"a=1"),
        (b"", b""),
        (b'"' + b"x" * MAX_BODY_BYTES + b'"', f'"{MASK}"'.encode()),
        (b'{"a":{"a":1},"b":' + b"[" * DEEP + b"]" * DEEP + b"}", f'"{MASK}"'.encode()),
        (b'{"a":{"a":12345678901234567890, "b":1}}', f'{{"a":{{"a":"{MASK}","b":1}}}}'.encode()),
    ],
)
def test_what_is_no_json_or_large_or_deep(body: bytes, shown: bytes) -> None:
    assert masked(body, ("/a/a",)) == shown


@given(value=VALUES, mask=st.sampled_from(["/**", "/*", "/**/a", "/0/*"]))
def test_what_is_shown_masked_is_sent_as_it_was(value: object, mask: str) -> None:
    body = json.dumps({"a": value, "b": [value], "c": "as it is"}, indent=1).encode()
    shown = masked(body, (mask,))
    assert unmasked(shown, body, (mask,)) is body
    changed = shown.replace(b"as it is", b"as it is now")
    meant = json.dumps({"a": value, "b": [value], "c": "as it is now"}).encode()
    if b"as it is" in shown:  # else that is masked, too
        assert json.loads(unmasked(changed, body, (mask,))) == json.loads(meant)


@pytest.mark.parametrize(
    ("sent", "meant"),
    [
        ({"a": MASK, "c": MASK}, {"a": "secret", "c": MASK}),  # there is no mask for this one
        ({"a": "other"}, {"a": "other"}),
    ],
)
def test_only_what_was_masked_is_put_back(sent: Any, meant: Any) -> None:
    was = b'{"a": "secret", "c": 1}'
    assert json.loads(unmasked(json.dumps(sent).encode(), was, ("/**/a",))) == meant


ONE, TWO, THREE = ({"a": name, "n": n} for n, name in enumerate(("one", "two", "three")))
HID_ONE, HID_TWO, HID_THREE = ({"a": MASK, "n": n} for n in range(3))


@pytest.mark.parametrize(
    ("sent", "meant"),
    [
        ([HID_TWO, HID_THREE], [TWO, THREE]),
        ([HID_THREE, HID_ONE, HID_TWO], [THREE, ONE, TWO]),
        ([HID_ONE, HID_TWO, {"a": MASK, "n": 9}], [ONE, TWO, THREE | {"n": 9}]),
        ([HID_ONE, {"n": 9}, HID_TWO, HID_THREE], [ONE, {"n": 9}, TWO, THREE]),
        ([HID_TWO, HID_TWO], None),  # the other one may be any
        ([HID_ONE, {"a": MASK, "n": 9}], None),
        ({"b": {"a": MASK}}, None),
    ],
)
def test_elements_are_put_back_wherever_they_are_or_not_at_all(sent: Any, meant: Any) -> None:
    was = json.dumps({"list": [ONE, TWO, THREE], "same": [{"a": "x"}, {"a": "y"}]}).encode()
    body = json.dumps({"list": sent, "same": [{"a": MASK}, {"a": MASK}]}).encode()
    if meant is None:
        with pytest.raises(InvalidValue):
            unmasked(body, was, ("/**/a",))
        return
    back = json.loads(unmasked(body, was, ("/**/a",)))
    assert back == {"list": meant, "same": [{"a": "x"}, {"a": "y"}]}


def test_which_of_two_that_are_shown_alike_is_gone_is_not_guessed() -> None:
    was, masks = b'[{"a":"x"},{"a":"y"}]', ("/**/a",)
    with pytest.raises(InvalidValue, match="write the value"):
        unmasked(json.dumps([{"a": MASK}]).encode(), was, masks)
    assert unmasked(b'[{"a":"z"}]', was, masks) == b'[{"a":"z"}]'


def test_a_body_in_which_nothing_is_masked_keeps_every_byte_that_was_written() -> None:
    body = b'{ "b" : [1, 2] , "c": null }'
    assert unmasked(body, b'{"b":[1,2],"c":0}', ("/a",)) is body


def test_of_doubled_names_each_is_put_back_in_its_turn() -> None:
    was, masks = b'{"a":"one","b":1,"a":"two"}', ("/a",)
    changed = masked(was, masks).replace(b'"b":1', b'"b":2')
    assert unmasked(changed, was, masks) == b'{"a":"one","b":2,"a":"two"}'


def test_nothing_is_put_back_of_what_was_too_large_to_be_shown() -> None:
    was = json.dumps({"a": "secret", "b": "x" * MAX_BODY_BYTES}).encode()
    sent = json.dumps({"a": MASK}).encode()
    assert unmasked(sent, was, ("/a",)) is sent
    assert unmasked(masked(was, ("/a",)), was, ("/a",)) is was


async def test_nobody_is_shown_it(served: Served, admin: Asking) -> None:
    """Neither as text, tree, comparison, script, conversation or line of a list."""
    rules = {"mask": ["/**/phone_number", "/**/sender/name"]}
    assert (await admin.ok("PATCH", "channels/chatwoot", rules))["mask"] == rules["mask"]
    one = await append(served, body=BODY, key="2/318")
    other = await append(served, body=BODY.replace(b"5432", b"0000"), key="2/318")
    ways = (
        *(f"events/{one}", f"events/{one}/body", f"events/{one}/tree", f"events/{one}/as/curl"),
        *(
            f"compare?a={one}&b={other}",
            "events",
            "conversations",
            "conversations/chatwoot/2%2F318",
        ),
    )
    for way in ways:
        answer = await admin("GET", way)
        assert answer.status == 200, way
        assert PHONE.encode() not in answer.body, way
        assert NAME.encode() not in answer.body.replace(b"\\u00fa", "ú".encode()), way
    channel = served.store.catalog.channels["chatwoot"]
    events = await served.store.examine(channel.number, [1, 2], lambda event: event)
    [lines] = render(channel, events, [EVERYTHING])
    assert len(lines) == 2
    assert not [line for _, line in lines if NAME.encode() in line], "of a live list"
    shown = await admin.ok("GET", f"events/{one}")
    sender = {"id": 31, "name": MASK, "phone_number": MASK, "blocked": False}
    assert json.loads(shown["body"])["sender"] == sender
    assert shown["size"] == len(BODY)
    whole = await admin.ok("GET", f"events/{one}/as/curl?secrets=true")
    assert PHONE in whole["text"], "an administrator may ask for it, and that is noted"
    assert await served.bodies() == [BODY, BODY.replace(b"5432", b"0000")]


@pytest.mark.parametrize("mask", [["name"], ["/" + "x" * 256], ["/a"] * 33])
async def test_masks_that_cannot_be(admin: Asking, mask: list[str]) -> None:
    refused = await admin.refused("PATCH", "channels/chatwoot", {"mask": mask})
    assert refused == (422, "invalid_value")
