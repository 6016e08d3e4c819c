"""Messages to frames and back."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from relay_protocol.errors import ProtocolError
from relay_protocol.messages import ClientMessage, ServerMessage
from relay_protocol.text import harmless

_M = TypeVar("_M")

_encoder = msgspec.msgpack.Encoder()
_client_decoder: msgspec.msgpack.Decoder[ClientMessage] = msgspec.msgpack.Decoder(ClientMessage)
_server_decoder: msgspec.msgpack.Decoder[ServerMessage] = msgspec.msgpack.Decoder(ServerMessage)


def encode(message: ClientMessage | ServerMessage) -> bytes:
    """Turn a message into the payload of one binary frame."""
    return _encoder.encode(message)


def decode_client(frame: bytes) -> ClientMessage:
    """Read a frame that a client sent.

    Raises:
        ProtocolError: It is no message of a client.
    """
    return _decode(_client_decoder, frame)


def decode_server(frame: bytes) -> ServerMessage:
    """Read a frame that a server sent.

    Raises:
        ProtocolError: It is no message of a server.
    """
    return _decode(_server_decoder, frame)


def _decode(decoder: msgspec.msgpack.Decoder[_M], frame: bytes) -> _M:
    try:
        return decoder.decode(frame)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        why = harmless(str(exc))  # it quotes what came, and is logged and sent back
        raise ProtocolError(f"not a message of relay.v1: {why}") from exc
