"""The index beside its store: level with it in the end, and never in an answer's way."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from relay_server.search import follower
from relay_server.search.index import Entry, entry_of
from relay_server.values import Channel, Event
from tests.support.events import new_event
from tests.support.indexed import Indexed
from tests.support.stores import MemoryStore, make_channel
from tests.support.texts import message
from tests.support.waiting import until


async def fill(store: MemoryStore, channel: Channel, count: int, says: str = "oi") -> None:
    for _ in range(count):
        await store.append(channel.number, message(says))


async def test_what_comes_is_indexed_and_found(
    store: MemoryStore, channel: Channel, indexed: Indexed
) -> None:
    search = await indexed.begin()
    told = list[int]()
    search.listen(told.append)
    await fill(store, channel, 100)
    await fill(store, channel, 1, "Não chegou")
    other = await make_channel(store, "other")
    await fill(store, other, 3, "não chegou")

    await indexed.level()

    assert await indexed.find(channel, "nao chegou") == [101]
    assert await indexed.find(other, "nao", 2) == [3, 2, 1]
    assert await indexed.find(channel, "oi", 7) == list(range(100, 0, -1))
    assert await indexed.find(channel, "oi", 7, newest_first=False) == list(range(1, 101))
    assert (search.indexed_to(channel.number), search.lag_ms(channel.number)) == (101, 0)
    assert set(told) == {channel.number, other.number}
    facts = await search.facts(channel.number, [101, 7, 102])
    assert facts[101].says == "Não chegou"
    assert set(facts) == {101, 7}


async def test_an_answer_is_right_however_far_the_index_is(
    store: MemoryStore, channel: Channel, indexed: Indexed
) -> None:
    await fill(store, channel, 20, "raro")
    await fill(store, channel, 100)
    expected = await indexed.find(channel, "raro kind:message_*")  # without one
    search = await indexed.begin(follow=False)
    assert await indexed.find(channel, "raro kind:message_*") == expected
    while await search._step("chatwoot"):
        assert await indexed.find(channel, "raro kind:message_*", 6) == expected
        forward = await indexed.find(channel, "raro", 6, newest_first=False)
        assert forward == expected[::-1]
    assert search.indexed_to(channel.number) == 120


async def test_a_restart_goes_on_from_what_was_committed(
    store: MemoryStore, channel: Channel, indexed: Indexed
) -> None:
    await fill(store, channel, 200)
    search = await indexed.begin(follow=False)
    await search._step("chatwoot")
    before = search.indexed_to(channel.number)
    await indexed.kill()
    await fill(store, channel, 10, "novo")

    search = await indexed.begin(follow=False)

    assert 0 < before == search.indexed_to(channel.number)
    await indexed.end()
    await indexed.begin()
    await indexed.level()
    assert len(await indexed.find(channel, "oi")) == 200
    assert len(await indexed.find(channel, "novo")) == 10


def other_program(path: Path) -> None:
    path.unlink()
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE theirs (x)")


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "lost": Path.unlink,
    "empty": lambda path: path.write_bytes(b""),
    "truncated": cut,
    "garbage": lambda path: path.write_bytes(b"garbage" * 10_000),
    "of another program": other_program,
}


@pytest.mark.parametrize("damage", DAMAGE)
async def test_a_file_that_is_not_whole_is_built_anew_beside_traffic(
    store: MemoryStore, channel: Channel, indexed: Indexed, damage: str
) -> None:
    await fill(store, channel, 300, "pedido")
    await indexed.begin()
    await indexed.level()
    await indexed.end()
    DAMAGE[damage](indexed.path)

    await indexed.begin()
    for _ in range(20):
        await fill(store, channel, 1, "pedido novo")
        assert (await indexed.find(channel, "pedido", 400))[0] == store.newest(channel.number)
    await indexed.level()

    assert len(await indexed.find(channel, "pedido")) == 320


async def test_damage_that_shows_while_it_is_open(
    store: MemoryStore, channel: Channel, indexed: Indexed
) -> None:
    """The answer is right, and the index is built anew."""
    await fill(store, channel, 200, "pedido")
    await indexed.begin()
    await indexed.level()
    await indexed.end()
    content = bytearray(indexed.path.read_bytes())
    content[8_192:] = b"\xff" * (len(content) - 8_192)
    await indexed.begin(follow=False)
    indexed.path.write_bytes(content)

    assert await indexed.find(channel, "pedido") == list(range(200, 0, -1))

    await indexed.end()
    await indexed.begin()
    await indexed.level()
    assert len(await indexed.find(channel, "pedido")) == 200


async def test_deleted_events_are_found_no_more(
    store: MemoryStore, channel: Channel, indexed: Indexed
) -> None:
    await fill(store, channel, 100)
    search = await indexed.begin()
    await indexed.level()

    await store.remove(channel.number, range(1, 99, 2))

    assert await indexed.find(channel, "oi") == [100, 99, *range(98, 0, -2)]
    await until(lambda: not search._gone)
    assert await indexed.find(channel, "oi") == [100, 99, *range(98, 0, -2)]
    assert set(await search.facts(channel.number, range(1, 9))) == {2, 4, 6, 8}

    await store.delete_channel(channel.name)
    await until(lambda: not search._channels_gone)
    assert not await search.facts(channel.number, range(1, 101))


@pytest.mark.parametrize("running", [True, False])
async def test_a_channel_that_keeps_no_bodies_leaves_no_word_in_the_file(
    store: MemoryStore,
    channel: Channel,
    indexed: Indexed,
    monkeypatch: pytest.MonkeyPatch,
    *,
    running: bool,
) -> None:
    """From when that is set; what is asked of it is answered without an index."""
    monkeypatch.setattr(follower, "RETRY_S", 0.01)
    other = await make_channel(store, "other")
    for each in (channel, other):
        await fill(store, each, 20)
    search = await indexed.begin()
    await indexed.level()
    if not running:
        await indexed.end()
    await store.change_channel(
        channel.name, lambda config: msgspec.structs.replace(config, keep_bodies=False)
    )
    if not running:
        search = await indexed.begin()
    await until(lambda: [search.indexed_to(c.number) for c in (channel, other)] == [0, 20])
    assert await search.facts(channel.number, range(1, 21)) == {}
    assert len(await search.facts(other.number, range(1, 21))) == 20


async def test_what_was_deleted_while_nobody_listened(
    store: MemoryStore, channel: Channel, indexed: Indexed
) -> None:
    """A killed process had not forgotten it; a channel, and some events of another."""
    other = await make_channel(store, "other")
    for each in (channel, other):
        await fill(store, each, 150)
    await indexed.begin()
    await indexed.level()
    await indexed.kill()
    await store.remove(channel.number, range(1, 140))
    await store.delete_channel(other.name)
    await fill(store, channel, 1)

    search = await indexed.begin()
    assert await indexed.find(channel, "oi") == list(range(151, 139, -1))
    await indexed.level()
    await until(lambda: not search._channels_gone)

    assert await indexed.find(channel, "oi") == list(range(151, 139, -1))
    for each in (channel, other):
        assert not await search.facts(each.number, range(1, 140))


async def test_the_index_of_another_store_is_not_believed(
    store: MemoryStore, channel: Channel, indexed: Indexed
) -> None:
    """Such as after a restore: the same sequences are other events."""
    await fill(store, channel, 50, "velho")
    await indexed.begin()
    await indexed.level()
    await indexed.end()
    indexed.store = another = MemoryStore()
    theirs = await make_channel(another)
    await fill(another, theirs, 60, "outro")

    await indexed.begin()
    await indexed.level()

    assert await indexed.find(theirs, "velho") == []
    assert len(await indexed.find(theirs, "outro")) == 60
    await indexed.end()
    await another.close()


async def test_nothing_is_written_while_there_is_no_room(
    store: MemoryStore, channel: Channel, indexed: Indexed
) -> None:
    search = await indexed.begin()
    store.space.change("the disk is full")
    await fill(store, channel, 10)
    await search._follow()
    assert search.indexed_to(channel.number) == 0
    assert len(await indexed.find(channel, "oi")) == 10
    store.space.change("")
    await indexed.level()


async def test_it_rests_where_events_are_compared_by_number_alone(
    store: MemoryStore, channel: Channel, indexed: Indexed, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(store, channel, 100)
    await indexed.begin()
    await indexed.level()
    await indexed.end()
    search, rests = await indexed.begin(follow=False), list[object]()
    search._level[channel.number] = 0  # it may know others
    rested = search._rested

    async def counted(work: Callable[[], Any]) -> Any:
        rests.append(work)
        return await rested(work)

    monkeypatch.setattr(search, "_rested", counted)
    monkeypatch.setattr(follower, "CHECKED", 20)
    await search._follow()
    assert search.indexed_to(channel.number) == 100
    assert len(rests) == 5


async def test_others_have_their_turn_between_the_bodies_that_the_loop_parses(
    store: MemoryStore, channel: Channel, indexed: Indexed, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(store, channel, 50)
    search, parsed, seen = await indexed.begin(follow=False), list[int](), set[int]()

    def counted(event: Event) -> Entry:
        parsed.append(event.head.sequence)
        return entry_of(event)

    async def look() -> None:
        while True:
            seen.add(len(parsed))
            await asyncio.sleep(0)

    monkeypatch.setattr(follower, "SLICE_S", 0.0)
    monkeypatch.setattr(follower, "entry_of", counted)
    looking = asyncio.create_task(look())
    await search._follow()
    looking.cancel()
    assert seen >= set(range(1, 50))


async def test_large_bodies_are_parsed_in_a_thread(
    store: MemoryStore, channel: Channel, indexed: Indexed, monkeypatch: pytest.MonkeyPatch
) -> None:
    for text in ("oi", "olá " * follower.SLICED_BYTES):
        await store.append(channel.number, new_event(json.dumps({"content": text}).encode()))
    search, threads = await indexed.begin(follow=False), list[bool]()

    def noted(event: Event) -> Entry:
        threads.append(threading.current_thread() is threading.main_thread())
        return entry_of(event)

    monkeypatch.setattr(follower, "entry_of", noted)
    await search._follow()
    assert threads == [True, False]
    assert await indexed.find(channel, "ola") == [2]


@pytest.mark.parametrize("a_webhook_or_delivery_each_look", [False, True])
async def test_a_long_rest_only_while_webhooks_come_or_go_fast(
    store: MemoryStore,
    channel: Channel,
    indexed: Indexed,
    monkeypatch: pytest.MonkeyPatch,
    a_webhook_or_delivery_each_look: bool,
) -> None:
    count = itertools.count(step=int(a_webhook_or_delivery_each_look))
    indexed.done = lambda: next(count)
    await fill(store, channel, 100)
    search, rests = await indexed.begin(follow=False), list[float]()

    async def rest(delay_s: float) -> None:
        rests.append(delay_s)

    monkeypatch.setattr(follower, "BUSY_OVER_S", 0.0)
    monkeypatch.setattr(follower, "BUSY_PER_S", 0.0)
    monkeypatch.setattr(follower, "REST", 0.0)
    monkeypatch.setattr(asyncio, "sleep", rest)
    await search._follow()
    monkeypatch.undo()
    assert search.indexed_to(channel.number) == 100
    assert {rest_s > 0 for rest_s in rests} == {a_webhook_or_delivery_each_look}


def test_a_rate_is_that_of_the_last_moments() -> None:
    counts = iter((1_000, 1_400, 1_400))
    rate = follower._Rate(lambda: next(counts))
    began = rate._since
    assert rate.per_s(began + 2.0) == 200.0
    assert rate.per_s(began + 2.0 + follower.BUSY_OVER_S / 2) == 200.0, "too short to tell"
    assert rate.per_s(began + 3.0) == 0.0
