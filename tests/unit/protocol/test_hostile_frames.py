"""Whatever frames come, in whatever order: a protocol error at most, and nothing grows."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay_protocol.codec import decode_client, decode_server, encode
from relay_protocol.errors import ProtocolError
from relay_protocol.limits import MAX_FRAME_BYTES, MAX_SUBSCRIPTIONS, WINDOW_DELIVERIES
from relay_protocol.messages import Hello, Pause, Resume, Wanted, Working
from relay_protocol.server_session import Extend, Hold, Join, LetGo, ServerSession, Settle, State
from tests.support.events import delivery
from tests.support.hostile_frames import DEEP, OF_CLIENT, OF_SERVER, RAW, bent, cut, frames
from tests.support.links import hello, open_client, open_server, welcome

LARGE = b"x" * 100_000
PROMISED = (Settle, Extend, Hold, LetGo, Join)


@given(st.one_of(bent((*OF_CLIENT, *OF_SERVER)), cut((*OF_CLIENT, *OF_SERVER))))
@settings(max_examples=300, deadline=None)
def test_a_bent_message_is_a_message_or_refused(frame: bytes) -> None:
    """And what is understood can be said again."""
    for decode in (decode_client, decode_server):
        try:
            message = decode(frame)
        except ProtocolError:
            continue
        encode(message)


@pytest.mark.parametrize("raw", RAW, ids=lambda raw: repr(raw[:9]))
def test_no_value_is_taken_for_another(raw: bytes) -> None:
    """In the place of a number, of a list and of a field that nobody knows."""
    odd = msgspec.Raw(raw)
    for message in (
        {"type": "pause", "subscription": odd},
        {"type": "working", "deliveries": odd},
        {"type": "chunk", "delivery": "1.1", "data": odd, "last": True},
        {"type": "result", "delivery": "1.1", "outcome": odd},
        {"type": odd},
    ):
        with pytest.raises(ProtocolError):
            decode_client(msgspec.msgpack.encode(message))
    for message in (
        {"type": "error", "code": "x", "text": odd},
        {"type": "goaway", "reason": "x", "retry_after_s": odd},
        {"type": "welcome", "version": "1", "epoch": 1, "subscriptions": odd},
    ):
        with pytest.raises(ProtocolError):
            decode_server(msgspec.msgpack.encode(message))


def test_why_it_is_no_message_is_short_and_harmless() -> None:
    """It is logged, shown and sent back, and quotes what came: half a megabyte of it."""
    frame = msgspec.msgpack.encode({"type": "\x1b[2J" * 100_000})
    with pytest.raises(ProtocolError) as caught:
        decode_client(frame)
    assert len(str(caught.value)) < 300
    assert str(caught.value).isprintable()


def test_what_is_too_deep_is_refused_where_it_would_be_ignored() -> None:
    """A field of a later version is skipped, however it is nested: up to a bound."""
    message = {"type": "pause", "subscription": 1, "later": msgspec.Raw(DEEP)}
    with pytest.raises(ProtocolError):
        decode_client(msgspec.msgpack.encode(message))


@given(st.lists(frames(OF_CLIENT), max_size=12), st.booleans())
@settings(max_examples=100, deadline=None)
def test_a_client_says_anything(said: list[bytes], before_hello: bool) -> None:
    """The server's half ends in 4400 or does what it is for, and nothing of it grows."""
    session = ServerSession(0.0) if before_hello else open_server()
    if not before_hello:
        session.deliver(delivery(1))
        session.deliver(delivery(2, LARGE))
    sent = session.under_way
    settled: list[str] = []
    for frame in said:
        assert len(frame) < 16 * MAX_FRAME_BYTES
        try:
            effects = session.receive(decode_client(frame), 1.0)
        except ProtocolError:
            break
        assert all(isinstance(effect, PROMISED) for effect in effects)
        settled += [effect.delivery for effect in effects if isinstance(effect, Settle)]
        assert session.under_way <= sent
        assert 0 <= session.credit <= WINDOW_DELIVERIES
    assert len(settled) == len(set(settled)), "each attempt ends once"
    assert set(settled) <= sent, "nothing is settled that was not sent"


def test_results_and_work_of_what_was_never_sent_come_to_nothing() -> None:
    """However many there are."""
    session = open_server()
    strangers = tuple(f"1.{number}" for number in range(10_000))

    assert session.receive(Working(strangers), 0.0) == [Extend(())]
    for name in strangers[:1_000]:
        frame = {
            "type": "result",
            "delivery": name,
            "outcome": {"type": "response", "status": 200},
        }
        assert session.receive(decode_client(msgspec.msgpack.encode(frame)), 0.0) == []
    assert session.under_way == frozenset()


def test_work_that_is_repeated_in_a_message_counts_once() -> None:
    """A frame has room for a hundred thousand ids: each would be looked up for the lease."""
    session = open_server()
    session.deliver(delivery(1))
    session.deliver(delivery(2))
    said = Working(("1.2", "1.1", "9.9") * 1_000)

    assert session.receive(said, 0.0) == [Extend(("1.2", "1.1"))]


def test_a_flood_of_pauses_leaves_nothing() -> None:
    """Each is told on; the session keeps no count of them."""
    session = open_server()
    before = {name: repr(value) for name, value in vars(session).items()}
    for _ in range(10_000):
        assert session.receive(Pause(1), 0.0) == [Hold(1)]
        assert session.receive(Resume(1), 0.0) == [LetGo(1)]
    assert {name: repr(value) for name, value in vars(session).items()} == before


@pytest.mark.parametrize("count", [0, MAX_SUBSCRIPTIONS + 1, 10_000])
def test_a_hello_that_asks_for_more_than_a_client_may_read(count: int) -> None:
    """Refused before anything is opened."""
    session = ServerSession(0.0)
    wanted = tuple(Wanted(f"c{number}") for number in range(count))
    with pytest.raises(ProtocolError, match="asks for 1 to"):
        session.receive(Hello("1.0", "laptop", wanted, 32), 0.0)
    assert session.state is State.CONNECTING


@pytest.mark.parametrize("welcomed", [False, True])
def test_a_second_hello(welcomed: bool) -> None:
    """Before the answer to the first, and after it."""
    session = ServerSession(0.0)
    session.receive(hello(), 0.0)
    if welcomed:
        session.welcome(welcome())
    with pytest.raises(ProtocolError, match="hello is not allowed"):
        session.receive(hello(), 0.0)


@given(st.lists(frames(OF_SERVER), max_size=12))
@settings(max_examples=100, deadline=None)
def test_a_server_says_anything(said: list[bytes]) -> None:
    """The client's half refuses it or does what it is for."""
    session = open_client()
    for frame in said:
        try:
            session.receive(decode_server(frame), 1.0)
        except ProtocolError:
            break
    session.tick(2.0)
    session.drain()
    session.disconnected()
