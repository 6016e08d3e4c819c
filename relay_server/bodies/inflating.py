"""A compressed body as it was before, as far as that is asked for. Pure."""

from __future__ import annotations

import zlib

from relay_protocol.values import HeaderList

CODING = b"content-encoding"
MAX_INFLATED_BYTES = 8_388_608  # of a compressed body, as it is shown; the rest is left out
COMPRESSED = frozenset({b"gzip", b"x-gzip", b"deflate"})  # as `Content-Encoding` says it
# What such a body begins with (RFC 1952 §2.3.1, RFC 1950 §2.2): nearly none does, and is asked of
# each answer, so it is looked at before the headers.
BEGINNINGS = (b"\x1f\x8b", *(bytes([window << 4 | 8]) for window in range(8)))


def inflated(body: bytes, headers: HeaderList, most: int) -> bytes | None:
    """So many bytes of what its headers say that it was; None where it did not come compressed."""
    if not body.startswith(BEGINNINGS) or not says_so(headers):
        return None
    try:
        return zlib.decompressobj(zlib.MAX_WBITS | 32).decompress(body, most)
    except zlib.error:
        return None


def says_so(headers: HeaderList) -> bool:
    """Whether headers say that a body comes compressed."""
    codings = {name.lower(): value.strip().lower() for name, value in headers}
    return codings.get(CODING) in COMPRESSED
