"""Terms of a filter that only an event's deliveries can answer. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from relay_server.filters.language import Filter, Term
from relay_server.reported import DeliveryState

RARE = frozenset({"dead", "failed", "pinned"})
WAITING = ("pending", "under_way", "waiting")


def holds(asked: Filter, deliveries: Sequence[DeliveryState], *, pinned: bool) -> bool:
    """Whether the terms of a filter that need an outcome hold of an event.

    Where subscriptions are named, the other terms are about their deliveries alone; of several
    deliveries any one will do, and of a term that is negated none. Whether it is pinned is the
    event's own.
    """
    meant = list(deliveries)
    for term in asked.terms:
        if term.word == "subscription":
            named = [d for d in meant if _is_of(d, term)]
            meant = [d for d in meant if d not in named] if term.negated else named
    if not meant and any(term.word == "subscription" for term in asked.terms):
        return False
    return all(
        ((pinned and _asks_for_pinned(term)) or any(_has(delivery, term) for delivery in meant))
        is not term.negated
        for term in asked.terms
        if term.needs_outcome and term.word != "subscription"
    )


def rare(asked: Filter) -> frozenset[str]:
    """Outcomes of which one must hold, where all that a term names are such that few have."""
    for term in asked.terms:
        named = frozenset(value.text for value in term.values)
        if term.word == "is" and not term.negated and named <= RARE:
            return named
    return frozenset()


def asks_for_pinned(asked: Filter) -> bool:
    return any(_asks_for_pinned(term) for term in asked.terms)


def _asks_for_pinned(term: Term) -> bool:
    return term.word == "is" and any(value.text == "pinned" for value in term.values)


def _is_of(delivery: DeliveryState, term: Term) -> bool:
    return any(value.fits(delivery.subscription) for value in term.values)


def _has(delivery: DeliveryState, term: Term) -> bool:
    last = delivery.attempts[-1] if delivery.attempts else None
    for value in term.values:
        if term.word == "status":
            status = "" if last is None or last.status is None else str(last.status)
            if status == value.text or (value.text.endswith("xx") and status[:1] == value.text[0]):
                return bool(status)
        elif _is(delivery, value.text):
            return True
    return False


def _is(delivery: DeliveryState, state: str) -> bool:
    match state:
        case "waiting":
            return delivery.state in WAITING
        case "failed":  # its last attempt, whether or not there will be another
            tried = delivery.attempts and not delivery.attempts[-1].delivered
            return delivery.state == "dead" or bool(tried and delivery.state in WAITING)
        case _:
            return delivery.state == state
