"""Memory of the public port: heads and bodies that are more than they seem, or never end."""

from __future__ import annotations

import functools
import gzip
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from relay_protocol.limits import MAX_HEAD_BYTES
from relay_server.web import front
from tests.support.senders import chunked, connection, head, read_answer, request
from tests.support.waiting import until
from tests.unit.server.asking import Asking
from tests.unit.server.support import Served

MIB = 1_048_576
ROOM = 8 * MIB  # a body arrives, is kept, and is read by the test, too


@contextmanager
def grows_less_than(count: int) -> Iterator[None]:
    """Fail where so many bytes more are in use at any moment of the block, the test's own too."""
    tracemalloc.start()
    try:
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < count


@functools.cache
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
    with grows_less_than(ROOM):
        assert (await served.send(raw)).status == 200
    [event] = await served.events()
    assert event.body == body
    assert (b"Content-Encoding", coding.encode("latin-1")) in event.head.request.headers


@pytest.mark.parametrize("inside", [b'{"name":"x","scopes":["send"]}', b"[" * (16 * MIB)])
async def test_the_api_inflates_nothing_either(
    served: Served, admin: Asking, inside: bytes
) -> None:
    body, fields = gzip.compress(inside, mtime=0), [("Content-Encoding", "gzip")]
    raw = request("/api/v1/tokens", body, fields, token=admin.token)
    with grows_less_than(ROOM):
        answer = await served.send(raw)
    assert (answer.status, answer.json["error"]["code"]) == (422, "invalid_value")


@pytest.mark.parametrize("target", ["/webhook", "/api/v1/whoami", "/connect", "/nowhere"])
async def test_100_000_fields_cost_no_more_than_128(served: Served, target: str) -> None:
    """They are refused long before they end."""
    fields = b"".join(b"X-%d: y\r\n" % number for number in range(100_000))
    begin = head(f"POST {target} HTTP/1.1", [("Host", "relay")]).removesuffix(b"\r\n")
    with grows_less_than(len(fields) + 20 * MAX_HEAD_BYTES):
        answer = await served.send(begin + fields + b"\r\n")
    assert (answer.status, answer.json["error"]["code"]) == (431, "headers_too_large")
    assert await served.events() == []


@pytest.mark.parametrize("within", ["value", "name", "lines", "trailer", "trailers", "extension"])
async def test_a_field_that_never_ends_is_not_kept(served: Served, within: str) -> None:
    """The parser gives a field away once it is whole: until then it would grow for seconds."""
    begun = {
        "value": b"POST /webhook HTTP/1.1\r\nX: ",
        "name": b"POST /webhook HTTP/1.1\r\n",
        "lines": b"",
        "trailer": chunked([b"x"], "/webhook", served.token).removesuffix(b"\r\n") + b"X: ",
        "trailers": chunked([b"x"], "/webhook", served.token).removesuffix(b"\r\n"),
        "extension": chunked([], "/webhook", served.token).removesuffix(b"0\r\n\r\n") + b"1;",
    }[within]
    filling = {"lines": b"\r\n" * 32_768, "trailers": b"A: b\r\n" * 10_922}.get(
        within, b"x" * 65_536
    )
    with grows_less_than(64 * 65_536 * 2 + 3_000_000):
        answer = await served.send(begun + filling * 64)
    assert (answer.status, answer.json["error"]["code"]) == (431, "headers_too_large")
    await served.all_left()
    assert await served.events() == []


async def test_deep_json_of_the_largest_size_is_a_webhook(served: Served) -> None:
    """Its key is sought after it was let in: that must not fail."""
    await served.configure(key_pointer="/a/a/a")
    for unit in (b"[", b'{"a":', b'"', b"9", b"\\ud800", b"\xff", b"\0", b"[[],"):
        body = (unit * MIB)[: MIB - 1]
        assert (await served.send(request(body=body, token=served.token))).status == 200
    assert {event.head.key for event in await served.events()} == {""}


async def test_tiny_chunks_weigh_no_more_than_their_body(served: Served) -> None:
    count = 50_000
    raw = chunked([b"ab"] * count, "/webhook", served.token)
    async with connection(served.port) as one:
        assert (await one.exchange(request(token=served.token))).status == 200
        await one.send(raw[:300])
        await until(lambda: served.doors)
        with grows_less_than(20 * count):
            await one.send(raw[300:-5])
            [door] = served.doors
            await until(lambda: len(door._request.body) == 2 * count)
        assert (await one.exchange(raw[-5:])).status == 200

    assert (await served.bodies())[-1] == b"ab" * count


async def test_bodies_on_all_connections_together_are_bounded(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Above the bound a sender is asked to come back; what it held is free again."""
    monkeypatch.setattr(front, "MAX_ARRIVING_BYTES", 1_000)
    half_come = request(body=b"x" * 900, length=1_000, token=served.token)

    async with connection(served.port) as one, connection(served.port) as two:
        await one.send(half_come)
        await until(lambda: served.front.arriving == 900)
        await two.send(half_come)
        refused = await read_answer(two.reader)
        assert (refused.status, served.front.arriving) == (429, 900)

    await until(lambda: served.front.arriving == 0)
    assert (await served.send(request(body=b"x" * 999, token=served.token))).status == 200
    assert served.front.arriving == 0
