"""Pinned events: examples that are kept whatever their age."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from relay_server.errors import EventNotFound, PinExists, TooManyPins
from relay_server.store.feed import PinsChanged
from relay_server.store.rules import MAX_PINNED, MAX_PINNED_BYTES
from relay_server.store.sql.database import Database
from relay_server.store.sql.part import Part, reports, writes
from relay_server.store.sql.positions import first, last, position
from relay_server.store.sql.rows import decode_pin
from relay_server.values import ChannelNumber, Event, Pin


class SqlPins(Part):
    """`Pins`."""

    @writes
    def pin(self, database: Database, event: Event, name: str, made_by: str, now: int) -> Pin:
        at, channel = position(event.channel, event.head.sequence), abs(event.channel)
        weight = database.value("weight_of", position=at)
        if weight is None:
            raise EventNotFound(event.head.id)
        if database.value("pin_of_name", channel=channel, name=name) not in (None, at):
            raise PinExists(name)
        [(count, taken)] = database.all("pins_of_channel", channel=channel, position=at)
        if count >= MAX_PINNED or taken + weight > MAX_PINNED_BYTES:
            raise TooManyPins(count, taken)
        database.changes.append(PinsChanged(channel))
        database.run("pin", position=at, channel=channel, name=name, made_by=made_by, now=now)
        return decode_pin(database.all("pins", channel=channel, position=at)[0])

    @writes
    def unpin(self, database: Database, event: Event) -> bool:
        database.changes.append(PinsChanged(abs(event.channel)))
        return bool(database.all("unpin", position=position(event.channel, event.head.sequence)))

    @reports
    def pins(self, database: Database, channel: ChannelNumber) -> Sequence[Pin]:
        return list(map(decode_pin, database.all("pins", channel=channel, position=None)))

    @reports
    def pinned(self, database: Database, channel: ChannelNumber) -> Mapping[int, str]:
        return dict(database.all("pinned", first=first(channel), last=last(channel)))
