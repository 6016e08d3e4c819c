"""Any text as a name, a key's pointer or a network, as an API user writes it."""

from __future__ import annotations

from urllib.parse import quote, unquote

from yarl import URL

from relay_protocol.text import harmless
from relay_server.channels import check_name, check_subscription_name, follow
from relay_server.configs import ChannelConfig
from relay_server.errors import InvalidValue
from relay_server.settables import check
from tests.fuzz.running import run

NAME_CHARS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789._-")
BODY = b'{"a":[1,{"b":"c"}],"":2}'


def consider(data: bytes) -> None:
    """What is taken can be stored, shown, and found again by its URL."""
    text = data.decode("utf-8", "surrogateescape")  # lone surrogates, too
    _consider_name(text)
    _consider_subscription(text)
    _consider_config(text)
    assert harmless(harmless(text)) == harmless(text)


def _consider_name(text: str) -> None:
    try:
        assert check_name(text) == text
    except InvalidValue:
        return
    assert set(text) <= NAME_CHARS
    assert text[0] not in "._-"
    assert len(text) < 64


def _consider_subscription(text: str) -> None:
    try:
        assert check_subscription_name(text) == text
    except InvalidValue:
        return
    assert 0 < len(text) < 64
    assert harmless(text) == text
    path = URL(f"http://relay/subscriptions/{quote(text, safe='')}/pause", encoded=True).raw_path
    assert unquote(path.split("/")[2]) == text
    assert URL(f"http://relay/subscriptions/{quote(text, safe='')}").parts[-1] == text


def _consider_config(text: str) -> None:
    for setting in ({"key_pointer": text}, {"allow_from": (text,)}):
        try:
            check(ChannelConfig, setting)
        except InvalidValue:
            continue
        follow(BODY, str(setting.get("key_pointer", "")))


if __name__ == "__main__":
    run(consider)
