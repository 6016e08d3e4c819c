"""A raw client of the tunnel: it says hello over a plain socket, and reads only if asked to."""

import contextlib
import socket
import struct
from pathlib import Path

from bench.errors import BenchError
from relay_protocol.codec import encode
from relay_protocol.limits import SUBPROTOCOL
from relay_protocol.messages import Hello, Wanted

CHANNEL = "chatwoot"
RECEIVE_BUFFER_BYTES = 4_096  # else the kernel takes megabytes off the server's hands
WINDOW = 1_000  # more than a server gives: its own bound is what counts
ANSWER_S = 10.0
BINARY, PING = 0x82, 0x89  # with the bit of a frame that is whole (RFC 6455 §5.2)
NO_MASK = bytes(4)  # a masked frame all the same: every byte stays as it is
ESTABLISHED = "01"  # of /proc/net/tcp


class RawReader:
    """A connection to `/connect` that has said hello.

    Args:
        port: Of the server, on loopback.
        token: One that may subscribe.
        name: Of the subscription; the token's for none.
    """

    def __init__(self, port: int, token: str, name: str | None = None) -> None:
        self._server_port = port
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        self._socket.settimeout(ANSWER_S)
        self._socket.connect(("127.0.0.1", port))
        self._socket.sendall(upgrade(port, token))
        self._read_until(b"\r\n\r\n", must_begin=b"HTTP/1.1 101 ")
        wanted = (Wanted(CHANNEL, name),)
        hello = Hello("bench", "bench", wanted, WINDOW)
        self._socket.sendall(masked_frame(BINARY, encode(hello)))

    def welcomed(self) -> None:
        """Read the answer to the hello: the subscription exists now."""
        self._read_until(b"welcome")

    def ping(self) -> None:
        """Say that this side lives; in vain once the server has cut it."""
        with contextlib.suppress(OSError):  # `cut` tells
            self._socket.sendall(masked_frame(PING, b""))

    def cut(self) -> bool:
        """Whether the server has let go of the connection, as its kernel sees it.

        Nobody who does not read can see that on this side: the goodbye stands behind the bodies.
        """
        ours = f":{self._socket.getsockname()[1]:04X}"
        theirs = f":{self._server_port:04X}"
        rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        return not any(
            local.endswith(theirs) and remote.endswith(ours) and state == ESTABLISHED
            for _, local, remote, state, *_ in rows
        )

    def close(self) -> None:
        self._socket.close()

    def _read_until(self, end: bytes, must_begin: bytes = b"") -> None:
        data = b""
        while end not in data:
            more = self._socket.recv(RECEIVE_BUFFER_BYTES)
            if not more:
                break
            data += more
        if end not in data or not data.startswith(must_begin):
            raise BenchError(f"The server refused a raw client: {data[:200]!r}")


def upgrade(port: int, token: str) -> bytes:
    return (
        "GET /connect HTTP/1.1\r\n"
        f"Host: 127.0.0.1:{port}\r\n"
        f"Authorization: Bearer {token}\r\n"
        "Connection: Upgrade\r\n"
        "Upgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: YmVuY2gtYmVuY2gtYmVuYw==\r\n"
        f"Sec-WebSocket-Protocol: {SUBPROTOCOL}\r\n\r\n"
    ).encode()


def masked_frame(head: int, payload: bytes) -> bytes:
    """One masked frame of up to 64 KiB."""
    if len(payload) < 126:
        return struct.pack("!BB", head, 0x80 | len(payload)) + NO_MASK + payload
    return struct.pack("!BBH", head, 0x80 | 126, len(payload)) + NO_MASK + payload
