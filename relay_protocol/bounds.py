"""What each end takes from the other, where a type allows more than makes sense.

A hostile relay must not fill the laptop's memory, nor a hostile client the server's or its store.
"""

from __future__ import annotations

from relay_protocol.errors import ProtocolError
from relay_protocol.limits import (
    MAX_BODY_BYTES,
    MAX_ELAPSED_MS,
    MAX_HEAD_BYTES,
    MAX_HEAD_FIELDS,
    MAX_ID_CHARS,
    MAX_RESULT_BODY_BYTES,
    MAX_RESULT_HEADERS,
    MAX_SUBSCRIPTIONS,
    MAX_UNIX_MS,
)
from relay_protocol.messages import Deliver, Hello, Welcome
from relay_protocol.values import Failure, HeaderList, Outcome, Response


def check_welcome(welcome: Welcome, hello: Hello) -> None:
    """See that a welcome grants what was asked for, each channel once.

    Raises:
        ProtocolError: It grants something else.
    """
    granted = welcome.subscriptions
    if sorted(g.channel for g in granted) != sorted(w.channel for w in hello.subscriptions):
        raise ProtocolError("the welcome names other channels than the hello")
    if len({g.subscription for g in granted}) < len(granted):
        raise ProtocolError("the welcome gives two subscriptions one number")


def check_deliver(message: Deliver) -> None:
    """See that a delivery is of a size that the server can have stored.

    Raises:
        ProtocolError: It is larger, or not what it says.
    """
    if max(len(message.delivery), len(message.event.id)) > MAX_ID_CHARS:
        raise ProtocolError(f"an id is longer than {MAX_ID_CHARS} characters")
    _check_head(message.event.request.headers)
    if message.body is not None and len(message.body) != message.size:
        raise ProtocolError("a body is not of the size announced")
    if not 0 <= message.size <= MAX_BODY_BYTES:
        raise ProtocolError(f"a body is larger than {MAX_BODY_BYTES} bytes")


def _check_head(headers: HeaderList) -> None:
    if len(headers) > MAX_HEAD_FIELDS:
        raise ProtocolError(f"a head has more than {MAX_HEAD_FIELDS} fields")
    if sum([len(name) + len(value) for name, value in headers]) > MAX_HEAD_BYTES:
        raise ProtocolError(f"a head is larger than {MAX_HEAD_BYTES} bytes")


def check_hello(hello: Hello) -> None:
    """See that a hello asks for what a connection can have.

    Raises:
        ProtocolError: It asks for too much, or for what cannot be.
    """
    if not 1 <= len(hello.subscriptions) <= MAX_SUBSCRIPTIONS:
        raise ProtocolError(f"a hello asks for 1 to {MAX_SUBSCRIPTIONS} subscriptions")
    if len({wanted.channel for wanted in hello.subscriptions}) < len(hello.subscriptions):
        raise ProtocolError("a hello asks for each channel once")
    if hello.window < 1:
        raise ProtocolError("a window is 1 or more")
    if any(not 0 <= (wanted.since or 0) <= MAX_UNIX_MS for wanted in hello.subscriptions):
        raise ProtocolError("a subscription starts at a time that no event can have")


def check_result(outcome: Outcome) -> None:
    """See that an outcome is one that a target can have had, and a store can hold.

    Raises:
        ProtocolError: It is none.
    """
    match outcome:
        case Response(status, headers, body):
            if len(body) > MAX_RESULT_BODY_BYTES or len(headers) > MAX_RESULT_HEADERS:
                raise ProtocolError("a result is larger than allowed")
            if not 100 <= status <= 999:
                raise ProtocolError(f"a result has the status {status}")
        case Failure(text=text):
            if len(text) > MAX_RESULT_BODY_BYTES:
                raise ProtocolError("a result is larger than allowed")
    if not 0 <= outcome.elapsed_ms <= MAX_ELAPSED_MS:
        raise ProtocolError("a result took an impossible time")
