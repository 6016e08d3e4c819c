"""Which kinds and inboxes the newest events of a channel are of: what there is to choose from."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import msgspec

from relay_server.bodies.masking import masked_event
from relay_server.operations import Caller
from relay_server.operations.events import EventRow
from relay_server.operations.finding import BUDGET_S
from relay_server.search.index import Seen
from relay_server.values import Channel, Event

MAX_CHOICES = 30  # kinds, and as many inboxes, to choose from
MAX_NAMED_BYTES = 65_536  # of an event that is read for its inbox's name
MAX_NAME_CHARS = 40  # of that


class Choices(NamedTuple):
    """What events are of.

    Attributes:
        kinds: The sender's names for what happened, by name.
        inboxes: Names by number, by name; a number where the name is not known.
    """

    kinds: list[str]
    inboxes: Mapping[str, str]


class _Inbox(msgspec.Struct):
    name: str = ""


class _About(msgspec.Struct):
    """The part of a webhook that names its inbox."""

    inbox: _Inbox = msgspec.field(default_factory=_Inbox)


async def choices_of(who: Caller, channel: Channel, rows: Iterable[EventRow]) -> Choices:
    """What the newest events of a channel are of.

    Where there is no index, or it knows what the channel masks, that is gone by the rows alone.
    """
    search, seen = who.parts.search, list[Seen]()
    if search is not None and not channel.config.mask:
        seen = await search.seen(channel.number)
    seen += [Seen(row.kind, row.facts.inbox if row.facts else "", row.sequence) for row in rows]
    kinds = list(dict.fromkeys(one.kind for one in seen if one.kind))[:MAX_CHOICES]
    names = await _names(who, channel, seen)
    inboxes = sorted(names.items(), key=lambda item: (item[1].lower(), item[0]))
    return Choices(sorted(kinds), dict(inboxes))


async def _names(who: Caller, channel: Channel, seen: Iterable[Seen]) -> dict[str, str]:
    """Inboxes by number, by what the newest event about a message of each calls it."""
    newest = dict[str, int]()
    for one in sorted(seen, key=lambda one: not one.kind.startswith("message_")):
        if one.inbox:
            newest.setdefault(one.inbox, one.newest)
    of = {at: inbox for inbox, at in list(newest.items())[:MAX_CHOICES]}
    found = await who.store.summaries(channel.number, list(of))
    small = [event.sequence for event in found if event.size <= MAX_NAMED_BYTES]
    until = time.monotonic() + BUDGET_S

    def name(event: Event) -> tuple[int, str]:
        late = time.monotonic() > until
        return event.head.sequence, "" if late else _name(masked_event(event, channel.config.mask))

    named = dict(await who.store.examine(channel.number, small, name))
    return {inbox: named.get(at) or inbox for at, inbox in of.items()}


def _name(event: Event) -> str:
    try:
        said = msgspec.json.decode(event.body, type=_About).inbox.name
    except (msgspec.DecodeError, RecursionError):
        return ""
    return " ".join(said.split())[:MAX_NAME_CHARS]
