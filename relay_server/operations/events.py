"""Events, and the state of their deliveries."""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from relay_chatwoot.handoff import ORDER, Step
from relay_protocol.values import HeaderList
from relay_server.bodies.masking import masked_event
from relay_server.bodies.scripts import SECRET_HEADERS
from relay_server.bodies.tree import MASK
from relay_server.errors import AmbiguousId, BodyNotKept, EventNotFound, InvalidValue
from relay_server.filters.facts import Facts
from relay_server.operations import Caller
from relay_server.reported import DeliveryState
from relay_server.values import Channel, Event, EventSummary

MIN_ID_END = 6  # characters of the end of an id, by which an event is found
CUT = "…"  # before the end of an id that lines show
ID_END = re.compile(rf"[0-9a-f-]{{{MIN_ID_END},36}}", re.IGNORECASE)
MAX_NAMED_EVENTS = 1_000  # by id in one request for a replay
MAX_NAMED_ENDS = 20  # of them by the end of an id: for each the newest events are looked through


class DeliveryLine(msgspec.Struct, frozen=True):
    """How far a delivery is.

    Attributes:
        state: `pending`, `under_way`, `waiting`, `delivered`, `dead` or `discarded`.
        attempt: The last one begun; 0 for none.
        status: Of the target's last answer, where there was one.
        due_at: When the next attempt is due.
        replay: Number of the replay that it is a delivery of.
    """

    subscription: str
    state: str
    attempt: int = 0
    status: int | None = None
    reason: str = ""
    due_at: int | None = None
    replay: int | None = None


class AttemptLine(msgspec.Struct, frozen=True):
    """One try of a delivery that has ended.

    Attributes:
        replay: Number of the replay that it is a delivery of.
        outcome: `response`, or the kind of a failure.
        status: Of the target's answer, where there was one.
        text: The start of the answer's body (`…` where there was more), or what went wrong.
        size: Bytes of that body as it came; null where that is not known.
        headers: Names and values of the answer's `content-type`, `content-length`, `retry-after`
            and `server`.
    """

    subscription: str
    replay: int | None
    attempt: int
    started_at: int
    elapsed_ms: int
    outcome: str
    status: int | None
    text: str
    size: int | None = None
    headers: list[tuple[str, str]] = []


class HandOffLine(msgspec.Struct, frozen=True):
    """A step of handing an event's conversation to people, while a subscription's bot was away.

    Attributes:
        step: `note`, `label`, `open`, `end` or `back`.
        done: Its call was answered; else it may have been made.
        text: What came of it.
    """

    subscription: str
    step: str
    at: int
    done: bool
    text: str


class Attempts(msgspec.Struct, frozen=True):
    """Every try of an event's deliveries that has ended."""

    attempts: Sequence[AttemptLine]


class Download(msgspec.Struct, frozen=True):
    """Bytes that a stranger wrote, for a file of this name."""

    name: str
    body: bytes

    @property
    def headers(self) -> dict[str, str]:
        """Fields by which a browser saves them, and takes them for nothing else."""
        return {
            "Content-Type": "application/octet-stream",
            "Content-Disposition": f'attachment; filename="{self.name}"',
            "Content-Security-Policy": "sandbox",
            "X-Content-Type-Options": "nosniff",
        }


class EventView(msgspec.Struct, frozen=True, kw_only=True):
    """An event, whole.

    Attributes:
        sequence: In its channel; of an edited event among those of its channel.
        sender: Its address; empty where it is not known.
        conflict: Another event has the same sender's id and another body.
        repeat_of: Id of the first event of the same webhook, where its sender sent it again.
        damaged: Its stored bytes were changed: it is sent to nobody.
        kept: Its body is; where that was dropped, once everybody had it, it is empty here.
        edited_from: Id of the event that it was made of, where somebody edited that; empty where
            somebody made it of none.
        made_by: Who edited it: name of a token; empty for somebody on the host.
        pinned: The name that it is kept under; empty where it is not pinned.
        headers: Names and values, in order; secrets are masked.
        body: Null where it is no text.
    """

    id: str
    channel: str
    sequence: int
    received_at: int
    kind: str
    key: str
    method: str
    request_target: str
    sender: str
    size: int
    conflict: bool
    repeat_of: str | None
    damaged: bool
    kept: bool
    edited_from: str | None
    made_by: str | None
    pinned: str
    headers: list[tuple[str, str]]
    body: str | None
    body_base64: str
    deliveries: list[DeliveryLine]
    attempts: list[AttemptLine]
    hand_off: list[HandOffLine]


class EventRow(msgspec.Struct, frozen=True):
    """An event in a list, and in the feed.

    Attributes:
        size: Bytes of the body.
        conflict: Another event has the same sender's id and another body.
        facts: What its body says; None where nobody read it.
        pinned: The name that it is kept under; empty where it is not pinned.
        edited: Somebody made it of another: its sequence is among the edited ones of its channel.
    """

    id: str
    channel: str
    sequence: int
    received_at: int
    kind: str
    key: str
    method: str
    request_target: str
    size: int
    conflict: bool
    facts: Facts | None
    deliveries: Sequence[DeliveryLine]
    pinned: str
    edited: bool


def event_row(
    channel: str,
    event: EventSummary,
    facts: Facts | None,
    deliveries: Iterable[DeliveryState],
    pinned: str = "",
    *,
    edited: bool = False,
) -> EventRow:
    return EventRow(
        **msgspec.structs.asdict(event),
        channel=channel,
        facts=facts,
        deliveries=list(map(delivery_line, deliveries)),
        pinned=pinned,
        edited=edited,
    )


def summary_of(event: Event) -> EventSummary:
    """A whole event as a line in a list."""
    head, request = event.head, event.head.request
    return EventSummary(
        head.id,
        head.sequence,
        head.received_at,
        head.kind,
        head.key,
        request.method,
        request.request_target,
        len(event.body),
        event.conflict,
    )


def check_kept(event: Event) -> None:
    """Raise `BodyNotKept` where an event's body was dropped."""
    if not event.kept:
        raise BodyNotKept(event.head.id)


async def shown_body(channel: Channel, event: Event) -> bytes:
    """An event's body as people see it: without what its channel masks.

    Raises:
        BodyNotKept: It has none any more.
    """
    check_kept(event)
    if not channel.config.mask:
        return event.body
    return (await asyncio.to_thread(masked_event, event, channel.config.mask)).body  # up to 1 MiB


async def show_event(who: Caller, id_: str) -> EventView:
    """One event, whole; header fields that are secrets are masked, and what its channel masks."""
    channel, event = await look_up(who, id_)
    head, body = event.head, await shown_body(channel, event) if event.kept else b""
    [states] = await who.store.deliveries(event.channel, [head.sequence])
    edited = await who.store.edited(channel.number, head.sequence) if event.edited else None
    pinned = await who.store.pinned(event.channel)
    return EventView(
        id=head.id,
        channel=channel.name,
        sequence=head.sequence,
        received_at=head.received_at,
        kind=head.kind,
        key=head.key,
        method=head.request.method,
        request_target=head.request.request_target,
        sender=head.request.sender,
        size=len(event.body),
        conflict=event.conflict,
        repeat_of=event.repeat_of,
        damaged=event.damaged,
        kept=event.kept,
        edited_from=edited.edited_from if edited else None,
        made_by=edited.made_by if edited else None,
        pinned=pinned.get(head.sequence, ""),
        headers=_headers(head.request.headers),
        body=_text(body),
        body_base64=base64.b64encode(body).decode(),
        deliveries=list(map(delivery_line, states)),
        attempts=[attempt for delivery in states for attempt in attempt_lines(delivery)],
        hand_off=[line for delivery in states for line in _hand_off(delivery)],
    )


async def event_body(who: Caller, id_: str) -> Download:
    """An event's body, byte for byte as it came but for what its channel masks."""
    channel, event = await look_up(who, id_)
    return Download(f"{event.head.id}.body", await shown_body(channel, event))


async def event_attempts(who: Caller, id_: str) -> Attempts:
    """Every try of an event's deliveries that has ended."""
    _, event = await look_up(who, id_)
    [states] = await who.store.deliveries(event.channel, [event.head.sequence])
    return Attempts([attempt for delivery in states for attempt in attempt_lines(delivery)])


def is_end(name: str) -> bool:
    """Whether an event is named by the end of its id, as lines show it."""
    return bool(ID_END.fullmatch(name.removeprefix(CUT)))


async def look_up(who: Caller, name: str) -> tuple[Channel, Event]:
    """An event by its id, or by the end of it (`…3fbfeb5e`), if that is of one event alone.

    Raises:
        EventNotFound: There is none that the caller may read.
        AmbiguousId: It is the end of several.
    """
    name = name.removeprefix(CUT)
    if not is_end(name):
        return await find_any_event(who, name)
    ids = await who.store.ids_ending([c.number for c in who.channels()], name.lower())
    if len(ids) > 1:
        raise AmbiguousId(name, ", ".join(ids))
    return await find_any_event(who, ids[0] if ids else name)


async def find_event(who: Caller, name: str) -> tuple[Channel, Event]:
    """As `look_up`, an event of a channel.

    An edited one is `InvalidValue`: it is none of the channel's, and nobody else is to get it.
    """
    channel, event = await look_up(who, name)
    if event.edited:
        raise InvalidValue(
            f"{event.head.id} is an edited event, which is sent again by editing it anew"
        )
    return channel, event


async def find_any_event(who: Caller, id_: str) -> tuple[Channel, Event]:
    """An event, which may be an edited one, and its channel, which the caller may read."""
    mine = {c.number: c for c in who.store.catalog.channels.values() if who.may_read(c)}
    event = await who.store.find_event(id_, mine)
    channel = mine.get(abs(event.channel)) if event else None
    if event is None or channel is None:
        raise EventNotFound(id_)
    return channel, event


async def find_events(
    who: Caller, name: str | None, ids: Sequence[str]
) -> tuple[Channel, tuple[int, ...]]:
    """The channel that is meant, and the sequences of the events that are named.

    Without a name it is that of the events, or else the default channel. Too many events, or of
    several channels, are `InvalidValue`; one without a body any more is `BodyNotKept`.
    """
    if len(ids) > MAX_NAMED_EVENTS:
        raise InvalidValue(f"at most {MAX_NAMED_EVENTS} events can be named at once")
    if sum(is_end(one) for one in ids) > MAX_NAMED_ENDS:
        raise InvalidValue(f"at most {MAX_NAMED_ENDS} events can be named by the ends of their ids")
    found = [await find_event(who, one) for one in ids]
    for _, event in found:
        check_kept(event)
    if name is None:
        name = found[0][0].name if found else who.parts.settings.default_channel
    channel = who.channel(name)
    for of, event in found:
        if of.number != channel.number:
            raise InvalidValue(f"{event.head.id} is of {of.name}, not of {channel.name}")
    return channel, tuple(sorted({event.head.sequence for _, event in found}))


def delivery_line(delivery: DeliveryState) -> DeliveryLine:
    last = delivery.attempts[-1] if delivery.attempts else None
    return DeliveryLine(
        delivery.subscription,
        delivery.state,
        last.attempt if last else 0,
        last.status if last else None,
        delivery.reason,
        delivery.due_at or None,
        delivery.replay or None,
    )


def attempt_lines(delivery: DeliveryState) -> Iterator[AttemptLine]:
    for one in delivery.attempts:
        yield AttemptLine(
            delivery.subscription,
            delivery.replay or None,
            one.attempt,
            one.started_at,
            one.elapsed_ms,
            one.outcome,
            one.status,
            one.text,
            one.size,
            list(_pairs(one.headers)),
        )


def _pairs(lines: str) -> Iterator[tuple[str, str]]:
    for line in filter(None, lines.split("\n")):
        name, _colon, value = line.partition(": ")
        yield name, value


def _hand_off(delivery: DeliveryState) -> Iterator[HandOffLine]:
    steps = sorted(delivery.steps, key=lambda one: ORDER.index(Step(-one.attempt)))
    for one in steps:
        step, done = Step(-one.attempt).name.lower(), one.status is not None
        yield HandOffLine(delivery.subscription, step, one.started_at, done, one.text)


def _headers(headers: HeaderList) -> list[tuple[str, str]]:
    return [
        (
            name.decode("latin-1"),
            MASK if name.lower() in SECRET_HEADERS else value.decode("utf-8", "replace"),
        )
        for name, value in headers
    ]


def _text(value: bytes) -> str | None:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return None
