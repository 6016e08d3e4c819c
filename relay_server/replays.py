"""What may be asked of a replay. Pure."""

from __future__ import annotations

from relay_protocol.limits import MAX_UNIX_MS
from relay_server.channels import MAX_KEY_CHARS, MAX_KIND_CHARS
from relay_server.errors import InvalidValue
from relay_server.values import MAX_SEQUENCE, Selection

# Deliveries a second: leaves most of the store and the target to live traffic.
DEFAULT_REPLAY_RATE_PER_S = 200.0
MIN_REPLAY_RATE_PER_S = 0.1  # of a replay's `--rate-per-s`
MAX_REPLAY_RATE_PER_S = 1_000.0  # of a replay's `--rate-per-s`
MAX_NAMED_EVENTS = 1_000  # by id in one request for a replay
MAX_TEXT_CHARS = 1_000  # of a replay's `--text`


def check_rate(rate_per_s: float) -> float:
    """Return a replay's rate if it is possible.

    Raises:
        InvalidValue: It is not.
    """
    if not MIN_REPLAY_RATE_PER_S <= rate_per_s <= MAX_REPLAY_RATE_PER_S:
        bounds = f"{MIN_REPLAY_RATE_PER_S:g} to {MAX_REPLAY_RATE_PER_S:g}"
        raise InvalidValue(f"a replay makes {bounds} deliveries a second")
    return rate_per_s


def check_selection(selection: Selection, *, everything: bool) -> Selection:
    """Return a selection if it is possible; everything there is must be asked for as such.

    Raises:
        InvalidValue: It is not.
    """
    if everything and selection != Selection():
        raise InvalidValue("`all` goes with no other condition: leave one of them out")
    if not everything and selection == Selection():
        raise InvalidValue("say which events are to be replayed; every one of them is `all`")
    _check_ends("sequence", selection.first, selection.last, 1, MAX_SEQUENCE)
    _check_ends("time", selection.received_from, selection.received_before, 0, MAX_UNIX_MS)
    for name, text, limit in (
        ("kind", selection.kind, MAX_KIND_CHARS),
        ("key", selection.key, MAX_KEY_CHARS),
        ("text", selection.text, MAX_TEXT_CHARS),
    ):
        if text is not None and len(text) > limit:
            raise InvalidValue(f"a {name} to select by has up to {limit} characters")
    return selection


def _check_ends(what: str, first: int | None, last: int | None, low: int, high: int) -> None:
    for end in (first, last):
        if end is not None and not low <= end <= high:
            raise InvalidValue(f"{end} is no {what}")
    if first is not None and last is not None and first > last:
        raise InvalidValue(f"the first {what} comes after the last one")
