"""Events as lines for people; whatever strangers wrote is made harmless."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from relay_protocol.text import harmless, short_id
from relay_terminal import states
from relay_terminal.console import Console
from relay_terminal.layout import padded, when, zone
from relay_terminal.words import _

if TYPE_CHECKING:
    from relay_client.answers import Delivery, Event

WIDEST_CELLS = 140  # of a screen that has room for all columns of a list
WIDE_CELLS = 110  # of one that has room for what was said
MEDIUM_CELLS = 80  # of one that has room for the conversation
WIDEST_CHARS = 1_000  # of a line, where there is no screen
NARROW_CHARS = 20  # of what happened, on a narrower screen
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


def list_lines(events: Sequence[Event], name: str, console: Console) -> list[str]:
    """Events as a table; `name` says whose delivery is shown.

    Where there is less room, less is said of each.
    """
    cells, shown = console.cells, tuple(range(7))
    for least, fewer in ((WIDEST_CELLS, (0, 1, 2, 3, 5, 6)), (WIDE_CELLS, (0, 1, 2, 3, 5))):
        shown = fewer if cells and cells < least else shown
    if cells and cells < MEDIUM_CELLS:
        shown = (0, 1, 2, 5)
    rows = [_heading(), *(_columns_of(event, name, cells) for event in events)]
    says = shown[-1] == len(rows[0]) - 1
    return console.table([tuple(row[at] for at in shown) for row in rows], cut=says)


def followed_line(event: Event, cells: int) -> str:
    """An event as it comes: a line as wide as the screen at most."""
    is_wide = not cells or cells >= MEDIUM_CELLS
    columns = [(what_of(event), 28 if is_wide else NARROW_CHARS), (conversation_of(event), 8)]
    columns += [(who_of(event), 16)] if is_wide else []
    begun = [time.strftime("%H:%M:%S"), short_id(event.id)]
    begun += [padded(harmless(text, room), room) for text, room in columns]
    return harmless("  ".join([*begun, says_of(event)]), cells or WIDEST_CHARS).rstrip()


def delivery_line(id_: str, delivery: Delivery, cells: int) -> str:
    """What became of an event, as it is told: a line as wide as the screen at most."""
    one = delivery
    said = states.became(one.state, one.attempt, one.status, one.reason, one.due_at)
    line = f"{time.strftime('%H:%M:%S')}  {short_id(id_)}  -> {said}"
    return harmless(line, cells or WIDEST_CHARS)


def _heading() -> tuple[str, ...]:
    at = _("TIME ({zone})").format(zone=zone())
    return "ID", at, _("EVENT"), _("CONVERSATION"), _("FROM"), _("DELIVERY"), _("SAYS")


def _columns_of(event: Event, name: str, cells: int) -> tuple[str, ...]:
    is_wide = not cells or cells >= WIDE_CELLS
    at = when(event.received_at)
    at = at if not cells or cells >= MEDIUM_CELLS else at[len("2026-") : len("2026-11-29 12:04")]
    what = what_of(event) if is_wide else harmless(what_of(event), NARROW_CHARS)
    where, state = conversation_of(event), state_of(own(event.deliveries, name))
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
