"""Failed attempts that wait to be told, until the relay has said what follows from them."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace

from relay_client.notices import Settled
from relay_protocol.messages import Result, Verdict
from relay_protocol.values import Failure, FailureKind

# For which the relay is waited for; then an attempt is told without what follows.
VERDICT_S = 2.0
# What was not posted is no attempt: nothing follows from it.
_NOT_TRIED = (FailureKind.TARGET_DOWN, FailureKind.NOT_STARTED)


class Verdicts:
    """Holds what has failed back. There is no more of it than deliveries may be under way."""

    def __init__(self) -> None:
        self._held: dict[str, tuple[Settled, float]] = {}  # by delivery: until when, at most

    def holds(self, settled: Settled, sent: Iterable[object], now: float) -> bool:
        """Hold an attempt back if a verdict is to come; False where it can be told at once.

        Args:
            settled: The attempt.
            sent: What was sent because of it: only of a result that the relay got it says more.
            now: Monotonic seconds.
        """
        outcome, delivery = settled.outcome, settled.delivery.id
        if outcome.delivered or (isinstance(outcome, Failure) and outcome.kind in _NOT_TRIED):
            return False
        if not any(isinstance(one, Result) and one.delivery == delivery for one in sent):
            return False
        self._held[delivery] = settled, now + VERDICT_S
        return True

    def judged(self, verdict: Verdict) -> list[Settled]:
        """The attempt that a verdict is of, to be told with it; nothing where none waits."""
        held = self._held.pop(verdict.delivery, None)
        return [] if held is None else [replace(held[0], verdict=verdict)]

    def overdue(self, now: float | None = None) -> list[Settled]:
        """Those that are told without; all of them where there is no relay to wait for (None)."""
        found = [s for s, until in self._held.values() if now is None or until <= now]
        for settled in found:
            del self._held[settled.delivery.id]
        return found
