"""Lists of events: pages of those that a filter means, the newest of them, how many there are."""

from __future__ import annotations

import dataclasses
import functools
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from urllib.parse import urlencode

import msgspec

from relay_protocol.limits import MAX_UNIX_MS
from relay_protocol.times import rfc3339
from relay_server.bodies.masking import masked_event
from relay_server.errors import InvalidValue
from relay_server.filters.document import Document
from relay_server.filters.facts import Facts
from relay_server.filters.language import Filter, parse, quoted
from relay_server.operations import MAX_LISTED, Caller, page_of
from relay_server.operations.events import EventRow, event_row
from relay_server.operations.finding import BUDGET_S, Asked, Found, find, find_edited
from relay_server.values import MAX_SEQUENCE, Channel, ChannelNumber, Event

MAX_IDS = 300  # events that a list may be asked for by id
READ_AT_ONCE = 16  # events that are read for a list, where the index knows nothing of them
MAX_COUNTED = 10_000  # events that are counted in one answer


class Meant(msgspec.Struct, kw_only=True):
    """Which events are meant; all that is given must hold.

    Attributes:
        channel: Whose; the default one where none is named.
        q: A filter.
        kind, inbox, contact, from_, subscription, status: As the filter's words of these names.
        key: As the filter's `conv`.
        state: As its `is`.
        received_from, received_before: Unix milliseconds; as its `after` and `before`.
        text: Words that stand one behind the other.
        before: Only those before this sequence; 0 for all there are.
    """

    channel: str | None = None
    q: str = ""
    kind: str = ""
    key: str = ""
    inbox: str = ""
    contact: str = ""
    from_: str = msgspec.field(name="from", default="")
    state: str = ""
    subscription: str = ""
    status: str = ""
    received_from: int | None = None
    received_before: int | None = None
    text: str = ""
    before: int = 0

    def filter(self, now_ms: int) -> Filter:
        """All of it as one filter.

        Raises:
            InvalidFilter: It cannot be.
        """
        return parse(" ".join(_terms(self)), now_ms)


class EventQuery(Meant, kw_only=True):
    """A page of the events that are meant, the newest first.

    Attributes:
        after: The nearest ones behind this sequence.
        limit: How many at most.
        ids: These, with commas between them, and nothing else is asked.
        edited: Edited events of the time that the page is of are listed, too, beyond its limit.
            With `is:edited` as filter there are no others, whatever this says.
    """

    after: int | None = None
    limit: int = 50
    ids: str = ""
    edited: bool = False


class CountQuery(Meant, kw_only=True):
    """How many events are meant.

    Attributes:
        up_to: Where counting ends.
    """

    up_to: int = MAX_COUNTED


class EventPage(msgspec.Struct, frozen=True):
    """Events, the newest first.

    Attributes:
        next: The query of the page behind it, of older events; None where all were looked at.
        prev: The query of the page of newer ones; None where there is nothing to go on from.
        scanned_to: The sequence up to which events were looked at for it.
        complete: False where the bound of work ended the look: `next` goes on from there.
        indexed_to: The sequence up to which the search index is level with the channel.
        newest: The sequence of the channel's newest event.
    """

    events: Sequence[EventRow]
    next: str | None
    prev: str | None
    scanned_to: int
    complete: bool
    indexed_to: int
    newest: int


class LatestEvent(msgspec.Struct, frozen=True):
    """The newest event that is meant.

    Attributes:
        event: None where none was found.
        scanned_to: The sequence up to which events were looked at for it.
        complete: False where the bound of work ended the look: go on with it as `before`.
    """

    event: EventRow | None
    scanned_to: int
    complete: bool


class EventCount(msgspec.Struct, frozen=True):
    """How many events are meant.

    Attributes:
        capped: There may be more: counting ended at `up_to`.
        scanned_to: The sequence up to which events were looked at.
        complete: False where the bound of work ended it: go on with `scanned_to` as `before`.
    """

    count: int
    capped: bool
    scanned_to: int
    complete: bool


async def list_events(who: Caller, query: EventQuery) -> EventPage:
    """A page of a channel's events, and what became of each."""
    channel = who.channel_or_default(query.channel)
    newest = who.store.newest(channel.number)
    if query.ids:
        found = Found(0, list(await _named(who, channel, query)))
        return await _page(who, channel, query, found, newest)
    asked = Asked(
        channel.number,
        query.filter(who.now()),
        query.after or 0,
        query.before or newest + 1,
        query.after is None,
        page_of(query.limit),
    )
    if _is_for_edited(asked.filter):
        return await _page_of_edited(who, channel, query, asked)
    page = await _page(who, channel, query, await find(who.parts, asked), newest)
    if not query.edited:
        return page
    rows = [*page.events, *await _edited_beside(who, channel, asked, page)]
    rows.sort(key=lambda row: row.received_at, reverse=True)
    return msgspec.structs.replace(page, events=rows)


def _is_for_edited(asked: Filter) -> bool:
    """Whether only edited events are meant: they are in a stream of their own."""
    return any(
        term.word == "is" and not term.negated and {v.text for v in term.values} == {"edited"}
        for term in asked.terms
    )


async def _page_of_edited(
    who: Caller, channel: Channel, query: EventQuery, asked: Asked
) -> EventPage:
    """A page of that stream, by sequences that count there."""
    found = await find_edited(who.parts, _in_stream(channel, query, asked))
    return await _page(who, channel, query, found, max(found.sequences, default=0), edited=True)


def _in_stream(channel: Channel, query: Meant, asked: Asked) -> Asked:
    """The same of the channel's edited events."""
    before = query.before or MAX_SEQUENCE + 1
    return dataclasses.replace(asked, channel=-channel.number, before=before)


async def _edited_beside(
    who: Caller, channel: Channel, asked: Asked, page: EventPage
) -> Sequence[EventRow]:
    """Edited events of the time of a page: from that of its first event to that of the next page's.

    So each of them is on one page, in whichever direction one goes.
    """
    first, end = page.scanned_to, asked.before
    if not asked.newest_first:
        first, end = asked.after + 1, page.scanned_to + 1
    since = await time_at(who, channel, first) if first > 1 else 0
    until = await time_at(who, channel, end) if end <= page.newest else MAX_UNIX_MS
    stream = dataclasses.replace(
        asked,
        channel=-channel.number,
        after=0,
        before=MAX_SEQUENCE + 1,
        newest_first=True,
        limit=MAX_LISTED,
    )
    found = await find_edited(
        who.parts, stream, lambda edited: since <= edited.event.received_at < until
    )
    return await rows_of(who, channel, found, edited=True)


async def time_at(who: Caller, channel: Channel, sequence: int) -> int:
    """When the last event up to a sequence came; 0 where none is kept."""
    found = await who.store.list_events(channel.number, sequence + 1, 1)
    return found[0].received_at if found else 0


async def latest_event(who: Caller, query: Meant) -> LatestEvent:
    """The newest event that is meant, and what became of it."""
    channel = who.channel_or_default(query.channel)
    found = await _newest(who, channel, query, 1)
    edited = _is_for_edited(query.filter(who.now()))
    rows = await rows_of(who, channel, found, edited=edited)
    return LatestEvent(rows[0] if rows else None, found.scanned_to, found.complete)


async def count_events(who: Caller, query: CountQuery) -> EventCount:
    """How many events are meant, counted up to a bound."""
    if query.up_to < 1:
        raise InvalidValue("up_to is where counting ends: a number from 1 on")
    limit = min(query.up_to, MAX_COUNTED)
    found = await _newest(who, who.channel_or_default(query.channel), query, limit)
    count = len(found.sequences)
    return EventCount(count, count == limit, found.scanned_to, found.complete)


def version_of_list(who: Caller, query: Meant) -> str:
    """What changes whenever the answer may; it is known without a question to the store.

    Raises:
        ChannelNotFound: The caller may not read it.
        InvalidFilter: It cannot be.
    """
    channel = who.channel_or_default(query.channel)
    asked = query.filter(who.now())
    # A time that is a span back is another moment each time.
    moments = str([term for term in asked.terms if term.word in ("before", "after")])
    version = who.parts.versions.of(channel.number)
    return f"{version}.{zlib.crc32(moments.encode()):x}"


async def rows_of(
    who: Caller, channel: Channel, found: Found, *, edited: bool = False
) -> list[EventRow]:
    """Events as lists show them, the newest first."""
    stream = -channel.number if edited else channel.number
    summaries = await who.store.summaries(stream, sorted(found.sequences, reverse=True))
    sequences = [summary.sequence for summary in summaries]
    facts = await facts_of(who, stream, sequences)
    if not found.deliveries and sequences:
        states = await who.store.deliveries(stream, sequences)
        found.deliveries = dict(zip(sequences, states, strict=True))
    pinned, name = await who.store.pinned(stream), channel.name
    return [
        event_row(name, event, facts.get(at), states, pinned.get(at, ""), edited=edited)
        for at, event in zip(sequences, summaries, strict=True)
        for states in (found.deliveries[at],)
    ]


async def facts_of(
    who: Caller, stream: ChannelNumber, sequences: Sequence[int]
) -> Mapping[int, Facts]:
    """What events say: as the index has it, and of others as they are read while there is time.

    Where its channel masks something, all are read: the index knows what is masked.
    """
    search, known = who.parts.search, dict[int, Facts]()
    channel = who.store.catalog.numbered(abs(stream))
    masks = channel.config.mask if channel else ()
    if search is not None and not masks:
        known = await search.facts(stream, sequences)
    missing = [sequence for sequence in sequences if sequence not in known]
    until = time.monotonic() + BUDGET_S
    for start in range(0, len(missing), READ_AT_ONCE):
        some = missing[start : start + READ_AT_ONCE]
        known |= await who.store.examine(stream, some, functools.partial(_facts, masks))
        if time.monotonic() > until:
            break
    return known


def _facts(masks: Sequence[str], event: Event) -> tuple[int, Facts]:
    return event.head.sequence, Document(masked_event(event, masks)).facts


async def _newest(who: Caller, channel: Channel, query: Meant, limit: int) -> Found:
    before = query.before or who.store.newest(channel.number) + 1
    asked = Asked(channel.number, query.filter(who.now()), 0, before, True, limit)
    if _is_for_edited(asked.filter):
        return await find_edited(who.parts, _in_stream(channel, query, asked))
    return await find(who.parts, asked)


async def _named(who: Caller, channel: Channel, query: EventQuery) -> Sequence[int]:
    ids = [id_ for id_ in query.ids.split(",") if id_]
    if len(ids) > MAX_IDS:
        raise InvalidValue(f"at most {MAX_IDS} events can be named at once")
    if query.filter(who.now()).terms:
        raise InvalidValue("`ids` names events, and goes with no filter")
    return await who.store.sequences_of(channel.number, ids)


async def _page(
    who: Caller,
    channel: Channel,
    query: EventQuery,
    found: Found,
    newest: int,
    *,
    edited: bool = False,
) -> EventPage:
    search = who.parts.search
    rows = await rows_of(who, channel, found, edited=edited)
    older, newer = _around(query, found, newest)
    return EventPage(
        rows,
        None if older is None else _query(query, before=older),
        None if newer is None else _query(query, after=newer),
        found.scanned_to,
        found.complete,
        search.indexed_to(channel.number) if search is not None else 0,
        newest,
    )


def _around(query: EventQuery, found: Found, newest: int) -> tuple[int | None, int | None]:
    """Before which sequence older events are, and behind which newer ones; None for none."""
    if query.ids:
        return None, None
    if query.after is None:
        return found.scanned_to if found.scanned_to > 1 else None, (query.before or newest + 1) - 1
    return query.after + 1 if query.after else None, found.scanned_to


def _query(query: EventQuery, **place: int) -> str:
    """The query of a page beside this one."""
    given = msgspec.to_builtins(msgspec.structs.replace(query, before=0, after=None))
    default = msgspec.to_builtins(EventQuery())
    asked = {name: value for name, value in given.items() if value != default[name]}
    return urlencode(asked | place)


def _terms(query: Meant) -> Iterator[str]:
    yield query.q
    for word in ("kind", "inbox", "contact", "subscription", "status"):
        if value := getattr(query, word):
            yield quoted(word, value)
    for word, value in (("conv", query.key), ("from", query.from_), ("is", query.state)):
        if value:
            yield quoted(word, value)
    if query.text:
        yield quoted("", query.text)
    for word, moment in (("after", query.received_from), ("before", query.received_before)):
        if moment is not None:
            yield f"{word}:{_written(moment)}"


def _written(moment: int) -> str:
    try:
        return rfc3339(moment)
    except (ValueError, OverflowError, OSError) as exc:
        raise InvalidValue("a time is in Unix milliseconds") from exc
