"""A channel's row may be behind its events: nobody sees that, and no sequence is given twice."""

from __future__ import annotations

import apsw
import pytest

from relay_server.errors import StoreUnavailable
from relay_server.store.sqlite.sql import UNCOUNTED
from relay_server.values import Channel
from tests.support.events import new_event
from tests.support.stores import MemoryStore, append_many, make_channel, sequences, weight


@pytest.fixture
async def store() -> MemoryStore:
    """An empty store."""
    return MemoryStore()


@pytest.fixture
async def channel(store: MemoryStore) -> Channel:
    """A channel in it."""
    return await make_channel(store)


def crashed(store: MemoryStore) -> MemoryStore:
    """A store on what another had committed when it was killed."""
    return MemoryStore(store.database)


async def append_one(store: MemoryStore, channel: Channel) -> int:
    """Store an event; returns its sequence."""
    return (await store.append(channel.number, new_event())).sequence


async def held(store: MemoryStore) -> tuple[int, int]:
    """Events and bytes of the only channel, as people are told."""
    [status] = await store.channel_status()
    return status.events, status.bytes


@pytest.mark.parametrize("count", [1, UNCOUNTED, UNCOUNTED + 1, 3 * UNCOUNTED + 7])
async def test_what_a_channel_holds_is_said_though_its_row_is_behind(
    store: MemoryStore, channel: Channel, count: int
) -> None:
    for _ in range(count):
        await append_one(store, channel)

    each = weight(new_event().request, new_event().body)
    assert await held(store) == (count, count * each)
    assert crashed(store).usage(channel.number) == count * each
    [(counted,)] = store.database.connection.execute("SELECT last_sequence FROM channels")
    assert count - UNCOUNTED <= counted < count


async def test_sequences_go_on_after_a_crash(store: MemoryStore, channel: Channel) -> None:
    await append_many(store, channel, 5)

    again = crashed(store)
    await append_many(again, channel, UNCOUNTED)

    assert await sequences(again, channel) == list(range(1, UNCOUNTED + 6))
    assert (await held(again))[0] == UNCOUNTED + 5


@pytest.mark.parametrize("before", ["nothing", "a crash", "a failure"])
async def test_no_sequence_of_a_deleted_event_is_given_again(
    store: MemoryStore, channel: Channel, monkeypatch: pytest.MonkeyPatch, before: str
) -> None:
    await append_many(store, channel, 5)
    if before == "a failure":
        await _fail_to_append(store, channel, monkeypatch)
    deleting = crashed(store) if before == "a crash" else store
    assert await deleting.drop_oldest(channel.number, 5) == 5

    assert await append_one(crashed(store), channel) == 6
    assert (await held(store))[0] == 1


@pytest.mark.parametrize("before", [0, 3])
async def test_what_was_not_committed_took_no_sequence(
    store: MemoryStore, channel: Channel, monkeypatch: pytest.MonkeyPatch, before: int
) -> None:
    await append_many(store, channel, before)
    await _fail_to_append(store, channel, monkeypatch)

    assert await append_one(store, channel) == before + 1
    assert (await held(store))[0] == before + 1


async def _fail_to_append(
    store: MemoryStore, channel: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(store.database, "commit", _fail)
        with pytest.raises(StoreUnavailable):
            await append_one(store, channel)


def _fail() -> None:
    raise apsw.BusyError("the commit failed")
