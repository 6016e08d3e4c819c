"""Edited events: each for one subscription alone.

They are rows of `events` under minus their channel's number, a stream of their own. Whatever goes
through a channel looks between the first and the last position of that channel, and finds none of
them: its readers, replays, subscriptions that are made later, lists, counts, retention. What brings
one to its subscription is a replay of that stream, which is for this event and that subscription.
"""

from __future__ import annotations

from collections.abc import Sequence

from relay_server.errors import KeyReused, StoreFull, TooManyEdited
from relay_server.store.bodies import BodyKeys, crc
from relay_server.store.feed import ReplaysChanged
from relay_server.store.rules import MAX_EDITED, MAX_EDITED_BYTES, MAX_WAITING_EDITED
from relay_server.store.sql.catalogue import find_channel, find_subscription
from relay_server.store.sql.database import Database, Row
from relay_server.store.sql.housekeeping import delete
from relay_server.store.sql.part import Part, reports, writes
from relay_server.store.sql.positions import channel_of, first, last, position, sequence_of
from relay_server.store.sql.rows import decode_edited, encode
from relay_server.values import (
    ChannelNumber,
    Edited,
    NewEdited,
    Selection,
    Subscription,
    SubscriptionNumber,
)

RATE_PER_S = 200.0  # of its tries; there is one at a time


class SqlEdited(Part):
    """`EditedEvents`."""

    async def create_edited(self, subscription: Subscription, new: NewEdited) -> Edited:
        if not self.space.taking:
            raise StoreFull(self.space.reason)
        return await self._create_edited(subscription, new)

    @writes
    def _create_edited(
        self, database: Database, subscription: Subscription, new: NewEdited
    ) -> Edited:
        found = find_subscription(database, subscription.number)
        if (known := _known(database, new)) is not None:
            return known
        running = database.value("count_running", subscription=found.number, edited=True)
        if running >= MAX_WAITING_EDITED:
            raise TooManyEdited(found.name, running)
        stream = -find_channel(database, found.channel).number
        request = encode(new.event.request)
        at = _make_room(database, stream, len(request) + len(new.event.body), found.name)
        database.run_rows("append", [_row(new, request, at, database.bodies)])
        _bring(database, at, found.number, new)
        database.changes.append(ReplaysChanged(found.number))
        return _at(database, at)

    @reports
    def edited(self, database: Database, channel: ChannelNumber, sequence: int) -> Edited | None:
        found = _list(database, -channel, sequence - 1, sequence + 1, None, 1)
        return found[0] if found else None

    @reports
    def list_edited(
        self,
        database: Database,
        channel: ChannelNumber,
        subscription: SubscriptionNumber | None,
        before: int | None,
        limit: int,
    ) -> Sequence[Edited]:
        end = sequence_of(last(-channel)) if before is None else before
        return _list(database, -channel, 0, end, subscription, limit)


def _bring(database: Database, at: int, subscription: SubscriptionNumber, new: NewEdited) -> None:
    """Have a replay of the stream bring the event there to a subscription."""
    sequence = sequence_of(at)
    replay = database.value(
        "create_replay",
        subscription=subscription,
        channel=channel_of(at),
        selection=encode(Selection(sequences=(sequence,))),
        rate_per_s=RATE_PER_S,
        start=sequence - 1,
        until=sequence,
        now=new.event.received_at,
        made_by=new.made_by,
    )
    database.run(
        "create_edited",
        position=at,
        subscription=subscription,
        replay=replay,
        edited_from=new.edited_from,
        made_by=new.made_by,
        idempotency_key=new.idempotency_key,
        asked=new.asked,
    )


def _known(database: Database, new: NewEdited) -> Edited | None:
    """What was made under the same key before, of the same request."""
    key = {"made_by": new.made_by, "idempotency_key": new.idempotency_key}
    row = database.one("edited_under_key", **key)
    if row is None:
        return None
    at, asked = row
    if asked != new.asked:
        raise KeyReused
    return _at(database, at)


def _make_room(database: Database, stream: ChannelNumber, weight: int, name: str) -> int:
    """Delete as many of the oldest that do not wait as must go; the position of the next one.

    Raises:
        TooManyEdited: All that could go is not enough; then nothing is deleted.
    """
    bounds = {"first": first(stream), "last": last(stream)}
    [(count, taken, newest)] = database.all("edited_stream", **bounds)
    gone = list[Row]()
    if _excess(count, taken, weight):
        for at, size, deletable in database.all("oldest", limit=MAX_EDITED, **bounds):
            if deletable and _excess(count - len(gone), taken, weight):
                gone.append((at, size))
                taken -= size
        if _excess(count - len(gone), taken, weight):
            raise TooManyEdited(name, count)
    delete(database, stream, gone, dropped=0)
    return int(newest) + 1


def _excess(count: int, taken: int, weight: int) -> bool:
    """True if one more of a weight is too many, or too much."""
    return count >= MAX_EDITED or taken + weight > MAX_EDITED_BYTES


def _row(new: NewEdited, request: bytes, at: int, bodies: BodyKeys) -> tuple[object, ...]:
    """In the order of `append`'s columns; no sender sent it, so none repeats it."""
    event, body = new.event, new.event.body
    stored, sealed = bodies.seal(event.id, body)
    its = event.id, event.received_at, len(body), False, event.key, event.kind
    return (at, *its, None, None, request, stored, crc(request, crc(stored)), None, sealed)


def _at(database: Database, at: int) -> Edited:
    row = database.all("list_edited", first=at - 1, before=at + 1, subscription=None, limit=1)[0]
    return decode_edited(row)


def _list(
    database: Database,
    stream: ChannelNumber,
    after: int,
    before: int,
    subscription: SubscriptionNumber | None,
    limit: int,
) -> list[Edited]:
    rows = database.all(
        "list_edited",
        first=position(stream, after),
        before=position(stream, before),
        subscription=subscription,
        limit=limit,
    )
    return [decode_edited(row) for row in rows]
