"""HTTP/1.1 as the front reads and writes it: a request while it arrives, and an answer's head."""

from __future__ import annotations

import email.utils
import functools
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from http import HTTPStatus

from relay_protocol.errors import RelayError
from relay_server.values import Channel
from relay_server.web.ingest import Incoming

Headers = Sequence[tuple[str, str]]
CLOSE: Headers = (("Connection", "close"),)
KEEP: Headers = (("Connection", "keep-alive"),)


@dataclass(slots=True)
class Request:
    """A request while it arrives."""

    began: float  # when its first byte was parsed; monotonic seconds
    target: bytes = b""
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    head_bytes: int = 0
    method: str = ""
    version: str = ""
    incoming: Incoming | None = None  # set once its sender was let in
    error: RelayError | None = None  # why it is refused
    body: bytearray = field(default_factory=bytearray)  # a list of tiny chunks weighs 20 times more
    keep: bool = True  # the connection may be used again after it
    whole: bool = False  # all of its body came
    followed: bool = False  # more came behind it

    @property
    def channel(self) -> Channel | None:
        return self.incoming.channel if self.incoming else None

    @property
    def connection(self) -> Headers:
        """The answer's `Connection` field, where it differs from the version's default."""
        if not self.keep:
            return CLOSE
        return KEEP if self.version == "1.0" else ()

    def follow(self) -> None:
        """Something comes behind it, which is not read: it is the last one here."""
        self.followed, self.keep = True, False


def answer_head(status: int, length: int, headers: Headers) -> bytes:
    """An answer's bytes up to its body."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
    date = _date(int(time.time()))
    return f"{_status_line(status)}Content-Length: {length}\r\n{date}{lines}\r\n".encode("ascii")


@functools.cache
def _status_line(status: int) -> str:
    phrase = HTTPStatus(status).phrase
    return f"HTTP/1.1 {status} {phrase}\r\nContent-Type: application/json\r\n"


@functools.lru_cache(maxsize=1)
def _date(second: int) -> str:
    """The `Date` field (RFC 9110 §6.6.1)."""
    return f"Date: {email.utils.formatdate(second, usegmt=True)}\r\n"
