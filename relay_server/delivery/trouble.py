"""A store that does not answer: asked again after a while, and complained of ever more rarely."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import structlog

from relay_protocol.errors import RelayError
from relay_server.clock import Clock

log = structlog.get_logger()

STORE_RETRY_S = 1.0
FIRST_SILENCE_S = 10.0  # from one line about the same trouble to the next; then twice as long …
LONGEST_SILENCE_S = 3600.0  # … and no longer than this
NEW_AFTER_S = 60.0  # without a failure, and the next one is of another trouble
MAX_SAID = 8  # errors of one trouble that are told apart: they may differ in every number


class Trouble:
    """What goes wrong again and again with one thing that a reader wants of the store.

    Args:
        clock: For durations.
        what: A fixed phrase for the log.
        facts: What the log is to say beside it, always.
    """

    def __init__(self, clock: Clock, what: str, **facts: str) -> None:
        self._clock = clock
        self._what = what
        self._facts = facts
        self._failed_at = float("-inf")
        self._failures = 0
        self._said = set[str]()
        self._say_at = 0.0
        self._silence_s = FIRST_SILENCE_S

    @property
    def wait_until(self) -> float | None:
        """Monotonic seconds, before which the store is not to be asked; None if it may be now."""
        if not self._failures:
            return None  # asked for each delivery: a clock costs more
        again_at = self._failed_at + STORE_RETRY_S
        return again_at if self._clock.monotonic() < again_at else None

    async def spare(self, work: Callable[[], Awaitable[None]]) -> bool:
        """Do it, unless it failed a moment ago; False if it is to be tried again."""
        if self.wait_until is not None:
            return False
        try:
            await work()
        except RelayError as exc:
            self._failed(exc)
            return False
        return True

    def _failed(self, error: RelayError) -> None:
        now = self._clock.monotonic()
        if now - self._failed_at > NEW_AFTER_S:
            self._failures, self._say_at, self._silence_s = 0, now, FIRST_SILENCE_S
            self._said.clear()
        self._failed_at = now
        self._failures += 1
        if self._is_worth_a_line(str(error), now):
            log.warning(self._what, error=str(error), failures=self._failures, **self._facts)

    def _is_worth_a_line(self, error: str, now: float) -> bool:
        new = error not in self._said and len(self._said) < MAX_SAID
        if new:
            self._said.add(error)
        if now >= self._say_at:
            self._say_at = now + self._silence_s
            self._silence_s = min(2 * self._silence_s, LONGEST_SILENCE_S)
            return True
        return new
