"""Requests and frames that nobody would send, for every port that takes them."""

from __future__ import annotations

from relay_protocol.codec import encode
from relay_protocol.limits import MAX_FRAME_BYTES
from relay_protocol.messages import Hello, Pause, Wanted
from tests.support.raw_websocket import BINARY, CLOSE, CONT, PING, TEXT, frame
from tests.support.senders import handshake

# Bodies that the API can make nothing of.
BODIES = {
    "nothing": b"",
    "no JSON": b"name=x&scopes=send",
    "a list": b"[]",
    "a number": b"7",
    "two": b'{"name":"x"}{}',
    "deep": b"[" * 60_000,
    "deep objects": b'{"name":' * 8_000,
    "deep in a field": b'{"name":' + b"[" * 30_000 + b"]" * 30_000 + b"}",
    "digits": b'{"name":%b,"max_bytes":%b}' % (b"9" * 5_000, b"9" * 5_000),
    "exponent": b'{"retention_days":1e999,"rate_per_s":1e999}',
    "no number": b'{"retention_days":NaN,"rate_per_s":Infinity}',
    "types": b'{"name":["x"],"token":"yes","selection":7,"scopes":{},"channel":1,"url":null}',
    "unknown": b'{"admin":true,"__class__":"x","name":"x"}',
    "surrogate": b'{"name":"\\ud800","channel":"\\udfff"}',
    "bytes": b'{"name":"\xff\xfe"}',
    "UTF-16": '{"name":"x"}'.encode("utf-16"),
    "mark": b'\xef\xbb\xbf{"name":"x"}',
    "NUL": b'{"name":"a\\u0000b","scopes":["send"],"channel":"\\u0000","url":"\\u0000"}',
    "too much": b'{"name":"' + b"x" * 70_000 + b'"}',
}
# Where the API reads a body.
ROUTES = (
    ("POST", "channels"),
    ("PATCH", "channels/chatwoot"),
    ("PATCH", "channels/chatwoot/subscriptions/ana"),
    ("POST", "tokens"),
    ("POST", "replays"),
    ("POST", "forwards"),
    ("PATCH", "forwards/chatwoot/ana"),
    ("POST", "dead/discard"),
)

# Paths that name nothing.
PATHS = [
    *(
        "channels/%2e%2e",
        "channels/..%2ftokens",
        "channels/%00",
        "channels/%ff",
        "channels/%ED%A0%80",
    ),
    *("channels/" + "x" * 7_000, "channels/%F0%9F%91%8B", "channels/a%0d%0ab", "events/%E2%80%AE"),
    *("events?channel=%ff", "events?channel=%00", "events?channel=a&channel=b", "events/evt_%00"),
    *(
        "replays/%D9%A3",
        "replays/-1",
        "replays/1e3",
        "replays/" + "9" * 5_000,
        "replays?channel=../x",
    ),
    *("channels/chatwoot/subscriptions/..", "channels/chatwoot/subscriptions/%2e%2e", "tokens/%2e"),
    *("channels//chatwoot", "channels/chatwoot/", "channels/chatwoot%2f", "CHANNELS", "channels;x"),
]

# What is no request that HTTP/1 has, and what does not look like one at all.
GARBAGE = (
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 40,  # TLS
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0" * 9,
    b"\0" * 1_000,
    b"\r\n" * 1_000 + b"x\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"GET  HTTP/1.1\r\n\r\n",
    b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET http://[::1 HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET http://a:99999/ HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET * HTTP/1.1\r\nHost: a\r\n\r\n",
    b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
    b"GET / HTTP/1.1\r\nX: a\r\n b\r\n\r\n",
    b"GET / HTTP/1.1\r\nX: a\0b\r\n\r\n",
    b"GET / HTTP/1.1\r\nX: a\rb\r\n\r\n",
    b"GET / HTTP/1.1\nHost: a\n\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
    b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 20_000 + b"\r\n",
)

# Frames of a WebSocket that are none, or that hold no message.
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
    "a batch that nobody agreed to": frame(BINARY, b"\x91" + encode(Pause(1)), masked=True),
    "no mask, and no message": frame(BINARY, b"\xc1"),
}
