"""What `--to` and `--from` say: where webhooks go, and where a subscription begins."""

from __future__ import annotations

import re
from dataclasses import dataclass

from relay_client.errors import UsageError
from relay_http.target import HTTP_PORT, HTTPS_PORT, Target, path_of_all
from relay_protocol.times import NO_MOMENT_HINT, parse_moment
from relay_terminal.words import _

_CHANNEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_PLACE = re.compile(
    r"(?i:(?P<scheme>https?)://)?"
    r"(?:(?P<host>[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_.])?)|\[(?P<ipv6>[0-9A-Fa-f:.]+)\])"
    r"(?::(?P<port>[0-9]{1,5}))?(?P<path>/[!-~]*)?"
)
_PORT_ALONE = re.compile(r"^:?([0-9]{1,5})(?=/|$)")  # of this machine


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


def parse_since(text: str, now_ms: int, option: str = "--from") -> int | None:
    """Read `cursor`, `now`, `beginning`, a span back such as `2h`, or a time (RFC 3339).

    Returns:
        Unix milliseconds; None for now.

    Raises:
        UsageError: It is none of these.
    """
    if text == "cursor":
        return None
    try:
        return parse_moment(text, now_ms)
    except ValueError as exc:
        raise UsageError(f"{option} {exc}", NO_MOMENT_HINT) from exc


def _target(text: str, whole: str) -> Target:
    match = _PLACE.fullmatch(_PORT_ALONE.sub(r"localhost:\1", text))
    is_named = match is not None and match["host"] == "localhost"
    if match is None or not (match["port"] or match["scheme"] or is_named):
        raise UsageError(
            _("--to {whole!r} is not a target").format(whole=whole),
            _("Write [CHANNEL=]HOST:PORT[/path], for example localhost:8000."),
        )
    secure = (match["scheme"] or "").lower() == "https"
    port = int(match["port"] or (HTTPS_PORT if secure else HTTP_PORT))
    if not 1 <= port <= 65_535:
        raise UsageError(
            _("--to {whole!r}: a port is a number from 1 to 65535").format(whole=whole)
        )
    path = path_of_all(match["path"] or "")
    if path is None:
        raise UsageError(
            _("--to {whole!r}: a path goes without ?, #, \\ and /../").format(whole=whole)
        )
    return Target(match["host"] or match["ipv6"], port, path, secure)
