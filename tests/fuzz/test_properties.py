"""Fuzz targets fed by Hypothesis, with input that is built from parts that make sense."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.fuzz.fuzz_front import consider as consider_front
from tests.fuzz.fuzz_query import consider as consider_target
from tests.fuzz.fuzz_signature import consider as consider_signature
from tests.support.senders import chunked, request
from tests.support.strict import NotStrict, read_one

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
    consider_front(bytes([size]) + b"".join(parts))


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


@given(st.lists(st.binary(max_size=30).map(lambda raw: raw.replace(b"\n", b"")), max_size=8))
@example([b"/webhook?token=rly_a&token=b&%74oken=rly_c;d"])
@example([b"/webhook?a=%zz&%=%&&=", b"Basic %%%", b"10.0.0.2,\xff"])
@example([b"/?" + b"&" * 5_000])
def test_no_target_and_no_field_breaks_the_reader(lines: list[bytes]) -> None:
    consider_target(b"\n".join(lines))


@given(
    st.sampled_from([b"@", b"sha256=@", b"SHA256=@", b"sha1=@", b"sha256=", b"@@", b"sha256=\xff"]),
    st.one_of(
        st.integers(1_783_000_400, 1_783_001_200).map(lambda n: b"%d" % n),
        st.sampled_from([b"-1783000810", b"1783000810.0", b"0", b"9" * 5_000, b"", b"+1", b"1_0"]),
        st.text("0123456789\u0661\uff11\xb2", max_size=12).map(str.encode),
    ),
    st.binary(max_size=20),
)
def test_a_signature_fits_where_it_should_and_nowhere_else(
    signature: bytes, stamp: bytes, body: bytes
) -> None:
    consider_signature(b"\n".join([signature, stamp, body]))
