"""Where the deliveries of one reader go, and which of these takes the next.

A sink that is *held* has a target that is not there; the others are *open*. They take turns: who
was served last is asked last.
"""

from __future__ import annotations

from typing import Protocol

from relay_protocol.limits import WINDOW_DELIVERIES
from relay_protocol.values import Delivery


class Sink(Protocol):
    """Where deliveries go: a connection, or a URL."""

    @property
    def credit(self) -> int:
        """How many deliveries may be sent now, whatever they weigh."""

    def accepts(self, size: int) -> bool:
        """True if a body of so many bytes may be sent now."""

    def deliver(self, delivery: Delivery) -> None:
        """Send it with the next `flush`, or before; the result comes to the reader's `finish`."""

    def flush(self) -> None:
        """Send what was delivered, without waiting: nothing more is at hand now."""


class Sinks:
    """The sinks of one reader."""

    __slots__ = ("_open", "_why_held")

    def __init__(self) -> None:
        self._why_held: dict[Sink, str | None] = {}  # of all of them; None for an open one
        self._open: list[Sink] = []

    @property
    def any_open(self) -> bool:
        """True if the target of one of them is there."""
        return bool(self._open)

    @property
    def waits_for_target(self) -> str | None:
        """Why none of them takes anything now; None if one does, or there is none."""
        reasons = list(self._why_held.values())
        return reasons[0] if reasons and None not in reasons else None

    @property
    def credit(self) -> int:
        """How many deliveries may be lent now, whatever they weigh; no more than a window holds."""
        return min(sum([sink.credit for sink in self._open]), WINDOW_DELIVERIES)

    def add(self, sink: Sink) -> None:
        """One came, if it is not here yet; it is open."""
        self._why_held.setdefault(sink, None)
        self._follow()

    def remove(self, sink: Sink) -> None:
        """One went."""
        self._why_held.pop(sink, None)
        self._follow()

    def hold(self, sink: Sink, why: str | None) -> None:
        """The target of one went, or, with None, is back."""
        if sink in self._why_held:
            self._why_held[sink] = why
            self._follow()

    def clear(self) -> None:
        """All went."""
        self._why_held.clear()
        self._open.clear()

    def accepting(self, size: int) -> Sink | None:
        """The first that takes a body of so many bytes now, if any does."""
        for sink in self._open:
            if sink.accepts(size):
                return sink
        return None

    def served(self, sink: Sink) -> None:
        """One got something: the others come first the next time."""
        if len(self._open) > 1:
            self._open.remove(sink)
            self._open.append(sink)

    def _follow(self) -> None:
        self._open = [sink for sink, why in self._why_held.items() if why is None]
