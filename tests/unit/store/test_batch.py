"""A transaction that fails leaves nothing behind: not in the database, nor in what waits for it."""

from __future__ import annotations

import asyncio

import pytest

from relay_server.errors import StoreBroken
from relay_server.store.cache import Held
from relay_server.store.feed import EventsStored
from relay_server.store.sql.jobs import Arrival, Call
from relay_server.store.sqlite.batch import Batches
from relay_server.store.sqlite.database import Database
from relay_server.values import Channel
from tests.support.events import new_event
from tests.support.stores import MemoryStore, make_channel


def arrival(channel: Channel, body: bytes) -> Arrival:
    """A webhook of a sender that gives all the same id."""
    waiter = asyncio.get_running_loop().create_future()
    held = Held(channel, 0, 0)
    return Arrival(channel.number, new_event(body, sender_id="1"), b"", 1, 1, held, waiter)


def fails(_: Database) -> None:
    """As the disk may."""
    raise StoreBroken("no more")


async def test_what_it_found_of_a_webhook_is_forgotten() -> None:
    """Two bodies had one id: of these the second is stored alone in the end, and is no conflict."""
    store = MemoryStore()
    channel = await make_channel(store)
    batches = Batches(store.database, lambda *_: None)
    one, other = arrival(channel, b"one"), arrival(channel, b"other")

    with pytest.raises(StoreBroken):
        batches.commit([one, other, Call(fails, asyncio.get_running_loop().create_future())])
    [change] = batches.commit([other])

    assert isinstance(change, EventsStored)
    [stored] = change.events
    assert (stored.head.sequence, stored.body, stored.conflict) == (1, b"other", False)
