"""Times and spans as people write them, and as HTTP does. Pure: the time is passed in."""

from __future__ import annotations

import email.utils
import functools
import re
from datetime import UTC, datetime

NO_MOMENT_HINT = (
    "Write now, beginning, a span such as 2h or 3d, or a time with its zone, such as "
    "2026-07-02T14:00:00Z."
)

_SPAN = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,3})?)(s|m|h|d)")
_UNIT_S = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


def parse_span(text: str) -> float:
    """Read a span such as `30s`, `2m`, `1.5h` or `3d`.

    Returns:
        Seconds.

    Raises:
        ValueError: It is none.
    """
    span = _SPAN.fullmatch(text)
    if span is None:
        raise ValueError(f"{text!r} is no span such as 30s, 2m, 5h or 3d")
    return float(span[1]) * _UNIT_S[span[2]]


def parse_moment(text: str, now_ms: int) -> int | None:
    """Read `now`, `beginning`, a span back such as `2h`, or a time (RFC 3339).

    Returns:
        Unix milliseconds; None for now.

    Raises:
        ValueError: It is none of these.
    """
    if text == "now":
        return None
    if text == "beginning":
        return 0
    if _SPAN.fullmatch(text):
        return max(0, now_ms - round(parse_span(text) * 1_000))
    return _moment(text)


def rfc3339(unix_ms: int) -> str:
    """Write a time, e.g. `2026-07-02T14:00:00.123Z`.

    Raises:
        ValueError, OverflowError, OSError: It is outside the years that have four digits.
    """
    seconds, ms = divmod(unix_ms, 1_000)
    return f"{_second(seconds)}.{ms:03}Z"


@functools.lru_cache(maxsize=64)  # many webhooks come within one
def _second(unix_s: int) -> str:
    return datetime.fromtimestamp(unix_s, UTC).isoformat()[: len("2026-07-02T14:00:00")]


def retry_after(text: str, now_ms: int) -> float | None:
    """Read what stands in `Retry-After`: seconds, or a date (RFC 9110 §10.2.3).

    Returns:
        Seconds from now on, less than 0 for a date that was, infinite for a number without end;
        None for what is neither.
    """
    text = text.strip()
    if text.isascii() and text.isdigit():
        return float(text)  # infinite from 309 digits on
    try:
        when = email.utils.parsedate_to_datetime(text)
    except (ValueError, OverflowError):  # an offset of centuries overflows
        return None
    aware = when if when.tzinfo else when.replace(tzinfo=UTC)
    return (aware - datetime.fromtimestamp(now_ms / 1_000, UTC)).total_seconds()


def _moment(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is not None:
            return max(0, round(moment.timestamp() * 1_000))
    except (ValueError, OverflowError):
        pass
    raise ValueError(f"{text!r} is not a time")
