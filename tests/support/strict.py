"""A second reader of HTTP/1 requests, that forgives nothing: what it reads, everybody reads so.

It is written from RFC 9112 alone, and shares no line with llhttp or with Relay.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import httptools

_METHOD = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # a token, RFC 9110 §5.6.2
_TARGET = re.compile(rb"[\x21-\x7e]+")  # no space and no control character
_REPLAYED = re.compile(rb"[\x21-\x7e\x80-\xff]+")  # what came as raw UTF-8 goes on as it came
_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
_LENGTH = re.compile(rb"[0-9]+")
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,16})((?:;[\t\x20-\x7e\x80-\xff]*)?)")

# What changes how a connection is used, or makes a target hand the request on.
NEVER = frozenset(
    {
        b"connection",
        b"expect",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)


class NotStrict(Exception):
    """This is no request, or one that some reader could take for another one."""


@dataclass(frozen=True, slots=True)
class StrictRequest:
    """One request, and what came behind it."""

    method: str
    target: bytes
    version: str
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    rest: bytes

    def values(self, name: bytes) -> list[bytes]:
        """What the fields of a name say, in order."""
        return [value for other, value in self.headers if other.lower() == name]


def read_one(raw: bytes, targets: re.Pattern[bytes] = _TARGET) -> StrictRequest:
    """Read the request that some bytes begin with; its target must be one of those allowed.

    Raises:
        NotStrict: There is none, it is not whole, or its end is in doubt.
    """
    head, end, rest = raw.partition(b"\r\n\r\n")
    if not end:
        raise NotStrict("the head is not whole")
    first, *lines = head.split(b"\r\n")
    method, target, version = _first(first, targets)
    headers = tuple(_field(line) for line in lines)
    hosts = [value for name, value in headers if name.lower() == b"host"]
    if len(hosts) > 1:
        raise NotStrict("it is for several hosts")
    body, rest = _body(headers, version, rest)
    return StrictRequest(method.decode(), target, version, headers, body, rest)


def read_for_target(raw: bytes) -> StrictRequest:
    """Read exactly one request, and fail where it is none that a target may be sent."""
    request = read_one(raw, _REPLAYED)
    names = [name.lower() for name, _ in request.headers]
    assert request.rest == b""
    assert request.version == "1.1"
    assert re.fullmatch("[A-Z]{1,20}", request.method)
    assert request.method not in ("CONNECT", "TRACE")
    assert request.target.startswith(b"/")
    assert not request.target.startswith(b"//"), "an authority of its own"
    assert b"\\" not in request.target.partition(b"?")[0]
    assert b"#" not in request.target
    assert NEVER.isdisjoint(names)
    assert names.count(b"host") == 1
    assert names.count(b"content-length") == 1 or not request.body
    _check_by_llhttp(raw)
    return request


def _first(line: bytes, targets: re.Pattern[bytes]) -> tuple[bytes, bytes, str]:
    parts = line.split(b" ")
    if len(parts) != 3:
        raise NotStrict(f"the first line has not three parts: {line[:80]!r}")
    method, target, version = parts
    if not _METHOD.fullmatch(method) or not targets.fullmatch(target):
        raise NotStrict("no method, or no target")
    if version not in (b"HTTP/1.0", b"HTTP/1.1"):
        raise NotStrict("no version of HTTP/1")
    return method, target, version[5:].decode()


def _field(line: bytes) -> tuple[bytes, bytes]:
    name, colon, value = line.partition(b":")
    if not colon or not _METHOD.fullmatch(name) or not _VALUE.fullmatch(value):
        raise NotStrict("no header field")
    return name, value.strip(b" \t")


def _body(
    headers: tuple[tuple[bytes, bytes], ...], version: str, rest: bytes
) -> tuple[bytes, bytes]:
    lengths = [value for name, value in headers if name.lower() == b"content-length"]
    codings = [value for name, value in headers if name.lower() == b"transfer-encoding"]
    if codings:
        if lengths or len(codings) > 1 or codings[0].lower() != b"chunked" or version == "1.0":
            raise NotStrict("its coding is not chunked alone")
        return _chunks(rest)
    if not lengths:
        return b"", rest
    if len(lengths) > 1 or not _LENGTH.fullmatch(lengths[0]) or len(lengths[0].lstrip(b"0")) > 15:
        raise NotStrict("its length is in doubt")
    length = int(lengths[0].lstrip(b"0") or b"0")
    if len(rest) < length:
        raise NotStrict("the body is not whole")
    return rest[:length], rest[length:]


def _chunks(rest: bytes) -> tuple[bytes, bytes]:
    body = b""
    while True:
        line, end, rest = rest.partition(b"\r\n")
        found = _SIZE.fullmatch(line)
        if not end or found is None:
            raise NotStrict("no size of a chunk")
        size = int(found[1], 16)
        if size == 0:
            return body, _after_trailers(rest)
        if len(rest) < size + 2 or rest[size : size + 2] != b"\r\n":
            raise NotStrict("a chunk has not the size that it says")
        body, rest = body + rest[:size], rest[size + 2 :]


def _after_trailers(rest: bytes) -> bytes:
    while True:
        line, end, rest = rest.partition(b"\r\n")
        if not end:
            raise NotStrict("the trailers are not whole")
        if not line:
            return rest
        _field(line)


def _check_by_llhttp(raw: bytes) -> None:
    """The parser of Node and many others counts one request, too."""
    counted: list[str] = []

    class Counting:
        def on_message_begin(self) -> None:
            counted.append("begin")

        def on_message_complete(self) -> None:
            counted.append("complete")

    parser = httptools.HttpRequestParser(Counting())
    method, path, rest = raw.split(b" ", 2)
    # It knows the methods that are registered and ASCII paths: others are spoken to it as these.
    method = method if method in _REGISTERED else b"POST"
    parser.feed_data(b" ".join([method, re.sub(rb"[\x80-\xff]", b"x", path), rest]))
    assert counted == ["begin", "complete"]
    assert not parser.should_upgrade()


_REGISTERED = frozenset({b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH"})
