"""Storing webhooks: many at once, so that each costs little; in the writer's thread.

A webhook that its sender sends again, because the answer did not come, is to be stored once. It is
a *duplicate* of an event where all of this holds:

- The sender gave both the same id, and method, request target and body are the same.
- It came within the channel's window (`dedupe_window_s`) after the newest such event.
- Every subscription that there is had that event, gets it yet, or lists it as dead.

Otherwise it is an event of its own: a *repeat* where only the last two fail, which then names the
first one of its kind, and a *conflict* where the sender gave its id to another body.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from relay_protocol.errors import RelayError
from relay_protocol.values import EventHead, RequestHead
from relay_server.errors import ChannelNotFound
from relay_server.store.sqlite.checksums import LINE_BITS, Checksums, checksums
from relay_server.store.sqlite.database import Database
from relay_server.store.sqlite.positions import position, sequence_of
from relay_server.store.sqlite.rows import decode_request
from relay_server.values import Appended, ChannelNumber, Event, NewEvent


@dataclass(frozen=True, slots=True)
class Arrival:
    """A webhook to be stored.

    Attributes:
        request: `new.request` as it is stored.
        weight: Bytes that wait in memory until it is stored.
        window_ms: How long after an event the same webhook is its duplicate; 0 for never.
    """

    channel: ChannelNumber
    new: NewEvent
    request: bytes
    weight: int
    window_ms: int


@dataclass(frozen=True, slots=True)
class Stored:
    """Where a webhook is; `event` is None for a duplicate of an earlier one."""

    appended: Appended
    event: Event | None
    weight: int = 0


@dataclass(slots=True)
class _Original:
    """The event that an arrival is: itself, or an earlier one that it is a duplicate of.

    Attributes:
        first: Id of the first event of the same webhook: its own, but for a repeat.
        new: What is to be stored; None for what is stored already.
        sequence: 0 until it is stored.
        conflict: Another event has the same sender's id and another body.
    """

    id: str
    first: str
    received_at: int
    new: NewEvent | None = None
    sequence: int = 0
    conflict: bool = False


def append_all(database: Database, arrivals: Sequence[Arrival]) -> list[Stored | RelayError]:
    """Store webhooks: one row each, whatever the number of subscriptions.

    Returns:
        For each where it is, or `ChannelNotFound`.
    """
    sums = [checksums(arrival.new, arrival.request) for arrival in arrivals]
    originals = _originals(database, arrivals, sums)
    fresh = [a for a, o in zip(arrivals, originals, strict=True) if o.new is a.new]
    sequences = _take_sequences(database, fresh)
    results, rows = list[Stored | RelayError](), []
    # An original comes before its duplicates, so it has its sequence when they ask for it.
    for arrival, original, its in zip(arrivals, originals, sums, strict=True):
        taken = sequences.get(arrival.channel)
        if original.new is arrival.new and taken is not None:
            original.sequence = next(taken)
            event = _event(arrival, original)
            appended = Appended(original.id, original.sequence)
            results.append(Stored(appended, event, arrival.weight))
            rows.append(_row(event, arrival, its))
        elif original.sequence:
            duplicate = Appended(original.id, original.sequence, duplicate=True)
            results.append(Stored(duplicate, None))
        else:
            results.append(ChannelNotFound(f"number {arrival.channel}"))
    database.run_rows("append", rows)
    return results


def find_duplicate(database: Database, arrival: Arrival) -> Appended | None:
    """Where the event is that a webhook is a duplicate of, if there is one."""
    if arrival.new.sender_id is None:
        return None
    kept = _newest(database, arrival, checksums(arrival.new, arrival.request))
    if kept is None or not _suffices(database, arrival, kept):
        return None
    return Appended(kept.id, kept.sequence, duplicate=True)


def _originals(
    database: Database, arrivals: Sequence[Arrival], sums: Sequence[Checksums]
) -> list[_Original]:
    """For each arrival the event that it is."""
    known = _known(database, arrivals)
    together: defaultdict[tuple[ChannelNumber, str], list[_Original]] = defaultdict(list)
    originals = []
    for index, (arrival, its) in enumerate(zip(arrivals, sums, strict=True)):
        new = arrival.new
        original = _Original(new.id, new.id, new.received_at, new)
        if new.sender_id is not None:
            # What comes with it first: that is newer than all that is stored, and nobody misses it,
            # because no subscription is made in between.
            others = together[arrival.channel, new.sender_id]
            original = _in_batch(arrival, original, others)
            if index in known and original.new is new:
                original = _in_store(database, arrival, original, its)
            if original.new is new:
                others.append(original)
        originals.append(original)
    return originals


def _known(database: Database, arrivals: Sequence[Arrival]) -> set[int]:
    """The indexes of those whose sender's id is stored; hardly ever any."""
    wanted = [(arrival.channel, arrival.new.sender_id) for arrival in arrivals]
    if all(sender_id is None for _, sender_id in wanted):
        return set()
    rows = database.all("known_sender_ids", wanted=json.dumps(wanted))
    return {index for (index,) in rows}


def _in_batch(arrival: Arrival, mine: _Original, others: Sequence[_Original]) -> _Original:
    """The event that an arrival is, as far as those of its sender's id go that come with it."""
    for other in others:
        assert other.new is not None
        if other.new.body != arrival.new.body:
            mine.conflict = True
        elif _line(other.new.request) == _line(arrival.new.request):
            if _is_soon(arrival, other):
                return other
            mine.first = other.first
    return mine


def _in_store(database: Database, arrival: Arrival, mine: _Original, sums: Checksums) -> _Original:
    """The same as far as those go that are stored."""
    kept = _newest(database, arrival, sums)
    if kept is not None and _suffices(database, arrival, kept):
        return kept
    mine.first = kept.first if kept else mine.first
    mine.conflict = mine.conflict or _has_other_body(database, arrival, sums)
    return mine


def _newest(database: Database, arrival: Arrival, sums: Checksums) -> _Original | None:
    """The newest stored event of the same webhook, whatever came of it."""
    its = {"channel": arrival.channel, "sender_id": arrival.new.sender_id, "body": arrival.new.body}
    # Older versions took the body's checksum alone for the digest.
    for digest in (sums.digest, sums.body):
        for at, id_, received_at, repeat_of, request in database.all(
            "same_webhooks", digest=digest, **its
        ):
            if _line(decode_request(request)) == _line(arrival.new.request):
                return _Original(id_, repeat_of or id_, received_at, sequence=sequence_of(at))
    return None


def _suffices(database: Database, arrival: Arrival, kept: _Original) -> bool:
    """True if a webhook may be answered with an event that is stored: nobody misses it."""
    its = {"channel": arrival.channel, "sequence": kept.sequence}
    return _is_soon(arrival, kept) and not database.all("is_missed", **its)


def _is_soon(arrival: Arrival, earlier: _Original) -> bool:
    """True within the window; a clock that was set back does not end it."""
    return max(0, arrival.new.received_at - earlier.received_at) < arrival.window_ms


def _has_other_body(database: Database, arrival: Arrival, sums: Checksums) -> bool:
    lowest = sums.body << LINE_BITS
    found = database.all(
        "has_other_body",
        channel=arrival.channel,
        sender_id=arrival.new.sender_id,
        lowest=lowest,
        highest=lowest + (1 << LINE_BITS) - 1,
        older=sums.body,
    )
    return bool(found)


def _line(request: RequestHead) -> tuple[str, str]:
    return request.method, request.request_target


def _take_sequences(
    database: Database, fresh: Iterable[Arrival]
) -> dict[ChannelNumber, Iterator[int]]:
    """The next sequences of each channel that still exists, without gaps."""
    taken, counts, weights = {}, Counter[ChannelNumber](), Counter[ChannelNumber]()
    for arrival in fresh:
        counts[arrival.channel] += 1
        weights[arrival.channel] += arrival.weight
    for channel, count in counts.items():
        last = database.value(
            "take_sequences", count=count, bytes=weights[channel], channel=channel
        )
        if last is not None:
            taken[channel] = iter(range(last - count + 1, last + 1))
    return taken


def _event(arrival: Arrival, original: _Original) -> Event:
    new = arrival.new
    head = EventHead(new.id, original.sequence, new.received_at, new.key, new.kind, new.request)
    repeat_of = None if original.first == new.id else original.first
    return Event(arrival.channel, head, new.body, original.conflict, repeat_of)


def _row(event: Event, arrival: Arrival, sums: Checksums) -> tuple[object, ...]:
    head = event.head
    return (
        position(event.channel, head.sequence),
        head.id,
        head.received_at,
        len(event.body),
        event.conflict,
        head.key,
        head.kind,
        arrival.new.sender_id,
        None if arrival.new.sender_id is None else sums.digest,
        arrival.request,
        event.body,
        sums.event,
        event.repeat_of,
    )
