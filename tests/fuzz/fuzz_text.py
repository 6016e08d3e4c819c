"""Text of strangers on its way to a terminal, and text of people on a command line."""

from __future__ import annotations

import contextlib
import io
import json

from relay_client.announcer import can_share
from relay_client.errors import UsageError
from relay_client.notices import (
    Connected,
    Ended,
    Lost,
    Notice,
    Paused,
    Resumed,
    Settled,
    Slept,
    StillAway,
    Stopping,
    Waiting,
    Warned,
)
from relay_client.relay import parse_url
from relay_client.render import make_render
from relay_client.routes import Route, parse_since
from relay_http.target import Target, path_of_all
from relay_protocol.messages import Granted, Welcome
from relay_protocol.text import harmless
from relay_protocol.times import parse_span
from relay_protocol.values import Delivery, EventHead, Failure, FailureKind, RequestHead, Response
from relay_terminal.console import Console
from relay_terminal.layout import padded, table, width
from tests.fuzz.running import run

URL = "https://relay.example.com"
TARGET = Target("localhost", 8000)


def consider(data: bytes) -> None:
    """Nothing that is shown steers the terminal; nothing that is read ends in a traceback."""
    text = data.decode("utf-8", "replace")
    check_shown(text)
    check_read(text)


def check_shown(text: str) -> None:
    """See each output as it would be written."""
    cell = harmless(text)
    assert len(cell) <= 200
    assert width(padded(cell, 10)) >= min(10, width(cell))
    for line in table([("A", "B"), (cell, harmless(text[::-1]))]):
        assert is_harmless(line)
    console = Console(io.StringIO(), io.StringIO())
    for output in ("pretty", "plain", "json"):
        render = make_render(output, console, URL, {text: TARGET})
        for line in (line for notice in notices(text) for line in render(notice)):
            assert is_harmless(line), line
            assert output != "json" or json.loads(line)["type"]


def notices(text: str) -> list[Notice]:
    """Everything that a relay has words in."""
    request = RequestHead(text, text, ())
    event = EventHead(text, 1, 0, text, text, request)
    delivery = Delivery(text, 1, text, 2, True, event, b"")
    welcome = Welcome(text, 1, (Granted(1, text, text, True, 3, 2**64 - 1, text),))
    return [
        Connected(welcome),
        Connected(welcome, 9.0),
        *(Settled(delivery, Failure(kind, text)) for kind in FailureKind),
        *(Settled(delivery, Response(status)) for status in (200, 404, 410, 500)),
        Waiting(text, TARGET),
        Resumed(text, TARGET),
        Paused(text, text, text),
        Slept(39.0),
        Stopping(3),
        Lost(text, text, before_first=True),
        StillAway(text, text),
        Warned(text),
        Ended(text, 1),
    ]


def is_harmless(line: str) -> bool:
    """Whether it is one line that shows what it says."""
    return all(char.isprintable() or char == "\u200d" for char in line)


def check_read(text: str) -> None:
    """See that whatever is no value is said to be none."""
    for read in (parse_url, parse_span, Route.parse):
        with contextlib.suppress(ValueError, UsageError):
            read(text)
    with contextlib.suppress(UsageError):
        parse_since(text, 1_783_000_000_000)
    path_of_all(text)
    can_share(text)


if __name__ == "__main__":
    run(consider)
