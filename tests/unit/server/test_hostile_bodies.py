"""Bodies that are more than they seem, and heads and bodies that never end."""

from __future__ import annotations

import gzip
import tracemalloc

import pytest

from relay_protocol.limits import MAX_HEAD_BYTES
from tests.support.senders import connection, head, request
from tests.unit.server.asking import Asking
from tests.unit.server.support import Served

MIB = 1_048_576
ROOM = 8 * MIB  # a body arrives, is kept, and is read by the test, too


def bomb() -> bytes:
    """1 GiB of zeros in less than 1 MiB: a gzip stream may have many members (RFC 1952 §2.2)."""
    raw = gzip.compress(bytes(16 * MIB), mtime=0) * 64
    assert len(raw) < MIB
    return raw


@pytest.mark.parametrize(
    "coding", ["gzip", "x-gzip", "deflate", "br", "zstd", "gzip, gzip", "\xff"]
)
async def test_a_compressed_body_is_never_inflated(served: Served, coding: str) -> None:
    body = bomb()
    await served.configure(key_pointer="/a")
    raw = request(body=body, headers=[("Content-Encoding", coding)], token=served.token)
    tracemalloc.start()
    try:
        answer = await served.send(raw)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert answer.status == 200
    assert peak < ROOM
    [event] = await served.events()
    assert event.body == body
    assert (b"Content-Encoding", coding.encode("latin-1")) in event.head.request.headers


@pytest.mark.parametrize("inside", [b'{"name":"x","scopes":["send"]}', b"[" * (16 * MIB)])
async def test_the_api_inflates_nothing_either(
    served: Served, admin: Asking, inside: bytes
) -> None:
    body, fields = gzip.compress(inside, mtime=0), [("Content-Encoding", "gzip")]
    raw = request("/api/v1/tokens", body, fields, token=admin.token)
    tracemalloc.start()
    try:
        answer = await served.send(raw)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (answer.status, answer.json["error"]["code"]) == (422, "invalid_value")
    assert peak < ROOM


@pytest.mark.parametrize("target", ["/webhook", "/api/v1/whoami", "/connect", "/nowhere"])
async def test_100_000_fields_cost_no_more_than_128(served: Served, target: str) -> None:
    """They are refused long before they end."""
    fields = b"".join(b"X-%d: y\r\n" % number for number in range(100_000))
    begin = head(f"POST {target} HTTP/1.1", [("Host", "relay")]).removesuffix(b"\r\n")
    tracemalloc.start()
    try:
        async with connection(served.port) as one:
            answer = await one.exchange(begin + fields + b"\r\n")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (answer.status, answer.json["error"]["code"]) == (431, "headers_too_large")
    assert peak < len(fields) + 20 * MAX_HEAD_BYTES, "the test itself has most of it"
    assert await served.events() == []


async def test_deep_json_of_the_largest_size_is_a_webhook(served: Served) -> None:
    """Its key is sought after it was let in: that must not fail."""
    await served.configure(key_pointer="/a/a/a")
    for unit in (b"[", b'{"a":', b'"', b"9", b"\\ud800", b"\xff", b"\0", b"[[],"):
        body = (unit * MIB)[: MIB - 1]
        assert (await served.send(request(body=body, token=served.token))).status == 200
    assert {event.head.key for event in await served.events()} == {""}
