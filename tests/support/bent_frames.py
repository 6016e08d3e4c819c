"""Frames that no client and no server sends: messages of relay.v1, bent in every way."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec
from hypothesis import strategies as st

from relay_protocol.codec import encode
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
from relay_protocol.values import Failure, FailureKind, Response
from tests.support.events import event_head

Json = dict[str, Any]
_T = TypeVar("_T")

OF_CLIENT: tuple[ClientMessage, ...] = (
    Hello("1.0", "laptop", (Wanted("chatwoot", "ana", 5), Wanted("b")), 32),
    Result("1.1", Response(200, ((b"X-A", b"\xff"),), b"\x00", True, 12)),
    Result("1.2", Failure(FailureKind.TARGET_LOST, "connection reset", 3)),
    Working(("1.1", "1.2", "9.9")),
    Pause(1),
    Resume(1),
)
OF_SERVER: tuple[ServerMessage, ...] = (
    Welcome("1.0", 7, (Granted(1, "chatwoot", "ana", True, 12, 99),)),
    Deliver("1.1", 1, 3, False, event_head(1), 2, b"{}"),
    Deliver("1.2", 1, 1, True, event_head(2), 70_000, None),
    Chunk("1.2", b"\x00" * 35_000, last=True),
    Chunk("1.2", b"\x00" * 35_000, last=False),
    Goaway("restart", 2.5),
    Error("channel_refused", "this token may not read that"),
)

DEEP = b"\x91" * 200_000 + b"\xc0"
# Bytes in the place of a value: what msgpack can say and messages never do.
RAW = (
    b"\xc1",  # never used
    b"\xa3\xff\xfe\xfd",  # text that is no UTF-8
    b"\xa3\xed\xa0\x80",  # half a surrogate pair
    b"\xc7\x03\x05abc",  # an extension
    b"\xd6\xff\x00\x00\x00\x00",  # a timestamp
    b"\xd7\xff" + b"\xff" * 8,  # one with a billion nanoseconds too many
    b"\xdd\xff\xff\xff\xff",  # a list of four billion, without them
    b"\xdd\x00\xff\xff\xff" + b"\xc0" * 9,
    b"\xdf\xff\xff\xff\xff",  # a map of as many
    b"\xdb\xff\xff\xff\xff",  # a text
    b"\xc6\xff\xff\xff\xff",  # bytes
    DEEP,
    b"\x81" * 200_000,
    b"",
)
ARRAY = (b"\x90", b"\x91", b"\x92", b"\x93", b"\x94")  # heads of batches, by their messages
ODD_VALUES: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    1,
    2**31,
    2**63 - 1,
    2**64 - 1,
    -(2**63),
    0.0,
    1.0,
    -1.5,
    1e300,
    float("nan"),
    float("inf"),
    "",
    "1.1",
    "\x1b]52;c;ZXZpbA==\x07\u202e\x00\r\n",
    "x" * 7_000,
    b"",
    b"\x00" * 7_000,
    [],
    {},
    msgspec.Raw(b"\xdc\x10\x00" + b"\x90" * 4_096),
    msgspec.Raw(b"\xdc\x10\x00" + b"\x92\xc4\x00\xc4\x00" * 4_096),
    msgspec.Raw(b"\xdc\x10\x00" + b"\x81\xa7channel\xa1c" * 4_096),
    {"type": "response", "status": 200},
    {1: 2, b"": None},
    *(msgspec.Raw(raw) for raw in RAW),
)


def one_of(values: Sequence[_T]) -> st.SearchStrategy[_T]:
    """One of these, a copy, drawn by its place: some are too long to be printed."""
    return st.integers(0, len(values) - 1).map(lambda place: copy.deepcopy(values[place]))


odd_values = one_of(ODD_VALUES)
names = st.sampled_from(
    ["type", "body", "size", "event", "subscription", "subscriptions", "outcome", "later", ""]
)


def _places(value: Any) -> list[Any]:
    """Every map and list within a message, itself included."""
    if isinstance(value, dict):
        return [value, *(place for part in value.values() for place in _places(part))]
    if isinstance(value, list):
        return [value, *(place for part in value for place in _places(part))]
    return []


@st.composite
def bent(draw: st.DrawFn, messages: tuple[ClientMessage | ServerMessage, ...]) -> bytes:
    """The frame of a message that lacks something, has more, or has something else there."""
    whole: Json = msgspec.msgpack.decode(encode(draw(one_of(messages))))
    for _ in range(draw(st.integers(1, 3))):
        places = _places(whole)
        place = places[draw(st.integers(0, len(places) - 1))]
        other = draw(odd_values)
        if isinstance(place, list):
            place[:] = draw(one_of([[*place, other], [other], place * 2, place[1:]]))
        elif place and draw(st.booleans()):
            place[draw(st.sampled_from(sorted(place, key=str)))] = other
        elif place and draw(st.booleans()):
            del place[draw(st.sampled_from(sorted(place, key=str)))]
        else:
            place[draw(names)] = other
    return msgspec.msgpack.encode(whole)


@st.composite
def cut(draw: st.DrawFn, messages: tuple[ClientMessage | ServerMessage, ...]) -> bytes:
    """A frame that ends early, or late."""
    frame = encode(draw(one_of(messages)))
    end = draw(st.integers(0, len(frame)))
    return frame[:end] + draw(one_of([b"", b"\x00", frame, DEEP]))


def frames(messages: tuple[ClientMessage | ServerMessage, ...]) -> st.SearchStrategy[bytes]:
    """Good frames and bad ones, of both ends."""
    one = one_of(messages).map(encode)
    good = st.one_of(
        one, st.lists(one, max_size=4).map(lambda some: b"".join([ARRAY[len(some)], *some]))
    )
    both = (*OF_CLIENT, *OF_SERVER)
    return st.one_of(good, good, bent(messages), bent(both), cut(messages))
