"""A second reader of HTTP/1 requests, that forgives nothing: what it reads, everybody reads so.

It is written from RFC 9112 alone, and shares no line with llhttp or with Relay.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_METHOD = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # a token, RFC 9110 §5.6.2
_TARGET = re.compile(rb"[\x21-\x7e]+")  # no space and no control character
_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
_LENGTH = re.compile(rb"[0-9]+")
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,16})((?:;[\t\x20-\x7e\x80-\xff]*)?)")


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


def read_one(raw: bytes) -> StrictRequest:
    """Read the request that some bytes begin with.

    Raises:
        NotStrict: There is none, it is not whole, or its end is in doubt.
    """
    head, end, rest = raw.partition(b"\r\n\r\n")
    if not end:
        raise NotStrict("the head is not whole")
    first, *lines = head.split(b"\r\n")
    method, target, version = _first(first)
    headers = tuple(_field(line) for line in lines)
    hosts = [value for name, value in headers if name.lower() == b"host"]
    if len(hosts) > 1:
        raise NotStrict("it is for several hosts")
    body, rest = _body(headers, version, rest)
    return StrictRequest(method.decode(), target, version, headers, body, rest)


def _first(line: bytes) -> tuple[bytes, bytes, str]:
    parts = line.split(b" ")
    if len(parts) != 3:
        raise NotStrict(f"the first line has not three parts: {line[:80]!r}")
    method, target, version = parts
    if not _METHOD.fullmatch(method) or not _TARGET.fullmatch(target):
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
