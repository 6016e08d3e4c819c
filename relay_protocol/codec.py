"""Messages to frames and back."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta

from relay_protocol.errors import ProtocolError
from relay_protocol.limits import CHUNK_BYTES, MAX_BATCH
from relay_protocol.messages import ClientMessage, ServerMessage
from relay_protocol.text import harmless
from relay_protocol.values import EventHead

# Kept for the readers that get the same event next: a commit's worth; 64 KiB each at most.
MAX_ENCODED_EVENTS = 64

_M = TypeVar("_M")

_encoder = msgspec.msgpack.Encoder()
_client_decoder: msgspec.msgpack.Decoder[ClientMessage] = msgspec.msgpack.Decoder(ClientMessage)
_server_decoder: msgspec.msgpack.Decoder[ServerMessage] = msgspec.msgpack.Decoder(ServerMessage)
_ClientFrame = (
    ClientMessage | Annotated[list[ClientMessage], Meta(min_length=1, max_length=MAX_BATCH)]
)
_ServerFrame = (
    ServerMessage | Annotated[list[ServerMessage], Meta(min_length=1, max_length=MAX_BATCH)]
)
_client_frames: msgspec.msgpack.Decoder[_ClientFrame] = msgspec.msgpack.Decoder(_ClientFrame)
_server_frames: msgspec.msgpack.Decoder[_ServerFrame] = msgspec.msgpack.Decoder(_ServerFrame)


# Turns a message into the payload of one binary frame.
encode: Callable[[ClientMessage | ServerMessage], bytes] = _encoder.encode


class EventsSent:
    """The events that were sent last, as MessagePack: each is encoded once for all its readers."""

    def __init__(self) -> None:
        # By id, the oldest first: an event, and what it is as a part of a message.
        self._known: dict[str, tuple[EventHead, msgspec.Raw]] = {}

    def encoded(self, event: EventHead) -> msgspec.Raw:
        """An event as a part of a message."""
        known = self._known.get(event.id)
        if known is not None and known[0] is event:
            return known[1]
        encoded = msgspec.Raw(_encoder.encode(event))
        self._known[event.id] = event, encoded
        if len(self._known) > MAX_ENCODED_EVENTS:
            del self._known[next(iter(self._known))]
        return encoded


def batch(messages: Sequence[bytes]) -> list[bytes]:
    """Put messages that are encoded, one at least, into the payloads of few frames, in order.

    A batch has no more bytes than a chunk of a body, so that it holds up no heartbeat.
    """
    if len(messages) == 1:
        return [messages[0]]
    frames, start, size = list[bytes](), 0, 0
    for place, message in enumerate(messages):
        size += len(message)
        if place > start and (size > CHUNK_BYTES or place - start == MAX_BATCH):
            frames.append(_array(messages[start:place]))
            start, size = place, len(message)
    frames.append(_array(messages[start:]))
    return frames


def decode_client(frame: bytes) -> ClientMessage:
    """Read a frame that a client sent.

    Raises:
        ProtocolError: It is no message of a client.
    """
    return _decode(_client_decoder, frame)


def unpack_client(frame: bytes, *, batches: bool) -> Sequence[ClientMessage]:
    """Read a frame that a client sent: one message, or several where that was agreed on.

    Raises:
        ProtocolError: It is neither.
    """
    if not batches:
        return (decode_client(frame),)
    read = _decode(_client_frames, frame)
    return read if isinstance(read, list) else (read,)


def decode_server(frame: bytes) -> ServerMessage:
    """Read a frame that a server sent.

    Raises:
        ProtocolError: It is no message of a server.
    """
    return _decode(_server_decoder, frame)


def unpack_server(frame: bytes, *, batches: bool) -> Sequence[ServerMessage]:
    """Read a frame that a server sent: one message, or several where that was agreed on.

    Raises:
        ProtocolError: It is neither.
    """
    if not batches:
        return (decode_server(frame),)
    read = _decode(_server_frames, frame)
    return read if isinstance(read, list) else (read,)


def _array(messages: Sequence[bytes]) -> bytes:
    """MessagePack of an array; of one message itself."""
    count = len(messages)
    if count == 1:
        return messages[0]
    head = struct.pack(">B", 0x90 | count) if count < 16 else struct.pack(">BH", 0xDC, count)
    return head + b"".join(messages)


def _decode(decoder: msgspec.msgpack.Decoder[_M], frame: bytes) -> _M:
    try:
        return decoder.decode(frame)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        why = harmless(str(exc))  # it quotes what came, and is logged and sent back
        raise ProtocolError(f"not a message of relay.v1: {why}") from exc
