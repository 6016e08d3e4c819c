"""Frames to messages and back; whatever else comes is refused as such."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay_protocol.codec import (
    MAX_ENCODED_EVENTS,
    EventsSent,
    decode_client,
    decode_server,
    encode,
)
from relay_protocol.errors import ProtocolError
from relay_protocol.limits import CHUNK_BYTES, MAX_FRAME_BYTES
from relay_protocol.messages import (
    Chunk,
    ClientMessage,
    Deliver,
    Error,
    Goaway,
    Granted,
    Hello,
    Pause,
    Result,
    Resume,
    ServerMessage,
    Wanted,
    Welcome,
    Working,
)
from relay_protocol.values import EventHead, Failure, FailureKind, RequestHead, Response
from tests.support.bent_frames import DEEP, RAW, bent, cut
from tests.support.events import event_head
from tests.support.tries import tries

OF_CLIENT: tuple[ClientMessage, ...] = (
    Hello("1.0", "laptop-é 🎉", (Wanted("chatwoot", "ana", 5), Wanted("b")), 32),
    Result("1.2", Response(200, ((b"X-A", b"\xff"),), b"\x00", True, 12)),
    Result("1.2", Failure(FailureKind.TARGET_LOST, "connection reset", 3)),
    Working(("1.2", "1.3")),
    Pause(1),
    Resume(1),
)
OF_SERVER: tuple[ServerMessage, ...] = (
    Welcome("1.0", 7, (Granted(1, "chatwoot", "ana", True, 12, 99),)),
    Deliver("1.2", 1, 3, False, event_head(), 2, b"{}"),
    Deliver("1.2", 1, 3, True, event_head(), 1 << 20, None),
    Deliver("1.2", 1, 3, False, event_head(), 2, b"{}", f"00-{'a' * 32}-{'b' * 16}-01"),
    Chunk("1.2", b"\x00" * CHUNK_BYTES, last=True),
    Goaway("restart", 2.5),
    Error("channel_refused", "this token may not read that"),
)
Decode = Callable[[bytes], object]


@pytest.mark.parametrize("message", OF_CLIENT, ids=lambda m: type(m).__name__)
def test_a_clients_message_comes_back(message: ClientMessage) -> None:
    assert decode_client(encode(message)) == message


@pytest.mark.parametrize("message", OF_SERVER, ids=lambda m: type(m).__name__)
def test_a_servers_message_comes_back(message: ServerMessage) -> None:
    frame = encode(message)

    assert decode_server(frame) == message
    assert len(frame) < MAX_FRAME_BYTES


def test_an_event_is_encoded_once_and_the_frame_is_the_same() -> None:
    sent, head = EventsSent(), event_head()
    whole = Deliver("1.2", 1, 3, False, head, 2, b"{}")

    encoded = sent.encoded(head)

    assert sent.encoded(head) is encoded
    other = event_head(key="8")  # of the same id
    assert msgspec.msgpack.decode(sent.encoded(other), type=EventHead) == other
    assert encode(msgspec.structs.replace(whole, event=encoded)) == encode(whole)


def test_a_delivery_without_a_trace_is_what_it_always_was() -> None:
    frame = msgspec.msgpack.decode(encode(Deliver("1.2", 1, 3, False, event_head(), 2, b"{}")))
    assert "traceparent" not in frame
    assert set(frame) >= {"delivery", "attempt", "replay", "event", "size", "body"}


@pytest.mark.parametrize(
    "text", ["00-x", f"00-{'a' * 32}-{'b' * 16}-01\n", f"00-{'a' * 32}-{'b' * 16}-01\r\nX: y", "\n"]
)
def test_a_traceparent_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ProtocolError):
        decode_server(encode(Deliver("1.2", 1, 3, False, event_head(), 2, b"{}", text)))


def test_few_encoded_events_are_kept() -> None:
    """And it is the oldest that goes."""
    sent = EventsSent()
    heads = [event_head(n) for n in range(MAX_ENCODED_EVENTS + 1)]
    first, second, *_ = [sent.encoded(head) for head in heads]

    assert sent.encoded(heads[1]) is second
    assert sent.encoded(heads[0]) is not first


@pytest.mark.parametrize("message", OF_SERVER, ids=str)
def test_a_client_cannot_say_what_only_a_server_says(message: ServerMessage) -> None:
    """A chunk among it: a client's results are small."""
    with pytest.raises(ProtocolError):
        decode_client(encode(message))


@pytest.mark.parametrize("message", OF_CLIENT, ids=str)
def test_a_server_cannot_say_what_only_a_client_says(message: ClientMessage) -> None:
    with pytest.raises(ProtocolError):
        decode_server(encode(message))


def test_fields_of_later_versions_are_ignored() -> None:
    outcome = {"type": "response", "status": 204, "trailers": [], "elapsed_ms": 1}
    frames = [
        {"type": "pause", "subscription": 1, "because": {"of": ["later"]}},
        {"type": "result", "delivery": "1.2", "outcome": outcome, "more": None},
    ]

    read = [decode_client(msgspec.msgpack.encode(frame)) for frame in frames]

    assert read == [Pause(1), Result("1.2", Response(204, elapsed_ms=1))]


def test_what_a_message_leaves_out_is_the_ordinary() -> None:
    """Older ends send less."""
    request = {"method": "POST", "request_target": "/", "headers": []}
    event = {"id": "e", "sequence": 1, "received_at": 2, "key": "", "kind": "", "request": request}
    granted = {"subscription": 1, "channel": "a", "name": "b", "created": False, "backlog": 0}
    named = {"delivery": "1.2", "subscription": 1, "attempt": 1, "replay": False, "size": 0}
    of_client = [
        {
            "type": "hello",
            "version": "1",
            "host": "h",
            "subscriptions": [{"channel": "a"}],
            "window": 1,
        },
        {"type": "result", "delivery": "1.2", "outcome": {"type": "response", "status": 200}},
        {"type": "result", "delivery": "1.2", "outcome": {"type": "failure", "kind": "network"}},
    ]
    of_server = [
        {"type": "welcome", "version": "1", "epoch": 1, "subscriptions": [granted]},
        {"type": "deliver", **named, "event": event, "body": b""},
    ]

    head = EventHead("e", 1, 2, "", "", RequestHead("POST", "/", (), "", "http"))
    assert [decode_client(msgspec.msgpack.encode(frame)) for frame in of_client] == [
        Hello("1", "h", (Wanted("a", None, None, False),), 1),
        Result("1.2", Response(200, (), b"", False, 0)),
        Result("1.2", Failure(FailureKind.NETWORK, "", 0)),
    ]
    assert [decode_server(msgspec.msgpack.encode(frame)) for frame in of_server] == [
        Welcome("1", 1, (Granted(1, "a", "b", False, 0, None, ""),)),
        Deliver("1.2", 1, 1, False, head, 0, b""),
    ]


@pytest.mark.parametrize(
    "frame",
    [
        {"type": "dance"},
        {"type": 7},
        {"subscription": 1},
        {"type": "pause"},
        {"type": "pause", "subscription": "1"},
        {"type": "pause", "subscription": 1 << 63, "type2": 1.5} | {"subscription": 1.5},
        {"type": "chunk", "delivery": "1.2", "data": "text", "last": True},
        {"type": "result", "delivery": "1.2", "outcome": {"type": "failure", "kind": "tired"}},
        {"type": "result", "delivery": "1.2", "outcome": None},
        {"type": "hello", "version": "1", "host": "h", "subscriptions": [1], "window": 1},
        {"type": "hello", "version": "1", "host": "h", "subscriptions": [], "window": None},
        [],
        None,
        "pause",
    ],
    ids=str,
)
def test_what_is_no_message_is_refused(frame: object) -> None:
    encoded = msgspec.msgpack.encode(frame)

    with pytest.raises(ProtocolError):
        decode_client(encoded)
    with pytest.raises(ProtocolError):
        decode_server(encoded)


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\xc1",
        b"\x91" * 100_000,
        b"\x82\xa1x" + b"\x91" * 100_000,  # a field of a later version, too deep to be skipped
        b"\xdf\xff\xff\xff\xff",  # a map of four billion
        b"\x82\xa4type\xa5pause\xacsubscription",
        b"\x81\xa4type\xa2\xed\xa0",
        encode(Pause(1)) + b"\x00",
        encode(Pause(1))[:-1],
        b'{"type":"pause","subscription":1}',
    ],
)
@pytest.mark.parametrize("decode", [decode_client, decode_server])
def test_garbage_is_refused(decode: Decode, frame: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode(frame)


@given(
    st.sampled_from([encode(m) for m in (*OF_CLIENT, *OF_SERVER)]),
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), min_size=1, max_size=4),
)
def test_a_damaged_frame_is_a_message_or_refused(
    frame: bytes, damage: list[tuple[int, int]]
) -> None:
    damaged = bytearray(frame)
    for at, byte in damage:
        damaged[at % len(damaged)] = byte

    for decode in (decode_client, decode_server):
        try:
            message = decode(bytes(damaged))
        except ProtocolError as exc:
            assert "relay.v1" in str(exc)  # noqa: PT017  (both ways of ending are right)
        else:
            assert decode(encode(message)) == message


@given(st.binary(max_size=200))
def test_noise_is_refused(noise: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode_client(noise)


@given(st.one_of(bent((*OF_CLIENT, *OF_SERVER)), cut((*OF_CLIENT, *OF_SERVER))))
@tries(300)
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
