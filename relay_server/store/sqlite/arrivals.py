"""Storing webhooks: many at once, so that each costs little; in the writer's thread."""

from __future__ import annotations

import json
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from relay_protocol.errors import RelayError
from relay_protocol.values import EventHead
from relay_server.errors import ChannelNotFound
from relay_server.store.sqlite.database import Database
from relay_server.store.sqlite.positions import position, sequence_of
from relay_server.values import Appended, ChannelNumber, Event, NewEvent

_PIECE = 4_096  # bytes


@dataclass(frozen=True, slots=True)
class Arrival:
    """A webhook to be stored.

    Attributes:
        request: `new.request` as it is stored.
        weight: Bytes that wait in memory until it is stored.
    """

    channel: ChannelNumber
    new: NewEvent
    request: bytes
    weight: int


@dataclass(frozen=True, slots=True)
class Stored:
    """Where a webhook is; `event` is None for a duplicate of an earlier one."""

    appended: Appended
    event: Event | None
    weight: int = 0


@dataclass(slots=True)
class _Original:
    """The one event of a sender's id and body: stored before, or about to be.

    Attributes:
        conflict: Another event has the same id and another body.
    """

    id: str
    body: bytes
    sequence: int = 0
    conflict: bool = False


def append_all(database: Database, arrivals: Sequence[Arrival]) -> list[Stored | RelayError]:
    """Store webhooks: one row each, whatever the number of subscriptions.

    Returns:
        For each where it is, or `ChannelNotFound`.
    """
    digests = [_digest(arrival.new) for arrival in arrivals]
    originals = _originals(arrivals, _earlier(database, arrivals, digests))
    fresh = [a for a, o in zip(arrivals, originals, strict=True) if o.id == a.new.id]
    sequences = _take_sequences(database, fresh)
    results, rows = list[Stored | RelayError](), []
    for arrival, original, digest in zip(arrivals, originals, digests, strict=True):
        if original.id != arrival.new.id:
            duplicate = Appended(original.id, original.sequence, duplicate=True)
            results.append(Stored(duplicate, None))
        elif (taken := sequences.get(arrival.channel)) is None:
            results.append(ChannelNotFound(f"number {arrival.channel}"))
        else:
            original.sequence = next(taken)
            event = _event(arrival, original)
            appended = Appended(event.head.id, event.head.sequence)
            results.append(Stored(appended, event, arrival.weight))
            rows.append(_row(event, arrival, digest))
    database.run_rows("append", rows)
    return results


def find_duplicate(database: Database, arrival: Arrival) -> Appended | None:
    """Where the same webhook is stored, if it is."""
    earlier = _earlier(database, [arrival], [_digest(arrival.new)]).get(0)
    same = earlier.same if earlier else None
    if same is None or same.body != arrival.new.body:
        return None
    return Appended(same.id, same.sequence, duplicate=True)


@dataclass(frozen=True, slots=True)
class _Earlier:
    """What is stored under a sender's id; `same` may have the same body."""

    same: _Original | None


def _earlier(
    database: Database, arrivals: Sequence[Arrival], digests: Iterable[int | None]
) -> dict[int, _Earlier]:
    """What was stored before under the senders' ids of these, by index; hardly ever anything."""
    wanted = [
        (arrival.channel, arrival.new.sender_id, digest)
        for arrival, digest in zip(arrivals, digests, strict=True)
    ]
    if all(sender_id is None for _, sender_id, _ in wanted):
        return {}
    return {
        index: _Earlier(None if at is None else _Original(id_, body, sequence_of(at)))
        for index, at, id_, body in database.all("same_sender_ids", wanted=json.dumps(wanted))
    }


def _originals(arrivals: Sequence[Arrival], earlier: dict[int, _Earlier]) -> list[_Original]:
    """For each arrival the event that it is: an earlier one, or itself."""
    together: defaultdict[tuple[ChannelNumber, str], list[_Original]] = defaultdict(list)
    originals = []
    for index, arrival in enumerate(arrivals):
        new, known = arrival.new, earlier.get(index)
        mine = _Original(new.id, new.body)
        if new.sender_id is not None:
            others = together[arrival.channel, new.sender_id]
            same = [o for o in (known and known.same, *others) if o and o.body == new.body]
            if same:
                mine = same[0]
            else:
                mine.conflict = known is not None or bool(others)
                others.append(mine)
        originals.append(mine)
    return originals


def _digest(new: NewEvent) -> int | None:
    """A number that finds equal bodies; what it finds is compared.

    Taken in pieces, because for larger ones zlib lets go of the interpreter, and this thread would
    wait for its turn again for each webhook.
    """
    if new.sender_id is None:
        return None
    body, value = memoryview(new.body), 0
    for start in range(0, len(body), _PIECE):
        value = zlib.crc32(body[start : start + _PIECE], value)
    return value


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
    return Event(arrival.channel, head, new.body, original.conflict)


def _row(event: Event, arrival: Arrival, digest: int | None) -> tuple[object, ...]:
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
        digest,
        arrival.request,
        event.body,
    )
