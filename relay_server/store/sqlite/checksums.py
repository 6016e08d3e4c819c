"""Numbers that stand for a webhook: one finds its repeats, one shows that its bytes were damaged.

Both come of one pass over the body, because the thread that writes does this for each webhook.
"""

from __future__ import annotations

import zlib
from typing import NamedTuple

from relay_server.values import NewEvent

_PIECE = 4_096  # bytes
LINE_BITS = 31


class Checksums(NamedTuple):
    """Those of one webhook.

    Attributes:
        body: CRC-32 of the body.
        digest: Finds webhooks of the same method, request target and body, and proves nothing.
            Those of one body lie together: its CRC-32 is in the upper bits.
        event: CRC-32 of the body and the request, as they are stored.
    """

    body: int
    digest: int
    event: int


def checksums(new: NewEvent, request: bytes) -> Checksums:
    """Reckon them; `request` is the request as it is stored."""
    body = crc(new.body)
    line = crc(f"{new.request.method} {new.request.request_target}".encode())
    # One bit of the line goes, so that both fit into SQLite's signed 64 bits.
    return Checksums(body, body << LINE_BITS | line >> 1, crc(request, body))


def crc(data: bytes, start: int = 0) -> int:
    """CRC-32, going on from that of what comes before.

    Taken in pieces, because for larger ones zlib lets go of the interpreter, and this thread would
    wait for its turn again for each webhook.
    """
    if len(data) <= _PIECE:
        return zlib.crc32(data, start)
    view, value = memoryview(data), start
    for at in range(0, len(view), _PIECE):
        value = zlib.crc32(view[at : at + _PIECE], value)
    return value
