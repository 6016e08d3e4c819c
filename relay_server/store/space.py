"""Whether a store takes webhooks: the state that others look at."""

from __future__ import annotations

from collections.abc import Callable


class Space:
    """Whether the store takes webhooks. It belongs to the event loop.

    Attributes:
        taking: It does. Deliveries go on in any case.
        reason: Why not; empty while it does.
    """

    def __init__(self) -> None:
        self.taking = True
        self.reason = ""
        self._listeners: list[Callable[[Space], None]] = []

    def listen(self, listener: Callable[[Space], None]) -> None:
        """Call back on each change: when room is needed, and when there is room again."""
        self._listeners.append(listener)

    def change(self, reason: str) -> None:
        """Refuse webhooks from now on, or with no reason take them again."""
        self.taking, self.reason = not reason, reason
        for listener in tuple(self._listeners):
            listener(self)
