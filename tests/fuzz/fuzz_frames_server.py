"""Frames of a client, one after the other: what the server's half of the tunnel makes of them.

Each is led by its length in two bytes. They come after a good hello, unless the first bit of the
first byte is set.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from relay_protocol.codec import batch, encode, unpack_client
from relay_protocol.errors import ProtocolError
from relay_protocol.limits import CHUNK_BYTES, WINDOW_DELIVERIES
from relay_protocol.messages import Granted, Hello, Result, Wanted, Welcome
from relay_protocol.server_session import ServerSession
from relay_protocol.values import Delivery, EventHead, RequestHead
from tests.fuzz.running import run


def consider(data: bytes) -> None:
    """A protocol error at most; nothing is settled twice, or though it was never sent."""
    session = greeted() if data[:1] < b"\x80" else ServerSession(0.0)
    sent, settled = session.under_way, list[str]()
    for frame in frames(data[1:]):
        try:
            messages = unpack_client(frame, batches=session.batches)
            batch([encode(message) for message in messages])
            accepted = [session.receive(message, 1.0) for message in messages]
        except ProtocolError:
            return
        settled += [message.delivery for message in accepted if isinstance(message, Result)]
        assert len(settled) == len(set(settled))
        assert set(settled) <= sent
        assert 0 <= session.credit <= WINDOW_DELIVERIES
        session.next_chunk()
        session.tick(1.0)


def frames(data: bytes) -> Iterator[bytes]:
    """Cut the input up."""
    while len(data) >= 2:
        (size,) = struct.unpack(">H", data[:2])
        yield data[2 : 2 + size]
        data = data[2 + size :]


def greeted() -> ServerSession:
    """A session that is open, with a small and a large delivery under way."""
    session = ServerSession(0.0)
    session.receive(Hello("1.0", "laptop", (Wanted("chatwoot"),), 32, batches=True), 0.0)
    session.welcome(Welcome("1.0", 1, (Granted(1, "chatwoot", "ana", False, 0),)))
    for name, size in (("1.1", 2), ("1.2", CHUNK_BYTES * 3)):
        event = EventHead(f"evt_{name}", 1, 0, "", "", RequestHead("POST", "/", ()))
        session.deliver(Delivery(name, 1, "chatwoot", 1, False, event, b"x" * size))
    return session


if __name__ == "__main__":
    run(consider)
