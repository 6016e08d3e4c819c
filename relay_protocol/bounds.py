"""What a client takes from a relay: a hostile one must not fill the laptop's memory."""

from __future__ import annotations

from relay_protocol.errors import ProtocolError
from relay_protocol.limits import MAX_BODY_BYTES, MAX_HEAD_BYTES, MAX_HEAD_FIELDS, MAX_ID_CHARS
from relay_protocol.messages import Deliver, Hello, Welcome
from relay_protocol.values import HeaderList


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
