"""How long this client's last connections lasted: what stands between cuts them all alike.

Kept are those that ended without a word of either end, the last few, in a file for each relay in
the user's state folder. Three in a row of about equal length are no accident, as a bad network's
are. What cannot be read or written is done without.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from relay_terminal.words import _

KEPT = 10  # cut connections that are remembered
MAX_FILE_BYTES = 4_096  # of that memory; a longer file is none of ours
ALIKE = 3  # of about equal length in a row: something cuts them
LONGEST_S = 1_800.0  # a connection that lasted longer was no short one
SPREAD = 0.1  # by which lengths may differ, as a share of the longest …
SPREAD_S = 1.0  # … and in any case
FRESH_S = 3_600.0  # what was cut before that says nothing of now


class Cut(NamedTuple):
    """A connection that was cut: when, in Unix seconds, and after how many seconds."""

    at: float
    lasted_s: float


class Lifetimes:
    """Remembers them."""

    def __init__(self, folder: Path, url: str, now: Callable[[], float]) -> None:
        self._file = folder / f"cuts-{hashlib.sha256(url.encode()).hexdigest()[:16]}.json"
        self._now = now

    def cut(self, lasted_s: float) -> float | None:
        """Note one; the length that the last ones had in common, in seconds, if they had one."""
        cuts = [*self._read(), Cut(self._now(), round(lasted_s, 3))][-KEPT:]
        with contextlib.suppress(OSError):
            self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file.write_text(json.dumps(cuts), "utf-8")
        return _steady(cuts, self._now())

    def steady(self) -> float | None:
        """The same of those that are known."""
        return _steady(self._read(), self._now())

    def _read(self) -> list[Cut]:
        try:
            with self._file.open("rb") as file:
                found = json.loads(file.read(MAX_FILE_BYTES))
            return [Cut(float(at), float(lasted_s)) for at, lasted_s in found][-KEPT:]
        except (OSError, ValueError, TypeError, RecursionError):
            return []


def told(lasted_s: float) -> tuple[str, str]:
    """That something cuts connections, and what to do."""
    shown = f"{lasted_s:.0f} s" if lasted_s >= 1 else f"{lasted_s:.1f} s"
    text = _("the connection lasts {seconds}: a proxy in between cuts it").format(seconds=shown)
    hint = _(
        "Nothing is lost, and each webhook of that moment waits. Let the proxy keep a WebSocket for"
        " an hour or more: in nginx proxy_read_timeout 1h, in HAProxy timeout tunnel 1h, in Traefik"
        " respondingTimeouts.readTimeout 0."
    )
    return text, hint


def _steady(cuts: Sequence[Cut], now: float) -> float | None:
    last = [one.lasted_s for one in cuts[-ALIKE:] if 0 <= now - one.at <= FRESH_S]
    if len(last) < ALIKE or max(last) > LONGEST_S:
        return None
    spread = max(SPREAD_S, SPREAD * max(last))
    return sum(last) / len(last) if max(last) - min(last) <= spread else None
