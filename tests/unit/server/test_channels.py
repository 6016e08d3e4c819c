"""Names, rules, and what a body says of itself, however hostile."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from relay_server.channels import (
    MAX_KEY_CHARS,
    MAX_KIND_CHARS,
    check_name,
    check_subscription_name,
    identify,
)
from relay_server.configs import (
    ChannelConfig,
    SenderKind,
)
from relay_server.errors import InvalidValue

FIXTURES = Path(__file__).parents[3] / "relay_chatwoot" / "samples"
CHATWOOT = ChannelConfig()
OTHER = ChannelConfig(sender=SenderKind.OTHER)
POINTED = ChannelConfig(sender=SenderKind.OTHER, key_pointer="/a/b~1c~0d/0")
BOTH = ChannelConfig(key_pointer="/a")
CONFIGS = (CHATWOOT, OTHER, POINTED, BOTH)


@pytest.mark.parametrize("name", ["a", "0", "chatwoot", "a.b_c-d", "x" * 63])
def test_names(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize(
    "name", ["", "A", "-a", ".", "..", "a/b", "a b", "é", "x" * 64, "a\n", "a\x00", "\na", "a?b"]
)
def test_names_that_are_none(name: str) -> None:
    with pytest.raises(InvalidValue):
        check_name(name)


def test_names_that_the_server_keeps_for_itself() -> None:
    assert check_name("canary") == "canary"
    for name in ("canary-", "canary-1", "Not a name"):
        with pytest.raises(InvalidValue):
            check_name(name)


@pytest.mark.parametrize(
    "name", ["João", "Ana on her laptop", "x" * 63, "...", "名前", "👨\u200d👩\u200d👧"]
)
def test_subscription_names(name: str) -> None:
    assert check_subscription_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        *("", " a", "a/b", "a\n", "a\x1b[2J", "x" * 64, "\ta", "a\x7f", ".", ".."),
        *("ana\u200b", "a\u202eb", "a\x85", "a\u2028b", "a\ud800", "a\ufeff"),
    ],
)
def test_subscription_names_that_are_none(name: str) -> None:
    with pytest.raises(InvalidValue):
        check_subscription_name(name)


@pytest.mark.parametrize(
    ("body", "key", "kind"),
    [
        (
            b'{"event":"automation_event.message_created","id":7}',
            "7",
            "automation_event.message_created",
        ),
        (b'{"event":"macro.executed","id":7}', "7", "macro.executed"),
        (b'{"event":"conversation_created","id":0}', "0", "conversation_created"),
        (b'{"event":"conversation_created","id":"7"}', "7", "conversation_created"),
        (
            b'{"event":"conversation_created","id":1,"conversation":{"id":2}}',
            "2",
            "conversation_created",
        ),
        (b'{"event":"conversation_created","id":1,"conversation":{}}', "1", "conversation_created"),
        (b'{"event":"conversation_created"}', "", "conversation_created"),
        (b'{"event":"message_created","id":7}', "", "message_created"),
        (b'{"event":"message_created","conversation":{"id":null}}', "", "message_created"),
        (b'{"conversation":{"id":7}}', "7", ""),
        (b'{"account":{"id":2},"conversation":{"id":7}}', "2/7", ""),
        (b'{"account":{"id":2},"conversation":{"id":7,"account":{"id":3}}}', "2/7", ""),
        (b'{"account":{"id":2},"event":"macro.executed","id":7}', "2/7", "macro.executed"),
        (b'{"account":{"id":2},"event":"contact_created","id":7}', "", "contact_created"),
        (b'{"account":{},"conversation":{"id":7}}', "7", ""),
        (
            b'{"event":"conversation_typing_on","conversation":{"id":7,"account":{"id":2}}}',
            "2/7",
            "conversation_typing_on",
        ),
        (
            b'{"event":"webwidget_triggered","id":9,"account":{"id":2},"current_conversation":{"id":7}}',
            "2/7",
            "webwidget_triggered",
        ),
        (b"{}", "", ""),
    ],
)
def test_a_body_of_chatwoot_is_ordered_by_its_account_and_conversation(
    body: bytes, key: str, kind: str
) -> None:
    assert identify(CHATWOOT, body) == (key, kind)


def test_every_fixture_says_what_it_is() -> None:
    files = sorted(FIXTURES.glob("*.json"))
    assert len(files) == 20
    for file in files:
        body = json.loads(file.read_bytes())
        conversation = body.get("conversation", {}).get("id")
        if conversation is None and "messages" in body and "inbox_id" in body:
            conversation = body["id"]
        expected = "" if conversation is None else f"2/{conversation}"
        assert identify(CHATWOOT, file.read_bytes()) == (expected, body["event"]), file.name
        assert identify(OTHER, file.read_bytes()) == ("", "")


HOSTILE = {
    "open lists": b"[" * 200_000,
    "lists": b"[" * 200_000 + b"]" * 200_000,
    "objects": b'{"a":' * 200_000 + b"1" + b"}" * 200_000,
    "lists in a field": b'{"event":"x","z":' + b"[" * 200_000 + b"]" * 200_000 + b"}",
    "lists as the key": b'{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}",
    "number": b'{"a":%(n)b,"event":"x","conversation":{"id":%(n)b}}' % {b"n": b"9" * 5_000},
    "exponent": b'{"a":1e999999,"event":"x","conversation":{"id":1e999999}}',
    "surrogates": rb'{"a":"\ud800","event":"\udfff","conversation":{"id":"\udc00\ud800"}}',
    "bytes": b'{"a":"\xff\xfe","event":"\xff","conversation":{"id":"\xc3"}}',
    "nothing": b"",
    "NUL": b"\x00" * 10,
    "mark": b'\xef\xbb\xbf{"event":"x"}',
    "null": b'{"event":null,"conversation":null,"a":null}',
    "other types": b'{"event":["x"],"conversation":"7","a":{}}',
    "a list": b"[1,2,3]",
    "two": b"{}{}",
    "gzip": b"\x1f\x8b\x08\x00\x00\x00\x00\x00",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_body_is_ordered_with_its_channel(name: str) -> None:
    for config in CONFIGS:
        assert identify(config, HOSTILE[name]) == ("", "")


def test_the_last_of_equal_names_counts() -> None:
    body = b'{"a":"1","event":"x","conversation":{"id":1},"conversation":{"id":2},"a":"3"}'
    assert identify(CHATWOOT, body) == ("2", "x")
    assert identify(BOTH, body) == ("3", "x")


def test_huge_keys_are_cut() -> None:
    huge = b'{"event":"%(x)b","a":"%(x)b","conversation":{"id":"%(x)b"}}' % {b"x": b"k" * 100_000}
    for config in (CHATWOOT, BOTH):
        assert identify(config, huge) == ("k" * MAX_KEY_CHARS, "k" * MAX_KIND_CHARS)
    digits = b'{"a":' + b"7" * 4_000 + b"}"
    assert identify(BOTH, digits) == ("7" * MAX_KEY_CHARS, "")


def test_what_is_known_is_read_though_the_rest_is_wrong() -> None:
    body = b'{"z":"\xff","y":%b,"event":"x","conversation":{"id":7}}' % (b"9" * 5_000)
    assert identify(CHATWOOT, body) == ("7", "x")
