"""What a client may write on the relay's WebSocket that is no frame, or no message."""

from __future__ import annotations

from relay_protocol.codec import encode
from relay_protocol.limits import MAX_FRAME_BYTES
from relay_protocol.messages import Hello, Wanted
from tests.support.raw_websocket import BINARY, CLOSE, CONT, PING, TEXT, frame
from tests.support.senders import handshake

LARGE = b"x" * 65_536
HELLO = frame(BINARY, encode(Hello("1.0", "evil", (Wanted("chatwoot", "evil"),), 32)), masked=True)
BROKEN = {
    "reserved bits": frame(BINARY, b"x", reserved=0b010, masked=True),
    "compressed, though nobody agreed to it": frame(BINARY, b"x", reserved=0b100, masked=True),
    "an opcode for data that is none": frame(0x3, b"x", masked=True),
    "an opcode for control that is none": frame(0xF, b"x", masked=True),
    "a fragment of nothing": frame(CONT, b"x", masked=True),
    "a message within another": frame(BINARY, b"x", fin=False, masked=True)
    + frame(BINARY, b"y", masked=True),
    "a fragmented ping": frame(PING, b"x", fin=False, masked=True),
    "a ping of 126 bytes": frame(PING, b"x" * 126, masked=True),
    "a close of 126 bytes": frame(CLOSE, b"\x03\xe8" + b"x" * 124, masked=True),
    "a close of one byte": frame(CLOSE, b"\x03", masked=True),
    "a close with no code of the wire": frame(CLOSE, b"\x03\xed", masked=True),
    "a close with the code 0": frame(CLOSE, b"\x00\x00", masked=True),
    "a close with half a letter": frame(CLOSE, b"\x03\xe8\xc3", masked=True),
    "text that is no UTF-8": frame(TEXT, b"\xff", masked=True),
    "2^63 bytes": frame(BINARY, size=1 << 63, masked=True) + LARGE,
    "2^62 bytes": frame(BINARY, size=1 << 62, masked=True) + LARGE,
    "one byte too many": frame(BINARY, size=MAX_FRAME_BYTES + 1, masked=True) + LARGE,
    "no message": frame(BINARY, b"\xc1", masked=True),
    "an empty message": frame(BINARY, masked=True),
    "100,000 fragments": frame(BINARY, b"x", fin=False, masked=True)
    + frame(CONT, b"x", fin=False, masked=True) * 100_000
    + frame(CONT, masked=True),
    "100,000 empty fragments": frame(BINARY, fin=False, masked=True)
    + frame(CONT, fin=False, masked=True) * 100_000
    + frame(CONT, masked=True),
    "HTTP within the WebSocket": handshake("x"),
    "a second hello": HELLO,
    "no mask, and no message": frame(BINARY, b"\xc1"),
}
