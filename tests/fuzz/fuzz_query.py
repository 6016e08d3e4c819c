"""Any target and any field that lets in: a line each, in the order of `FIELDS`."""

from __future__ import annotations

from ipaddress import ip_network
from urllib.parse import unquote_to_bytes

from relay_server.web.capture import (
    BadTarget,
    Head,
    Target,
    origin_form,
    read_head,
    read_target,
    sender_address,
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
    fields = list(zip(FIELDS, values, strict=False))
    target = raw.decode("utf-8", "surrogateescape")
    assert origin_form(origin_form(target)) == origin_form(target) or not target.startswith("/")
    try:
        found = read_target("POST", raw, "chatwoot")
    except BadTarget:
        return
    if found.channel == "chatwoot":
        _check_target(origin_form(target), found)
    assert found.request_target.startswith("/")
    _check_head(fields, read_head(fields))


def _check_target(target: str, found: Target) -> None:
    path, _, query = target.partition("?")
    assert found.request_target.partition("?")[0] in (path, "/" + path.removeprefix("/c/chatwoot/"))
    kept = found.request_target.partition("?")[2].split("&")
    for pair in query.split("&"):
        name, _, value = pair.partition("=")
        ours = unquote_to_bytes(name) == b"token" and unquote_to_bytes(value).startswith(TOKEN)
        if not ours and pair:
            assert kept.pop(kept.index(pair)) == pair
    assert set(kept) <= {""}


def _check_head(fields: list[tuple[bytes, bytes]], head: Head) -> None:
    assert set(head.headers) <= set(fields)
    assert not any(TOKEN in value for _, value in head.headers)
    address, scheme = sender_address("10.1.2.3", "-", head, PROXIES)
    assert scheme in ("-", "http", "https")
    address.encode()
    assert sender_address("203.0.113.9", "-", head, PROXIES) == ("203.0.113.9", "-")


if __name__ == "__main__":
    run(consider)
