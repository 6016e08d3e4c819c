"""A large backlog, told in one line that changes instead of thousands, and summed up at its end.

Pure: callers pass the time. It is over once as many attempts ended as webhooks waited, or when
nothing more came for a while: others that share the work may have had the rest.
"""

from __future__ import annotations

from collections import deque

from relay_client.notices import Settled
from relay_protocol.messages import Follows, Welcome
from relay_protocol.values import Failure, FailureKind
from relay_terminal.layout import duration
from relay_terminal.words import _, counted, plural

AT_LEAST = 100  # webhooks that wait: with more of them a line for each helps nobody
SHOWN_FAILURES = 3  # that have lines of their own all the same
IDLE_S = 5.0  # without any attempt that ended, it is over
RECENT_S = 5.0  # over which the rate is taken
_NOT_TRIED = (FailureKind.TARGET_DOWN, FailureKind.TARGET_LOST, FailureKind.NOT_STARTED)


def waiting_of(welcome: Welcome) -> int:
    """How much is to be delivered now, without what waits for its next attempt."""
    return sum(max(0, one.backlog - one.retrying) for one in welcome.subscriptions)


class CatchingUp:
    """Counts what is delivered of a backlog. Times are monotonic seconds."""

    def __init__(self, waiting: int, now: float) -> None:
        self._waiting = waiting
        self._began = self._last = now
        self._delivered = self._failed = self._dead = 0
        self._recent: deque[float] = deque()

    @property
    def _ended(self) -> int:
        return self._delivered + self._failed + self._dead

    def takes(self, settled: Settled, now: float) -> bool:
        """Count an attempt; False where it is to have a line of its own."""
        outcome = settled.outcome
        if settled.delivery.replay or (isinstance(outcome, Failure) and outcome.kind in _NOT_TRIED):
            return False
        self._last = now
        self._recent.append(now)
        if outcome.delivered:
            self._delivered += 1
            return True
        if settled.verdict is not None and settled.verdict.follows is Follows.DEAD:
            self._dead += 1
        else:
            self._failed += 1
        return self._failed + self._dead > SHOWN_FAILURES

    def held_up(self, now: float) -> None:
        """Nothing can end now: the connection or the target is away."""
        self._last = now

    def over(self, now: float) -> bool:
        """True once nothing of it is left, or nothing more comes."""
        return self._ended >= self._waiting or now - self._last >= IDLE_S

    def line(self, now: float) -> str:
        """How far it is."""
        rate, left = self._rate(now), max(0, self._waiting - self._ended)
        text = _("{done} of {all} delivered").format(
            done=counted(self._delivered), all=counted(self._waiting)
        )
        said = [text, plural("{number} waits", "{number} wait", left)]
        if self._failed or self._dead:
            said.append(plural("{number} failed", "{number} failed", self._failed + self._dead))
        if rate > 0:
            said.append(_("{rate:.0f} a second").format(rate=rate))
            said.append(_("about {time} left").format(time=duration(left / rate)))
        return ", ".join(said)

    def summary(self) -> str:
        """What came of it."""
        took = max(self._last - self._began, 0.001)
        text = plural("{number} webhook delivered", "{number} webhooks delivered", self._delivered)
        said = [
            _("Caught up: {webhooks} in {time}, {rate:.0f} a second").format(
                webhooks=text, time=duration(took), rate=self._delivered / took
            )
        ]
        if self._failed:
            said.append(plural("{number} is tried again", "{number} are tried again", self._failed))
        if self._dead:
            dead = plural("{number} is dead", "{number} are dead", self._dead)
            said.append(_("{dead}: relay-client replay --dead").format(dead=dead))
        return "; ".join(said)

    def _rate(self, now: float) -> float:
        while self._recent and self._recent[0] < now - RECENT_S:
            self._recent.popleft()
        return len(self._recent) / max(0.2, min(RECENT_S, now - self._began))
