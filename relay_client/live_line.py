"""The line of an attempt on a terminal, as wide as that is.

    time · end of the event's id · channel · kind and conversation, or method and path · status · ms

What does not fit goes: first the space of the widest columns, then the duration, then the id. Why
an attempt failed stands behind, or where it does not fit on lines of its own.
"""

from __future__ import annotations

from relay_client.telling import clock, status_of
from relay_protocol.text import harmless, short_id
from relay_protocol.values import Delivery, EventHead, Outcome
from relay_terminal.layout import padded, width
from relay_terminal.words import _

_WIDEST = 100  # a wider terminal's lines are not spread out
_CHANNEL_CELLS = 12
_KIND_CELLS = 28
_KEY_CELLS = 10
_GAP = 2  # cells between columns
_LEAST_CELLS = 14  # for kind and conversation; before they get less, other columns go
EDITED_FROM = b"relay-edited-from"


def live_line(
    delivery: Delivery, outcome: Outcome, columns: int, *, with_channel: bool
) -> tuple[str, str, str]:
    """Lay an attempt out within so many columns; 0 for as many as there are.

    Returns:
        What stands before the status, the status, and what stands behind it.
    """
    event, status = delivery.event, status_of(outcome).replace("_", " ")
    before = {"time": clock(), "id": f"…{short_id(event.id)}"}
    if with_channel:
        before["channel"] = padded(harmless(delivery.channel, _CHANNEL_CELLS), _CHANNEL_CELLS)
    behind = {"took": _duration(outcome.elapsed_ms), "marks": "  ".join(_marks(delivery))}
    columns, room = min(columns or _WIDEST, _WIDEST), 0
    for column in ("", "took", "id", "channel"):
        before.pop(column, None)
        behind.pop(column, None)
        cells = [*before.values(), status, *filter(None, behind.values())]
        room = columns - sum(width(cell) + _GAP for cell in cells)
        if room >= _LEAST_CELLS:
            break
    what = _what(event, max(room, _LEAST_CELLS))
    rest = ["", *filter(None, behind.values())]
    return "  ".join([*before.values(), what, ""]), status, "  ".join(rest)


def _what(event: EventHead, room: int) -> str:
    if not event.kind:
        return padded(_request(event, room), min(room, _KIND_CELLS + 1 + _KEY_CELLS))
    key_cells = _KEY_CELLS if room > _KIND_CELLS + _KEY_CELLS else 6
    kind_cells = min(_KIND_CELLS, room - key_cells - 1)
    kind = padded(harmless(event.kind, kind_cells), kind_cells)
    return f"{kind} {padded(_key(event.key, key_cells), key_cells)}"


def _request(event: EventHead, room: int) -> str:
    """Of a sender that names no kind: what it posted where, and GitHub's name for it."""
    request = event.request
    names = [value for name, value in request.headers if name.lower() == b"x-github-event"]
    said = [name.decode("latin-1") for name in names[:1]]
    return harmless(" ".join([*said, request.method, request.request_target]), room)


def _key(key: str, cells: int) -> str:
    """A conversation as people know it: by its number, without its account's."""
    account, _slash, number = key.rpartition("/")
    if number.isdigit() and (account.isdigit() or not account):
        key = f"#{number}"
    return harmless(key, cells)


def _duration(elapsed_ms: int) -> str:
    return f"{elapsed_ms} ms" if elapsed_ms < 10_000 else f"{elapsed_ms / 1_000:.0f} s"


def _marks(delivery: Delivery) -> list[str]:
    """What is not an ordinary first attempt."""
    headers = delivery.event.request.headers
    marks = [_("replay")] if delivery.replay else []
    if any(name.lower() == EDITED_FROM for name, _value in headers):
        marks.append(_("edited"))
    if delivery.attempt > 1:
        marks.append(_("attempt {number}").format(number=delivery.attempt))
    return marks
