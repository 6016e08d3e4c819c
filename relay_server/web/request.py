"""A request to the public port as far as it came, what may be wrong with it, its answer's head.

`front.py` reads requests and says what becomes of them.
"""

from __future__ import annotations

import email.utils
import functools
from collections import deque
from http import HTTPStatus

import msgspec

from relay_protocol.errors import RelayError
from relay_protocol.limits import MAX_HEAD_BYTES
from relay_server.web.ingest import Incoming
from relay_server.web.server import MAX_HEADERS, MAX_LINE_BYTES

VERSIONS = ("1.1", "1.0")
_HANDSHAKE = b"\x16\x03"  # a TLS record's first bytes


class TargetTooLong(RelayError, code="target_too_long", status=414):
    """Path and query are too long."""

    message = f"path and query are longer than {MAX_LINE_BYTES} bytes"


class HeadTooLarge(RelayError, code="headers_too_large", status=431):
    """All header fields together are too large."""

    message = f"the header fields are too many, or larger than {MAX_HEAD_BYTES} bytes together"


class NotHttp(RelayError, code="bad_request", status=400):
    """The bytes are no HTTP/1 request, or one that two readers could read differently."""

    message = "this is no HTTP/1 request, or one for two hosts, with an upgrade or a strange coding"


class SpokeTls(NotHttp, code="spoke_tls", status=400):
    """A TLS handshake came where none is spoken: whoever made it never reads this."""

    message = "https:// was spoken to a port that takes http:// alone"
    hint = "The sender's URL begins with http:// here, or names the proxy that has the certificate."


def no_http(data: bytes) -> NotHttp:
    """Why bytes that a parser cannot read are none of ours."""
    return SpokeTls() if data.startswith(_HANDSHAKE) else NotHttp()


class Request(msgspec.Struct):
    """What came of a request so far.

    Attributes:
        began: When its first byte came; monotonic seconds.
        raw: What came of its head, to be lent.
        target: Once the head is whole, below the public URL's path.
        asked_for: As it was asked for, where there is such a path.
        fields: The newest, one more than there may be: too many weigh no more than that.
        method: Set once its head is whole.
        incoming: Set once its sender was let in.
        arriving: Bytes of its body, as counted by the front.
        whole: All of its body came.
        followed: More came behind it.
        keep: The connection may be used again after it.
        error: Why it is refused.
        told: What the parser gave away so far.
        untold: What it has taken since.
    """

    began: float | None = None
    raw: list[bytes] = []
    target: bytes = b""
    asked_for: bytes = b""
    fields: deque[tuple[bytes, bytes]] = msgspec.field(
        default_factory=functools.partial(deque, (), MAX_HEADERS + 1)
    )
    method: str = ""
    version: str = ""
    incoming: Incoming | None = None
    body: bytes | bytearray = b""
    arriving: int = 0
    whole: bool = False
    followed: bool = False
    keep: bool = True
    error: Exception | None = None
    told: int = 0
    untold: int = 0


@functools.lru_cache(maxsize=32)
def answer_head(
    status: int, length: int, retry_after_s: int, kept_as: str, second: int, plain: bool
) -> bytes:
    """An answer's bytes up to its body: those of a second are mostly the same.

    `kept_as` is the HTTP version of a connection that stays open, and empty for one that does not.
    """
    lines = [
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
        "Content-Type: text/plain; charset=utf-8" if plain else "Content-Type: application/json",
        f"Content-Length: {length}",
        f"Date: {email.utils.formatdate(second, usegmt=True)}",
    ]
    if plain:  # what a sender chose is not to be taken for anything else
        lines.append("X-Content-Type-Options: nosniff")
    if retry_after_s:
        lines.append(f"Retry-After: {retry_after_s}")
    if kept_as != "1.1":  # else it is what the version means by itself
        lines.append(f"Connection: {'keep-alive' if kept_as else 'close'}")
    return "\r\n".join([*lines, "", ""]).encode("ascii")
