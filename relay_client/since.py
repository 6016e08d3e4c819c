"""Times that are given to an option."""

from __future__ import annotations

from relay_client.errors import UsageError
from relay_protocol.times import NO_MOMENT_HINT, parse_moment


def parse_since(text: str, now_ms: int, option: str = "--since") -> int | None:
    """Read `now`, `beginning`, a span back such as `2h`, or a time (RFC 3339).

    Returns:
        Unix milliseconds; None for now.

    Raises:
        UsageError: It is none of these.
    """
    try:
        return parse_moment(text, now_ms)
    except ValueError as exc:
        raise UsageError(f"{option} {exc}", NO_MOMENT_HINT) from exc
