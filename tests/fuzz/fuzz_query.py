"""Any target and any field that lets in: a line each, in the order of `FIELDS`."""

from __future__ import annotations

from ipaddress import ip_network
from urllib.parse import unquote_to_bytes

from relay_server.web.capture import (
    BadTarget,
    Head,
    HeadTooLarge,
    origin_form,
    read_head,
    sender_address,
    split_channel,
)
from tests.fuzz.running import run

FIELDS = (
    b"Authorization",
    b"X-Forwarded-For",
    b"X-Forwarded-Proto",
    b"Connection",
    b"X-Other",
    b"Authorization",
    b"X-Forwarded-For",
)
PROXIES = (ip_network("10.0.0.0/8"), ip_network("::1/128"))
TOKEN = b"rly_"


def consider(data: bytes) -> None:
    """Whatever is written, a token of ours is not kept, and all else is."""
    raw, *values = data.split(b"\n")
    target = raw.decode("utf-8", "surrogateescape")
    assert origin_form(origin_form(target)) == origin_form(target) or not target.startswith("/")
    try:
        head = read_head(target, list(zip(FIELDS, values, strict=False)))
    except (BadTarget, HeadTooLarge):
        return
    _check_head(origin_form(target), head)
    assert split_channel(head.target, "chatwoot")[1].startswith("/")
    address, scheme = sender_address("10.1.2.3", head, PROXIES)
    assert scheme in (None, "http", "https")
    address.encode()
    assert sender_address("203.0.113.9", head, PROXIES) == ("203.0.113.9", None)


def _check_head(target: str, head: Head) -> None:
    assert head.target.startswith("/")
    assert not any(TOKEN in value for _, value in head.headers)
    path, _, query = target.partition("?")
    assert head.target.partition("?")[0] == path
    kept = head.target.partition("?")[2].split("&")
    pairs = query.split("&")
    for pair in pairs:
        name, _, value = pair.partition("=")
        ours = unquote_to_bytes(name) == b"token" and unquote_to_bytes(value).startswith(TOKEN)
        if not ours and pair:
            assert kept.pop(kept.index(pair)) == pair
    assert set(kept) <= {""}


if __name__ == "__main__":
    run(consider)
