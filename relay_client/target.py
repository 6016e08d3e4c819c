"""Where deliveries go: the one HTTP server that a channel is replayed to."""

from __future__ import annotations

import re
from dataclasses import dataclass

from relay_client.errors import UsageError

_CHANNEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_PLACE = re.compile(
    r"(?:(?P<host>[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_.])?)|\[(?P<ipv6>[0-9A-Fa-f:.]+)\])"
    r":(?P<port>[0-9]{1,5})(?P<path>/[!-~]*)?"
)
_DOT_SEGMENT = re.compile(r"/(?:\.|%2e){2}(?=/|$)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Target:
    """A local HTTP server.

    Attributes:
        host: Name or address, an IPv6 address without brackets.
        path: Where every event goes, whatever path it came by; empty keeps the event's own.
    """

    host: str
    port: int
    path: str = ""

    @property
    def authority(self) -> str:
        """Host and port as a URL has them, e.g. `localhost:8000` or `[::1]:8000`."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """What to show to people."""
        return f"http://{self.authority}{self.path}"


@dataclass(frozen=True, slots=True)
class Route:
    """A channel and its target; no channel means the one that the token is for."""

    target: Target
    channel: str | None = None

    @classmethod
    def parse(cls, text: str) -> Route:
        """Read `[CHANNEL=]HOST:PORT[/path]`.

        Raises:
            UsageError: It is something else.
        """
        head, equals, rest = text.partition("=")
        if equals and _CHANNEL.fullmatch(head):
            return cls(_target(rest, text), head)
        return cls(_target(text, text))


def _target(text: str, whole: str) -> Target:
    match = _PLACE.fullmatch(text.removeprefix("http://"))
    if match is None:
        raise UsageError(
            f"--to {whole!r} is not a target",
            "Write [CHANNEL=]HOST:PORT[/path], for example localhost:8000.",
        )
    port, path = int(match["port"]), match["path"] or ""
    if not 1 <= port <= 65_535:
        raise UsageError(f"--to {whole!r}: a port is a number from 1 to 65535")
    if "?" in path or "#" in path or "\\" in path or _DOT_SEGMENT.search(path):
        raise UsageError(f"--to {whole!r}: a path goes without ?, #, \\ and /../")
    return Target(match["host"] or match["ipv6"], port, "" if path == "/" else path)
