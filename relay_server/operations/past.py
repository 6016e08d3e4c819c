"""How deliveries stood at a moment that is past, by the attempts that are recorded. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from msgspec.structs import replace

from relay_server.reported import DeliveryState
from relay_server.values import Attempt


def deliveries_then(deliveries: Iterable[DeliveryState], at: int) -> list[DeliveryState]:
    """Those that there were at a moment, each as it stood then.

    Of a replay it is not recorded when it was asked for: it is there from its first attempt on. Nor
    is it when somebody discarded what was dead: that shows from its last attempt on.
    """
    return [then for one in deliveries if (then := _then(one, at)) is not None]


def moments_of(deliveries: Iterable[DeliveryState]) -> Iterator[int]:
    """When attempts began and ended, in Unix milliseconds."""
    for delivery in deliveries:
        for one in delivery.attempts:
            yield one.started_at
            yield _end(one)


def _then(delivery: DeliveryState, at: int) -> DeliveryState | None:
    begun = tuple(one for one in delivery.attempts if one.started_at <= at)
    ended = tuple(one for one in begun if _end(one) <= at)
    if delivery.replay and not begun:
        return None
    if ended == delivery.attempts:
        return delivery
    if begun != ended:
        return replace(delivery, state="under_way", attempts=ended, reason="", due_at=0)
    due = delivery.attempts[len(begun)].started_at if ended else 0
    state = "waiting" if ended else "pending"
    return replace(delivery, state=state, attempts=ended, reason="", due_at=due)


def _end(attempt: Attempt) -> int:
    return attempt.started_at + attempt.elapsed_ms
