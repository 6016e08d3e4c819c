"""Which of many like log lines are written.

What goes wrong goes wrong again and again: a line each time would fill the disk and hide all else.
The first line of a kind is written at once, the next after a pause, and each pause is twice as long
as the one before, up to a longest. A kind that was quiet for a while begins anew.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass

FIRST_PAUSE_S = 10.0  # between two log lines of one kind
LONGEST_PAUSE_S = 3_600.0  # whoever looks at the log of today finds what is wrong for days
QUIET_S = 60.0  # without one of its kind, and the next one is news
MAX_KINDS = 1_000  # what is told apart may come from outside: the others share one line


@dataclass(slots=True)
class _Kind:
    seen_at: float
    due_at: float
    pause_s: float = FIRST_PAUSE_S
    count: int = 0  # since the last line


class Throttle:
    """Says of each occurrence of a kind if it gets a log line. Pure: the time is passed in.

    Args:
        longest_s: The longest pause between two lines of one kind; by default they stay as long.
        kinds: How many are told apart at once.
    """

    def __init__(self, longest_s: float = FIRST_PAUSE_S, kinds: int = MAX_KINDS) -> None:
        self._longest_s = longest_s
        self._most = kinds
        self._kinds: OrderedDict[Hashable, _Kind] = OrderedDict()  # seen last is the last

    def due(self, kind: Hashable, now: float) -> int:
        """Count one: how many there were since the last line, if one is due; else 0."""
        known = self._find(kind, now)
        known.count += 1
        if now - known.seen_at > QUIET_S:
            known.due_at, known.pause_s = now, FIRST_PAUSE_S
        known.seen_at = now
        if now < known.due_at:
            return 0
        known.due_at = now + known.pause_s
        known.pause_s = min(2 * known.pause_s, self._longest_s)
        count, known.count = known.count, 0
        return count

    def _find(self, kind: Hashable, now: float) -> _Kind:
        if kind not in self._kinds and len(self._kinds) >= self._most:
            # Errors that differ in every number must not get a line each: while what they share
            # goes on, none has a line of its own.
            shared, (oldest, last) = self._kinds.get(None), next(iter(self._kinds.items()))
            if now - (shared or last).seen_at > QUIET_S:
                del self._kinds[oldest]
            else:
                kind = None
        known = self._kinds.pop(kind, None) or _Kind(now, now)
        self._kinds[kind] = known
        return known
