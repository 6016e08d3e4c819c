"""What a client's targets took already: it is known again, so that a lost result costs no post."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Protocol, TypeAlias

from relay_protocol.messages import Granted
from relay_protocol.values import Delivery, Response

# Delivered events that a client knows again, so that a lost result costs no second post.
REMEMBERED_RESULTS = 10_000
# Of a delivery and its event: a server restored from a backup gives delivery ids to other events.
FinishedKey: TypeAlias = tuple[str, str]


class Finished(Protocol):
    """Deliveries that ended with a 2xx of the target. No method may raise or take long."""

    def open(self, granted: Sequence[Granted]) -> None:
        """Learn whose deliveries these are; called with each welcome, before anything else."""

    def find(self, delivery_id: str, event_id: str, attempt: int) -> Response | None:
        """The target's answer but for headers and body, if it took this delivery before.

        Args:
            delivery_id: As the server names it.
            event_id: Of the event that it brings.
            attempt: Which one comes now; above 1, another client may have made the earlier ones.
        """

    def add(self, delivery: Delivery, response: Response) -> None:
        """Remember a 2xx."""


class FinishedInMemory:
    """The last `REMEMBERED_RESULTS` of this process."""

    def __init__(self) -> None:
        self._known: OrderedDict[FinishedKey, Response] = OrderedDict()

    def open(self, granted: Sequence[Granted]) -> None:
        pass  # ids are enough to tell them apart

    def find(self, delivery_id: str, event_id: str, attempt: int) -> Response | None:
        return self._known.get((delivery_id, event_id))

    def add(self, delivery: Delivery, response: Response) -> None:
        # Headers and body are for the first report of it alone.
        brief = Response(response.status, elapsed_ms=response.elapsed_ms)
        self.remember((delivery.id, delivery.event.id), brief)

    def remember(self, key: FinishedKey, response: Response) -> None:
        """Remember what is known from elsewhere; the oldest is forgotten where it is too much."""
        self._known[key] = response
        if len(self._known) > REMEMBERED_RESULTS:
            self._known.popitem(last=False)
