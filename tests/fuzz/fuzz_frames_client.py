"""Frames of a relay, one after the other: what the client's half of the tunnel makes of them.

Each is led by its length in two bytes; the length 0 lets the target answer the oldest request that
it has, and 65535 breaks the connection. They come after a good welcome, unless the first bit of the
first byte is set.
"""

from __future__ import annotations

import struct

from relay_protocol.client_session import ClientEffect, ClientSession
from relay_protocol.codec import batch, encode, unpack_server
from relay_protocol.errors import ProtocolError
from relay_protocol.limits import MAX_BODY_BYTES, WINDOW_BYTES
from relay_protocol.messages import Granted, Hello, Wanted, Welcome
from relay_protocol.values import Delivery, Failure, FailureKind, Response
from tests.fuzz.running import run

WINDOW, CONCURRENCY = 3, 2
WELCOME = Welcome("1.0", 1, (Granted(1, "chatwoot", "ana", False, 0),), batches=True)
OUTCOMES = (Response(200), Response(500), Response(410), Failure(FailureKind.TARGET_DOWN))
RECONNECT = 0xFFFF


class Client:
    """A session, and what its target has."""

    def __init__(self) -> None:
        hello = Hello("1.0", "laptop", (Wanted("chatwoot"),), WINDOW, batches=True)
        self.session = ClientSession(hello, CONCURRENCY)
        self.at_target: list[Delivery] = []
        self.answered = 0
        self.session.connected(0.0)

    def note(self, effects: list[ClientEffect]) -> None:
        self.at_target += [effect for effect in effects if isinstance(effect, Delivery)]

    def answer(self) -> None:
        """The target answers, now so and now otherwise."""
        if self.at_target:
            outcome = OUTCOMES[self.answered % len(OUTCOMES)]
            self.answered += 1
            self.note(self.session.finished(self.at_target.pop(0), outcome))
            self.session.target_up("chatwoot")

    def check(self) -> None:
        """See that what it keeps is within what was promised."""
        held, queue = self.session._held, self.session._queue
        assert len(held) <= WINDOW
        assert set(queue) | set(self.session._partial) <= set(held)
        assert len(self.at_target) == len(self.session._running) <= CONCURRENCY
        assert 0 <= self.session._window._bytes <= WINDOW_BYTES
        waiting = sum(len(delivery.body) for delivery in queue.values())
        assert waiting <= WINDOW_BYTES + MAX_BODY_BYTES


def consider(data: bytes) -> None:
    """A protocol error at most, and nothing of it grows."""
    client = Client()
    if data[:1] < b"\x80":
        client.session.receive(WELCOME, 0.0)
    data = data[1:]
    while len(data) >= 2:
        (size,) = struct.unpack(">H", data[:2])
        end = 2 if size == RECONNECT else 2 + size
        frame, data = data[2:end], data[end:]
        try:
            step(client, size, frame)
        except ProtocolError:
            reconnect(client)
        client.check()


def step(client: Client, size: int, frame: bytes) -> None:
    """One thing happens."""
    if size == 0:
        client.answer()
    elif size == RECONNECT:
        reconnect(client)
    else:
        messages = unpack_server(frame, batches=client.session.batches)
        batch([encode(message) for message in messages])
        for message in messages:
            client.note(client.session.receive(message, 1.0))


def reconnect(client: Client) -> None:
    """As the tunnel does it."""
    client.session.disconnected()
    client.session.connected(2.0)
    client.session.receive(WELCOME, 2.0)


if __name__ == "__main__":
    run(consider)
