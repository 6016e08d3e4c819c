"""Events as lines for people; whatever strangers wrote is made harmless."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from relay_protocol.text import harmless, short_id
from relay_terminal import states
from relay_terminal.words import _

if TYPE_CHECKING:
    from relay_client.answers import Delivery, Event

WHAT_CHARS = 32  # of what happened, in a list
WHO_CHARS = 20  # of who is behind it, in a list
SAYS_CHARS = 60  # of what was said, in a list


def what_of(event: Event) -> str:
    """What happened: in the sender's words, or where those say nothing, what it asked for."""
    said = event.kind or f"{event.method} {event.request_target}"
    return harmless(said, WHAT_CHARS)


def conversation_of(event: Event) -> str:
    """As people know it: `#318`; of other senders their own key."""
    number = event.facts.conversation if event.facts else event.key
    return harmless(f"#{number}" if number.isdigit() else number, WHO_CHARS) or "-"


def who_of(event: Event) -> str:
    """The customer's name, or who else is behind it."""
    facts = event.facts
    if facts is None or not facts.direction:
        return "-"
    return harmless(facts.name if facts.direction == "customer" else facts.direction, WHO_CHARS)


def says_of(event: Event) -> str:
    """The first words of what was said."""
    facts = event.facts
    if facts is None or not facts.says:
        return ""
    note = _("(private) ") if facts.private else ""
    return note + harmless(facts.says, SAYS_CHARS)


def columns_of(event: Event, at: str, name: str) -> tuple[str, ...]:
    """A row of a list: `at` says when it was received, `name` whose delivery is shown."""
    state = state_of(own(event.deliveries, name))
    what = what_of(event)
    where = conversation_of(event)
    return short_id(event.id), at, what, where, who_of(event), state, says_of(event)


def own(deliveries: Sequence[Delivery], name: str) -> Delivery | None:
    """The delivery to a subscription that counts: that of its last replay, or the first one."""
    return next((one for one in reversed(deliveries) if one.subscription == name), None)


def state_of(delivery: Delivery | None) -> str:
    """How far a delivery is, with the target's last answer where there was one."""
    if delivery is None:
        return "-"
    word = harmless(states.state_of(delivery.state, delivery.attempt), WHO_CHARS)
    return word if delivery.status is None else f"{word} {delivery.status}"
