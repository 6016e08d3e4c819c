"""A clock that moves only when it is told to."""

from __future__ import annotations

from dataclasses import dataclass

START_MS = 1_783_000_810_000  # 2026-07-02T14:00:10Z, as in the Chatwoot fixtures


@dataclass(slots=True)
class VirtualClock:
    """A `Clock` for tests.

    Attributes:
        now: Monotonic seconds.
        start_ms: Unix milliseconds at monotonic zero; change it to let the date jump.
    """

    now: float = 0.0
    start_ms: int = START_MS

    def monotonic(self) -> float:
        return self.now

    def unix_ms(self) -> int:
        return self.start_ms + round(self.now * 1000)

    def advance(self, seconds: float) -> None:
        assert seconds >= 0
        self.now += seconds
