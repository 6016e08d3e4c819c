"""Requests that two readers could take for different ones: smuggling, and what looks like it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.fuzz_front import consider
from tests.support.senders import chunked, connection, head, request
from tests.support.strict_http import NotStrict, read_one
from tests.unit.server.support import Served

CHUNKED = ("Transfer-Encoding", "chunked")


async def in_doubt(served: Served, raw: bytes) -> None:
    """A request that is refused, with all that is behind it on its connection."""
    second = request(body=b"smuggled", token=served.token)
    async with connection(served.port) as one:
        answer = await one.exchange(raw + second)
        assert await one.closed(3) == b"", "what is behind it is not answered"
    assert (answer.status, answer.json["error"]["code"]) == (400, "bad_request"), raw
    assert dict(answer.headers)["Connection"] == "close"
    assert await served.events() == []


def webhook(served: Served, *fields: tuple[str, str], version: str = "HTTP/1.1") -> bytes:
    """The head of a webhook with a good token."""
    bearer = ("Authorization", f"Bearer {served.token}")
    return head(f"POST /webhook {version}", [("Host", "relay"), bearer, *fields])


@pytest.mark.parametrize(
    "coding",
    [
        *("chunked,", ",chunked", "chunked, chunked", "\x0bchunked", "chunked\x00", "chunked;q=1"),
        *('"chunked"', "chunked identity", "chun ked", "chunKed, gzip", "cHuNkEd;", "", "chunke"),
    ],
)
async def test_a_coding_that_is_spelled_oddly(served: Served, coding: str) -> None:
    """TE.TE: one reader sees chunks in it, the other one does not."""
    await in_doubt(served, webhook(served, ("Transfer-Encoding", coding)) + b"2\r\n{}\r\n0\r\n\r\n")


@pytest.mark.parametrize("coding", ["Chunked", "\tchunked", "chunked ", "CHUNKED"])
async def test_a_coding_that_everybody_reads_alike(served: Served, coding: str) -> None:
    raw = webhook(served, ("Transfer-Encoding", coding)) + b"2\r\n{}\r\n0\r\n\r\n"
    assert (await served.send(raw)).status == 200
    assert await served.bodies() == [b"{}"]


@pytest.mark.parametrize("keep", ["keep-alive", "close"])
async def test_chunks_in_http_1_0_which_has_none(served: Served, keep: str) -> None:
    """An older reader before the server would take the chunks for the next request."""
    fields = [CHUNKED, ("Connection", keep)]
    raw = webhook(served, *fields, version="HTTP/1.0") + b"2\r\n{}\r\n0\r\n\r\n"
    await in_doubt(served, raw)


@pytest.mark.parametrize(
    "length",
    [
        *(
            "+2",
            "-0",
            "0x2",
            "2,2",
            "2 2",
            "2;",
            "2.0",
            "2e0",
            "1_0",
            "",
            " ",
            "\uff12",
            "2\x0b",
            "\u0966",
        ),
        "18446744073709551616",
        "0" * 100 + "18446744073709551618",
    ],
)
async def test_a_length_that_is_no_number_to_everybody(served: Served, length: str) -> None:
    await in_doubt(served, webhook(served, ("Content-Length", length)) + b"{}")


@pytest.mark.parametrize("length", ["002", "\t2\t", "2 ", "0" * 5_000 + "2"])
async def test_a_length_that_is_written_long(served: Served, length: str) -> None:
    """Python reads no number of more than 4,300 digits: it was answered 500."""
    assert (await served.send(webhook(served, ("Content-Length", length)) + b"{}")).status == 200
    assert await served.bodies() == [b"{}"]


@pytest.mark.parametrize(
    "body",
    [
        *(
            b"2\r\n{}\n0\r\n\r\n",
            b"2\r\n{}\r\n0\r\n\n",
            b"2\n{}\r\n0\r\n\r\n",
            b"2\r{}\r\n0\r\n\r\n",
        ),
        *(
            b"0x2\r\n{}\r\n0\r\n\r\n",
            b"+2\r\n{}\r\n0\r\n\r\n",
            b"2 \r\n{}\r\n0\r\n\r\n",
            b"\r\n\r\n",
        ),
        *(b" 2\r\n{}\r\n0\r\n\r\n", b"10000000000000002\r\n{}\r\n0\r\n\r\n", b"2\r\n{}0\r\n\r\n"),
        *(b"2;a\r{}\r\n0\r\n\r\n", b"2;\nx\r\n{}\r\n0\r\n\r\n", b'2;a="x\r\ny"\r\n{}\r\n0\r\n\r\n'),
        *(
            b"2\r\n{}\r\n0\r\nX: y\n\r\n",
            b"2\r\n{}\r\n0\r\nContent-Length: 9\r\n\r\n",
            b"-1\r\n{}\r\n",
        ),
        *(
            b"2\r\n{}\r\n0\r\n X: y\r\n\r\n",
            b"2\r\n{}\r\n0\r\nX : y\r\n\r\n",
            b"2\r\n{}\r\r\n0\r\n\r\n",
        ),
    ],
)
async def test_chunks_that_end_where_one_likes(served: Served, body: bytes) -> None:
    await in_doubt(served, webhook(served, CHUNKED) + body)


@pytest.mark.parametrize(
    "body",
    [
        *(
            b"2;a=b\r\n{}\r\n0\r\n\r\n",
            b"0002\r\n{}\r\n000;x\r\n\r\n",
            b"2\r\n{}\r\n0\r\nX: y\r\n\r\n",
        ),
        b"0" * 30_000 + b"2\r\n{}\r\n0\r\n\r\n",
    ],
)
async def test_chunks_that_are_strange_and_clear(served: Served, body: bytes) -> None:
    async with connection(served.port) as one:
        assert (await one.exchange(webhook(served, CHUNKED) + body)).status == 200
        assert (await one.exchange(request(body=b"next", token=served.token))).status == 200
    assert await served.bodies() == [b"{}", b"next"]


@pytest.mark.parametrize("version", ["HTTP/2.0", "HTTP/0.9"])
async def test_versions_that_webhooks_do_not_come_by(served: Served, version: str) -> None:
    await in_doubt(served, webhook(served, ("Content-Length", "2"), version=version) + b"{}")


async def test_a_request_for_two_hosts(served: Served) -> None:
    """One of them is where a reader before the server believed that it goes."""
    for other in ("relay", "elsewhere", ""):
        fields = [("HOST", other), ("Content-Length", "2")]
        await in_doubt(served, webhook(served, *fields) + b"{}")


async def test_a_request_without_a_host_is_a_webhook(served: Served) -> None:
    """Nothing here goes by it: where a webhook belongs is said by its path and its token."""
    fields = [("Authorization", f"Bearer {served.token}"), ("Content-Length", "2")]
    for version in ("HTTP/1.1", "HTTP/1.0"):
        assert (await served.send(head(f"POST /webhook {version}", fields) + b"{}")).status == 200


async def test_a_request_without_a_version(served: Served) -> None:
    """HTTP/0.9: one line, and a token could be in it."""
    await in_doubt(served, b"GET /webhook?token=%b\r\n\r\n" % served.token.encode())
    await in_doubt(served, b"GET /api/v1/whoami\r\n\r\n")  # the answer was one of HTTP/0.9, too


@pytest.mark.parametrize("refused", [401, 400, 413])
async def test_a_second_request_behind_a_refused_one(served: Served, refused: int) -> None:
    """Its body is not read: what is in it must not become a request."""
    inner = request(body=b"smuggled", token=served.token)
    outer = {
        401: request(body=inner, token="rly_wrong"),
        400: webhook(served, ("Content-Length", str(len(inner))), CHUNKED) + inner,
        413: request(body=inner, length=1 << 30, token=served.token),
    }[refused]
    async with connection(served.port) as one:
        answer = await one.exchange(outer + inner)
        assert await one.closed(3) == b""
    assert answer.status == refused
    assert await served.events() == []


async def test_spaces_around_a_value_are_no_part_of_it(served: Served) -> None:
    """RFC 9112 §5: they were part of the sender's delivery id, so that a repeat was not known."""
    ids = []
    for written in ("d-1", "d-1 ", "\td-1 \t"):
        fields = [("X-Chatwoot-Delivery", written)]
        ids.append((await served.send(request(headers=fields, token=served.token))).json["id"])
    assert len(set(ids)) == 1


# Any request that is made of such parts, and any order of bytes: see `consider` for what must hold.

METHODS = st.sampled_from([b"POST", b"GET", b"HEAD", b"CONNECT", b"TRACE", b"M-SEARCH", b"post"])
TARGETS = st.sampled_from(
    [
        *(b"/webhook", b"/c/open/x", b"/c/pointed/x?a=1", b"http://h/webhook", b"//webhook", b"*"),
        *(b"/c/open//x", b"/c/open/%2e%2e/x", b"/webhook#x", b"/webhook\\x", b"h:443", b"/api/v1/"),
        *(
            b"/c/open/x?%0d%0aX:y",
            b"/c/open/%00",
            b"/c/..%2fopen/x",
            b"/webhook?token=rly_send",
            b"",
        ),
    ]
)
FIELDS = st.sampled_from(
    [
        *(b"Host: a", b"Host: b", b"Host : c", b"host:", b"Authorization: Bearer rly_send"),
        *(b"Content-Length: 2", b"Content-Length: 5", b"Content-Length: 02 ", b"content-length:2"),
        *(
            b"Content-Length: +2",
            b"Content-Length: 2, 2",
            b"Content-Length : 2",
            b"Content_Length: 9",
        ),
        *(b"Transfer-Encoding: chunked", b"Transfer-Encoding:\tchunked", b"Transfer-Encoding: x"),
        *(
            b"Transfer-Encoding : chunked",
            b"Transfer-Encoding: identity",
            b"X: a\r\n b",
            b"X: a\nY: b",
        ),
        *(b"Connection: close", b"Connection: keep-alive", b"Connection: X-A, host", b"X-A: 1"),
        *(b"Connection: Upgrade", b"Upgrade: h2c", b"Expect: 100-continue", b"Relay-Attempt: 9"),
        *(
            b"X-Forwarded-For: 10.0.0.1",
            b"X-Chatwoot-Delivery: d",
            b"X: \x80\xff",
            b"X: a\x00b",
            b": x",
        ),
    ]
)
BODIES = st.sampled_from(
    [
        *(
            b"",
            b"{}",
            b"12345",
            b"0\r\n\r\n",
            b"2\r\n{}\r\n0\r\n\r\n",
            b"2;x\r\n{}\r\n0\r\nX: y\r\n\r\n",
        ),
        *(b"2\r\n{}\n0\r\n\r\n", b"\r\n", b"POST /c/open/y HTTP/1.1\r\nContent-Length: 0\r\n\r\n"),
    ]
)
VERSIONS = st.sampled_from([b"HTTP/1.1"] * 6 + [b"HTTP/1.0", b"HTTP/2.0", b"HTTP/0.9", b"RTSP/1.0"])
ENDS = st.sampled_from([b"\r\n"] * 12 + [b"\n", b"\r", b"\r\r\n", b" \r\n"])


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """One request, nearly."""
    first = b" ".join([draw(METHODS), draw(TARGETS), draw(VERSIONS)])
    lines = [first, *draw(st.lists(FIELDS, max_size=6)), b""]
    return b"".join(line + draw(ENDS) for line in lines) + draw(BODIES)


@settings(max_examples=400)
@given(st.lists(requests(), min_size=1, max_size=3), st.sampled_from([0, 0, 1, 7, 64]))
def test_no_two_readers_see_different_requests(parts: list[bytes], size: int) -> None:
    consider(bytes([size]) + b"".join(parts))


@settings(max_examples=200)
@given(st.lists(st.binary(max_size=20), max_size=6), st.binary(max_size=40))
def test_the_strict_reader_gives_back_what_was_written(parts: list[bytes], rest: bytes) -> None:
    """The judge of the others is judged, too."""
    body = b"".join(part for part in parts if part)
    for raw in (request(body=body), chunked([p for p in parts if p], "/webhook", None)):
        found = read_one(raw + rest)
        assert (found.method, found.target, found.body, found.rest) == (
            "POST",
            b"/webhook",
            body,
            rest,
        )
        with pytest.raises(NotStrict):
            read_one(raw[:-1])
