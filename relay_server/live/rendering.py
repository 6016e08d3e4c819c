"""The messages of what happened. Pure; `render` parses bodies, and is called in a thread."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from relay_server.bodies.masking import masked_event
from relay_server.filters.document import Document
from relay_server.filters.language import Filter
from relay_server.live.messages import Gap, frame, framed
from relay_server.live.positions import around, format_positions
from relay_server.operations.events import event_row, summary_of
from relay_server.reported import DeliveryState
from relay_server.values import Channel, Event, Subscription

Line = tuple[int, bytes]  # an event's sequence, and its row as JSON
StatesOf = Callable[[Event], Iterable[DeliveryState]]  # of its deliveries, as far as they are known


def render(
    channel: Channel,
    events: Sequence[Event],
    filters: Sequence[Filter],
    states_of: StatesOf = lambda _: (),
) -> list[list[Line]]:
    """For each filter the lines of those events that it means; each line is made once."""
    found: list[list[Line]] = [[] for _ in filters]
    for event in events:
        document, line = Document(event), b""
        for lines, wanted in zip(found, filters, strict=True):
            if wanted.matches(document):
                line = line or _line(channel, document, states_of)
                lines.append((event.head.sequence, line))
    return found


def waits_for(readers: Sequence[Subscription]) -> StatesOf:
    """What an event's deliveries are as it is stored: they wait, for all who were there by then."""
    return lambda event: [
        DeliveryState(reader.name, "pending", ())
        for reader in readers
        if reader.created_at <= event.head.received_at
    ]


def _line(channel: Channel, document: Document, states_of: StatesOf) -> bytes:
    event = document.event
    if channel.config.mask:
        document = Document(masked_event(event, channel.config.mask))
    row = event_row(
        channel.name, summary_of(event), document.facts, states_of(event), edited=event.edited
    )
    return msgspec.json.encode(row)


def events_message(positions: Mapping[str, int], channel: str, lines: Sequence[Line]) -> bytes:
    """Events of a channel, each with the position that it moves the reader to."""
    if not lines:
        return b""
    before, behind = around(positions, channel)
    return b"".join([framed("event", line, f"{before}{at}{behind}") for at, line in lines])


def edited_message(lines: Sequence[Line]) -> bytes:
    """Edited events, which count by themselves: they move nobody."""
    return b"".join([framed("event", line) for _, line in lines])


def gap_message(positions: Mapping[str, int], channel: str, last: int) -> bytes:
    """Events that are left out, behind where the reader is, up to a sequence."""
    gap = Gap(channel, positions[channel] + 1, last, before=last + 1)
    return frame(gap, format_positions({**positions, channel: last}))
