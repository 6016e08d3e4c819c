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

import zlib
from collections import defaultdict
from collections.abc import Container, Iterable, Sequence

import msgspec

from relay_protocol.values import EventHead, RequestHead
from relay_server.errors import ChannelNotFound
from relay_server.store.bodies import BodyKeys, Damaged, crc
from relay_server.store.feed import EventsStored
from relay_server.store.sql.jobs import Arrival
from relay_server.store.sql.positions import position, sequence_of
from relay_server.store.sql.rows import decode_request
from relay_server.store.sqlite.database import Database
from relay_server.store.sqlite.sequences import Sequences
from relay_server.values import Appended, ChannelNumber, Event

LINE_BITS = 31  # of a digest
_NO_DIGEST = (1 << 63) - 1  # above all of them


class _Kept(msgspec.Struct, frozen=True):
    """A stored event of the same webhook as one that arrives."""

    id: str
    sequence: int
    received_at: int
    first: str


def append(
    database: Database, sequences: Sequences, channel: ChannelNumber, arrivals: Sequence[Arrival]
) -> None:
    """Store webhooks of a channel: one row each, whatever the number of subscriptions.

    Each has its result then: where it is, or `ChannelNotFound`.
    """
    ids = [a.new.sender_id for a in arrivals if a.new.sender_id is not None]
    known = database.all_of("known_sender_ids", channel, ids) if ids else ()
    if known or len(set(ids)) < len(ids):
        _append_new(database, sequences, channel, arrivals, {id_ for (id_,) in known})
    else:  # as nearly always: all else is for a sender that came again
        _store(database, sequences, channel, arrivals)


def find_duplicate(database: Database, arrival: Arrival) -> Appended | None:
    """Where the event is that a webhook is a duplicate of, if there is one."""
    kept = _newest(database, arrival) if arrival.new.sender_id is not None else None
    if kept is None or not _suffices(database, arrival, kept):
        return None
    return Appended(kept.id, kept.sequence, duplicate=True)


def _append_new(
    database: Database,
    sequences: Sequences,
    channel: ChannelNumber,
    arrivals: Sequence[Arrival],
    known: Container[str],
) -> None:
    """Store those that are no duplicates, where some sender's ids are known, or come twice."""
    duplicates = _find_duplicates(database, arrivals, known)
    fresh = [a for a in arrivals if a not in duplicates]
    if fresh:
        _store(database, sequences, channel, fresh)
    # What a duplicate is one of has its result by now.
    for arrival, original in duplicates.items():
        place = original.result if isinstance(original, Arrival) else original
        arrival.result = (
            ChannelNotFound(f"number {channel}")
            if place is None or isinstance(place, Exception)
            else Appended(place.id, place.sequence, duplicate=True)
        )


def _store(
    database: Database, sequences: Sequences, channel: ChannelNumber, fresh: Sequence[Arrival]
) -> None:
    """Give them the next sequences of their channel, without gaps."""
    count = len(fresh)
    last = sequences.take(channel, count)
    if last is None:
        for arrival in fresh:
            arrival.result = ChannelNotFound(f"number {channel}")
        return
    before, bodies = position(channel, last) - last, database.bodies
    events: list[Event] = []
    weights: list[int] = []
    rows: list[tuple[object, ...]] = []
    for sequence, arrival in enumerate(fresh, last - count + 1):
        new = arrival.new
        head = EventHead(new.id, sequence, new.received_at, new.key, new.kind, new.request)
        events.append(Event(channel, head, new.body, arrival.conflict, arrival.first))
        weights.append(arrival.weight)
        rows.append(_row(arrival, before + sequence, bodies))
        arrival.result = Appended(new.id, sequence)
    database.run_rows("append", rows)
    database.changes.append(EventsStored(channel, last, tuple(events), tuple(weights)))


def _row(arrival: Arrival, at: int, bodies: BodyKeys) -> tuple[object, ...]:
    """In the order of `append`'s columns."""
    new = arrival.new
    stored, sealed = bodies.seal(new.id, new.body)
    checksum = crc(stored)
    digest = checksum if sealed is None else bodies.digest(new.body)
    return (
        at,
        new.id,
        new.received_at,
        len(new.body),
        arrival.conflict,
        new.key,
        new.kind,
        new.sender_id,
        None if new.sender_id is None else digest_of(new.request, digest),
        arrival.request,
        stored,
        zlib.crc32(arrival.request, checksum),  # a few hundred bytes more, not the body again
        arrival.first,
        sealed,
    )


def digest_of(request: RequestHead, body: int) -> int:
    """Finds webhooks of the same method, request target and body, and proves nothing.

    Those of one body lie together: its own digest is in the upper bits. One bit of the line goes,
    so that both fit into SQLite's signed 64 bits.
    """
    line = zlib.crc32(f"{request.method} {request.request_target}".encode())
    return body << LINE_BITS | line >> 1


def _find_duplicates(
    database: Database, arrivals: Iterable[Arrival], known: Container[str]
) -> dict[Arrival, Arrival | _Kept]:
    """Say of each duplicate what it is one of; note of the others what they repeat.

    Args:
        database: The writer's.
        arrivals: Of one channel.
        known: Sender's ids that are stored.
    """
    found = dict[Arrival, Arrival | _Kept]()
    together = defaultdict[str, list[Arrival]](list)
    for arrival in arrivals:
        if (sender_id := arrival.new.sender_id) is None:
            continue
        # What comes with it first: that is newer than all that is stored, and nobody misses it,
        # because no subscription is made in between.
        original: Arrival | _Kept | None = _in_batch(arrival, together[sender_id])
        if original is None and sender_id in known:
            original = _in_store(database, arrival)
        if original is None:
            together[sender_id].append(arrival)
        else:
            found[arrival] = original
    return found


def _in_batch(arrival: Arrival, others: Iterable[Arrival]) -> Arrival | None:
    """What it is a duplicate of, as far as those of its sender's id go that come with it."""
    for other in others:
        if other.new.body != arrival.new.body:
            arrival.conflict = True
        elif _line(other.new.request) == _line(arrival.new.request):
            if _is_soon(arrival, other.new.received_at):
                return other
            arrival.first = other.first or other.new.id
    return None


def _in_store(database: Database, arrival: Arrival) -> _Kept | None:
    """The same as far as those go that are stored."""
    kept = _newest(database, arrival)
    if kept is not None and _suffices(database, arrival, kept):
        return kept
    arrival.first = kept.first if kept else arrival.first
    arrival.conflict = arrival.conflict or _has_other_body(database, arrival)
    return None


def _newest(database: Database, arrival: Arrival) -> _Kept | None:
    """The newest stored event of the same webhook, whatever came of it."""
    new = arrival.new
    its = {"channel": arrival.channel, "sender_id": new.sender_id}
    bodies = database.bodies.digests(new.body)
    # Older versions took the body's checksum alone for the digest.
    for digest in (*(digest_of(new.request, body) for body in bodies), crc(new.body)):
        for at, id_, received_at, repeat_of, request, *stored in database.all(
            "same_webhooks", digest=digest, **its
        ):
            same_line = _line(decode_request(request)) == _line(new.request)
            if same_line and _opens_as(database.bodies, new.body, id_, *stored):
                return _Kept(id_, sequence_of(at), received_at, repeat_of or id_)
    return None


def _opens_as(bodies: BodyKeys, body: bytes, event: str, stored: bytes, sealed: int | None) -> bool:
    try:
        return bodies.open(event, stored, sealed) == body
    except Damaged:
        return False


def _suffices(database: Database, arrival: Arrival, kept: _Kept) -> bool:
    """True if a webhook may be answered with an event that is stored: nobody misses it."""
    its = {"channel": arrival.channel, "sequence": kept.sequence}
    return _is_soon(arrival, kept.received_at) and not database.all("is_missed", **its)


def _is_soon(arrival: Arrival, earlier: int) -> bool:
    """True within the window after a time; a clock that was set back does not end it."""
    return max(0, arrival.new.received_at - earlier) < arrival.held.window_ms


def _has_other_body(database: Database, arrival: Arrival) -> bool:
    """True if the sender gave its id to an event whose digest this body cannot have."""
    body = arrival.new.body
    lowest = [digest << LINE_BITS for digest in database.bodies.digests(body)]
    own = sorted([(crc(body),) * 2, *((low, low + (1 << LINE_BITS) - 1) for low in lowest)])
    its = {"channel": arrival.channel, "sender_id": arrival.new.sender_id}
    above = -1
    for low, high in (*own, (_NO_DIGEST, _NO_DIGEST)):
        if database.all("has_digest_between", above=above, below=low, **its):
            return True
        above = max(above, high)
    return False


def _line(request: RequestHead) -> tuple[str, str]:
    return request.method, request.request_target
