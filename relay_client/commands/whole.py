"""An event whole, as lines for people: head, body and every attempt."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from relay_protocol.text import harmless, short_id
from relay_terminal import states
from relay_terminal.console import Console
from relay_terminal.layout import pairs, when, zoned
from relay_terminal.retold import retold
from relay_terminal.words import _

if TYPE_CHECKING:
    from relay_client.answers import Attempt, Delivery, EventWhole

MAX_BODY_LINES = 200  # of a body that is shown; `events save` has the rest
WHOLE_CHARS = 100_000  # of a line of head or body that is shown


def whole_lines(event: EventWhole, console: Console) -> Iterator[str]:
    facts = [
        (_("event"), harmless(event.id)),
        (
            _("channel"),
            _("{name}, sequence {sequence}").format(
                name=harmless(event.channel), sequence=event.sequence
            ),
        ),
        (_("received"), when(event.received_at, zoned=True)),
        (_("kind"), harmless(event.kind) or "-"),
        (_("order kept by"), harmless(event.key) or _("the channel")),
        (_("sender"), harmless(event.sender) or "-"),
        (_("request"), harmless(f"{event.method} {event.request_target}", WHOLE_CHARS)),
        (_("sent before as"), harmless(event.repeat_of or "")),
        (_("edited from"), harmless(event.edited_from or "")),
        (_("pinned as"), harmless(event.pinned)),
        (
            _("damaged"),
            _("its stored bytes are not those that came; it is sent to nobody")
            if event.damaged
            else "",
        ),
        (_("body"), "" if event.kept else _("not kept once everybody had it")),
    ]
    yield from pairs([(name, value) for name, value in facts if value], console.cells)
    yield ""
    yield from (harmless(f"{name}: {value}", WHOLE_CHARS) for name, value in event.headers)
    yield ""
    yield from _body_lines(event)
    if event.attempts:
        yield ""
        heading = _("SUBSCRIPTION"), _("ATTEMPT"), zoned(_("BEGAN")), _("TOOK"), _("OUTCOME")
        yield from console.table([heading, *map(_attempt_row, event.attempts)])
    open_ones = [one for one in event.deliveries if one.state != "delivered"]
    if open_ones:
        yield ""
    for one in open_ones:
        said = states.became(one.state, one.attempt, one.status, one.reason, one.due_at)
        yield f"{_whose(one)}: {harmless(said, WHOLE_CHARS)}"


def _body_lines(event: EventWhole) -> Iterator[str]:
    import msgspec

    if event.body is None:
        yield _(
            "({size} bytes, no text: relay-client events save {id} --as body --output FILE)"
        ).format(size=event.size, id=short_id(event.id))
        return
    try:
        text = msgspec.json.format(event.body, indent=2)
    except (msgspec.DecodeError, RecursionError):  # no JSON, or too deep
        text = event.body
    lines = text.split("\n")
    yield from (harmless(line, WHOLE_CHARS) for line in lines[:MAX_BODY_LINES])
    if len(lines) > MAX_BODY_LINES:
        more = len(lines) - MAX_BODY_LINES
        yield _("… {number} more lines: relay-client events save {id} --as body").format(
            number=more, id=short_id(event.id)
        )


def _whose(one: Attempt | Delivery) -> str:
    """A subscription's own, or of a replay to it."""
    name = harmless(one.subscription)
    if one.replay is None:
        return name
    return _("{name} (replay {number})").format(name=name, number=one.replay)


def _attempt_row(one: Attempt) -> tuple[str, ...]:
    outcome = states.outcome_of(one.outcome)
    if one.status is not None:
        outcome = states.answered(one.status, one.size, one.headers)
    said = f"{outcome}: {retold(one.text)}" if one.text else outcome
    took = f"{one.elapsed_ms} ms"
    return _whose(one), str(one.attempt), when(one.started_at), took, harmless(said)
