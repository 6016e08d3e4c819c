"""Values of options: where deliveries go, and times."""

from __future__ import annotations

import pytest

from relay_client.errors import UsageError
from relay_client.settings import Route, parse_since
from relay_http.target import Target

NOW_MS = 1_783_000_810_000  # 2026-07-02T14:00:10Z


@pytest.mark.parametrize(
    ("text", "route"),
    [
        ("localhost:8000", Route(Target("localhost", 8000))),
        ("http://localhost:8000/", Route(Target("localhost", 8000))),
        ("chatwoot=127.0.0.1:80/bot/in", Route(Target("127.0.0.1", 80, "/bot/in"), "chatwoot")),
        ("a-b.c=[::1]:8000", Route(Target("::1", 8000), "a-b.c")),
        ("my_host.example.:1", Route(Target("my_host.example.", 1))),
        ("h:1/x=y", Route(Target("h", 1, "/x=y"))),
        ("canais=h:1/a%2Fb", Route(Target("h", 1, "/a%2Fb"), "canais")),
    ],
)
def test_a_route_is_read(text: str, route: Route) -> None:
    """With and without a channel and a path."""
    assert Route.parse(text) == route


@pytest.mark.parametrize(
    "text",
    [
        "",
        "8000",
        "localhost",
        "localhost:",
        "localhost:0",
        "localhost:65536",
        "localhost:80 00",
        "https://localhost:8000",
        "user@localhost:8000",
        "localhost:8000/a?b",
        "localhost:8000/a#b",
        "localhost:8000/../b",
        "localhost:8000/%2e./b",
        "localhost:8000/..;x/b",
        "localhost:8000/a b",
        "localhost:8000/\r\nX: y",
        "é:8000",
        "=localhost:8000",
        "a b=localhost:8000",
    ],
)
def test_what_is_no_route_is_named(text: str) -> None:
    """The message has what was given."""
    with pytest.raises(UsageError, match="--to"):
        Route.parse(text)


@pytest.mark.parametrize(
    ("text", "unix_ms"),
    [
        ("now", None),
        ("beginning", 0),
        ("90s", NOW_MS - 90_000),
        ("5m", NOW_MS - 300_000),
        ("2h", NOW_MS - 7_200_000),
        ("3d", NOW_MS - 259_200_000),
        ("999999d", 0),
        ("2026-07-02T14:00:10Z", NOW_MS),
        ("2026-07-02T11:00:10.5-03:00", NOW_MS + 500),
    ],
)
def test_a_time_is_read(text: str, unix_ms: int | None) -> None:
    """Into Unix milliseconds."""
    assert parse_since(text, NOW_MS) == unix_ms


@pytest.mark.parametrize("text", ["", "2 h", "-2h", "2w", "yesterday", "2026-07-02T14:00:10"])
def test_what_is_no_time_is_named(text: str) -> None:
    """A time without a zone could be any of two dozen."""
    with pytest.raises(UsageError, match="--since"):
        parse_since(text, NOW_MS)
