"""Several messages in one frame: once both ends said that they take it, and within its bounds."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay_protocol.client_session import ClientSession
from relay_protocol.codec import (
    batch,
    decode_client,
    decode_server,
    encode,
    unpack_client,
    unpack_server,
)
from relay_protocol.errors import ProtocolError
from relay_protocol.limits import CHUNK_BYTES, MAX_BATCH
from relay_protocol.messages import (
    Chunk,
    ClientMessage,
    Deliver,
    Pause,
    Result,
    ServerMessage,
    Welcome,
)
from relay_protocol.server_session import ServerSession
from relay_protocol.values import Delivery
from tests.support.bent_frames import OF_CLIENT, OF_SERVER, one_of
from tests.support.events import OK, delivery
from tests.support.links import hello, welcome

PAUSE = encode(Pause(1))


@given(st.lists(one_of(OF_CLIENT), min_size=1, max_size=80))
@settings(deadline=None)
def test_what_a_client_says_comes_back_in_order(said: list[ClientMessage]) -> None:
    frames = batch([encode(message) for message in said])

    read = [message for frame in frames for message in unpack_client(frame, batches=True)]

    assert read == said


@given(st.lists(one_of(OF_SERVER), min_size=1, max_size=80))
@settings(deadline=None)
def test_what_a_server_says_comes_back_in_order_and_holds_up_no_heartbeat(
    said: list[ServerMessage],
) -> None:
    messages = [encode(message) for message in said]

    frames = batch(messages)

    read = [unpack_server(frame, batches=True) for frame in frames]
    assert [message for part in read for message in part] == said
    assert max(map(len, read)) <= MAX_BATCH
    assert all(frame in messages or len(frame) <= CHUNK_BYTES + 3 for frame in frames)


def test_few_messages_are_one_frame_and_many_are_few() -> None:
    assert batch([PAUSE]) == [PAUSE], "as to a peer that takes no batches"
    assert len(batch([PAUSE] * MAX_BATCH)) == 1
    assert len(batch([PAUSE] * (MAX_BATCH + 1))) == 2


@pytest.mark.parametrize(
    "frame",
    [
        b"\x90",
        b"\xdc\x00\x21" + PAUSE * (MAX_BATCH + 1),
        b"\xdd\xff\xff\xff\xff" + PAUSE,
        b"\x91\x91" + PAUSE,
        b"\x92" + PAUSE,
        b"\x92" + PAUSE + b"\xc0",
        b"\x92" + PAUSE + msgspec.msgpack.encode({"type": "dance"}),
        b"\x91" + PAUSE + b"\x00",
    ],
    ids=["none", "too many", "four billion", "nested", "cut", "nothing", "unknown", "and more"],
)
def test_what_is_no_batch_is_refused(frame: bytes) -> None:
    with pytest.raises(ProtocolError):
        unpack_client(frame, batches=True)
    with pytest.raises(ProtocolError):
        unpack_server(frame, batches=True)


def of_older(message: Any) -> Any:
    """A message as an end says it that knows no batches."""
    facts = msgspec.msgpack.decode(encode(message))
    del facts["batches"]
    return msgspec.msgpack.encode(facts)


class Talk:
    """Both sessions, and the frames between them, as their shells pack them."""

    def __init__(self, *, old_client: bool, old_server: bool) -> None:
        self.client, self.server = ClientSession(hello(), 8), ServerSession(0.0)
        self.client.connected(0.0)
        asked = encode(hello())
        if old_client or old_server:  # which does not say it, or does not hear it
            asked = of_older(hello())
        self.server.receive(decode_client(asked), 0.0)
        [answer] = self.server.welcome(welcome())
        assert isinstance(answer, Welcome)
        granted = of_older(answer) if old_server else encode(answer)
        self.client.receive(decode_server(granted), 0.0)

    def down(self, *messages: ServerMessage) -> int:
        """Send messages to the client; how many frames that took."""
        frames = packed([encode(m) for m in messages], batches=self.server.batches)
        for frame in frames:
            for message in unpack_server(frame, batches=self.client.batches):
                for effect in self.client.receive(message, 1.0):
                    assert isinstance(effect, Delivery)
        return len(frames)

    def up(self, *messages: ClientMessage) -> int:
        """Send messages to the server; how many frames that took."""
        frames = packed([encode(m) for m in messages], batches=self.client.batches)
        for frame in frames:
            for message in unpack_client(frame, batches=self.server.batches):
                assert self.server.receive(message, 1.0) == message
        return len(frames)


def packed(messages: list[bytes], *, batches: bool) -> list[bytes]:
    return batch(messages) if batches else messages


@pytest.mark.parametrize(
    ("old_client", "old_server", "frames"),
    [(False, False, 1), (True, False, 3), (False, True, 3), (True, True, 3)],
)
def test_ends_of_any_age_understand_each_other(
    old_client: bool, old_server: bool, frames: int
) -> None:
    talk = Talk(old_client=old_client, old_server=old_server)

    deliveries = [talk.server.deliver(delivery(n)) for n in range(1, 4)]
    assert talk.down(*deliveries) == frames
    assert len(talk.client.running) == 3
    results = [
        effect
        for n in range(1, 4)
        for effect in talk.client.finished(delivery(n), OK)
        if isinstance(effect, Result)
    ]
    assert talk.up(*results) == frames
    assert talk.server.under_way == frozenset()


def test_an_agreement_ends_with_its_connection() -> None:
    """The next one may be with an older server."""
    talk = Talk(old_client=False, old_server=False)
    assert talk.client.batches

    talk.client.disconnected()

    assert not talk.client.batches


def test_a_batch_that_was_not_agreed_on_is_refused() -> None:
    frame = b"\x92" + PAUSE + PAUSE
    with pytest.raises(ProtocolError):
        unpack_client(frame, batches=ServerSession(0.0).batches)
    with pytest.raises(ProtocolError):
        unpack_server(frame, batches=ClientSession(hello(), 8).batches)


def test_a_batch_fills_no_more_than_the_window() -> None:
    """As many deliveries as a batch holds are still counted one by one."""
    talk = Talk(old_client=False, old_server=False)
    deliveries = [talk.server.deliver(delivery(n)) for n in range(1, MAX_BATCH + 1)]
    talk.down(*deliveries)
    more = msgspec.structs.replace(deliveries[0], delivery="1.99")
    assert isinstance(more, Deliver)

    with pytest.raises(ProtocolError, match="window"):
        talk.down(more, Chunk("1.99", b"", last=True))
