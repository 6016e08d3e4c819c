"""A store that does not answer: asked again after a while, and complained of ever more rarely."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import structlog

from relay_protocol.errors import RelayError
from relay_server.clock import Clock
from relay_server.throttle import LONGEST_PAUSE_S, QUIET_S, Throttle

log = structlog.get_logger()

STORE_RETRY_S = 1.0  # until a store that did not answer is asked again, whatever comes meanwhile
MAX_ERRORS = 8  # that the log tells apart at once: they may differ in every number


class StoreBackoff:
    """One thing that a reader wants of the store, tried again until it is done.

    Args:
        clock: For durations.
        what: A fixed phrase for the log.
        facts: The log line's other fields.
    """

    def __init__(self, clock: Clock, what: str, **facts: str) -> None:
        self._clock = clock
        self._what = what
        self._facts = facts
        self._throttle: Throttle | None = None  # of readers that wait few ever need one
        self._failed_at = float("-inf")
        self._failures = 0

    @property
    def wait_until(self) -> float | None:
        """Monotonic seconds, before which the store is not to be asked; None if it may be now."""
        if not self._failures:
            return None  # asked for each delivery: a clock costs more
        again_at = self._failed_at + STORE_RETRY_S
        return again_at if self._clock.monotonic() < again_at else None

    async def run(self, work: Callable[[], Awaitable[None]]) -> bool:
        """Do it, unless it failed a moment ago; False if it is to be tried again."""
        if self.wait_until is not None:
            return False
        try:
            await work()
        except RelayError as exc:
            now = self._clock.monotonic()
            self._failures = 1 if now - self._failed_at > QUIET_S else self._failures + 1
            self._failed_at = now
            self._throttle = self._throttle or Throttle(LONGEST_PAUSE_S, MAX_ERRORS)
            if self._throttle.due(str(exc), now):
                log.warning(self._what, error=str(exc), failures=self._failures, **self._facts)
            return False
        return True
