"""A reader of requests that forgives nothing: RFC 9112, and what a target may be sent."""

from __future__ import annotations

import re
from dataclasses import dataclass

import httptools

_LINE = re.compile(rb"([A-Z]{1,20}) (/[\x21-\x22\x24-\x7e\x80-\xff]*) HTTP/1\.1")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+): ([\t\x20-\x7e\x80-\xff]*)")
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


@dataclass(frozen=True)
class Strict:
    """One request.

    Attributes:
        fields: Names in lower case, and values.
    """

    method: bytes
    path: bytes
    query: bytes
    fields: list[tuple[bytes, bytes]]
    body: bytes


def read_one(raw: bytes) -> Strict:
    """Read exactly one request, and fail where any reader could see another."""
    head, end, body = raw.partition(b"\r\n\r\n")
    assert end
    first, *lines = head.split(b"\r\n")
    line = _LINE.fullmatch(first)
    assert line is not None, first
    fields = []
    for text in lines:
        field = _FIELD.fullmatch(text)
        assert field is not None, text
        fields.append((field[1].lower(), field[2]))
    path, _, query = line[2].partition(b"?")
    request = Strict(line[1], path, query, fields, body)
    _check(request)
    _check_by_llhttp(raw)
    return request


def _check(request: Strict) -> None:
    names = [name for name, _ in request.fields]
    assert request.method not in (b"CONNECT", b"TRACE")
    assert not request.path.startswith(b"//"), "an authority of its own"
    assert b"\\" not in request.path
    assert NEVER.isdisjoint(names)
    assert names.count(b"host") == 1
    lengths = [int(value) for name, value in request.fields if name == b"content-length"]
    assert lengths in ([], [len(request.body)])
    assert lengths or not request.body


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
