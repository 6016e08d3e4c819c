"""Reading where deliveries go."""

from __future__ import annotations

import pytest

from relay_client.errors import UsageError
from relay_client.target import Route
from relay_http.target import Target


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
