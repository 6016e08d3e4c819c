"""What comes too late is settled as expired: when its turn comes, and where no turn comes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay_server.delivery import expiry
from relay_server.delivery.expiry import LOOK_S, Expirer, Lifetimes
from relay_server.store.sql import events
from relay_server.values import MarkState, Progress
from tests.support.clock import START_MS
from tests.support.events import BROKEN, OK, attempt, event_head, mark, new_event
from tests.support.sinks import FakeSink
from tests.support.stores import progress_of
from tests.support.virtual_time import running_clock, virtual_time
from tests.support.waiting import settled, until, until_true
from tests.unit.delivery.support import World, a_world, succeed

TTL = (("typing_*", 10.0), ("message_created", 60.0))
RULES = st.lists(st.tuples(st.sampled_from(["a", "ab", "a*", "b*", "*"]), st.integers(1, 9)))


@given(rules=RULES, kind=st.sampled_from(["", "a", "ab", "abc", "b", "c"]))
def test_the_first_rule_that_means_a_kind_counts(rules: list[tuple[str, float]], kind: str) -> None:
    def means(pattern: str) -> bool:
        return kind.startswith(pattern[:-1]) if pattern.endswith("*") else kind == pattern

    expected = next((lifetime for pattern, lifetime in rules if means(pattern)), None)

    assert Lifetimes(rules).of(kind) == expected


@pytest.mark.parametrize(("age_ms", "outlived"), [(-5_000, None), (60_000, None), (60_001, 60)])
def test_what_is_as_old_as_it_may_be_is_not_too_old(age_ms: int, outlived: float | None) -> None:
    assert Lifetimes(TTL).outlived(event_head(), START_MS + age_ms) == outlived


async def a_mortal_world() -> World:
    """A world whose channel has times to live."""
    world = await a_world(0)
    world.channel = await world.store.change_channel(
        world.channel.name, lambda c: msgspec.structs.replace(c, ttl=TTL, expires=True)
    )
    return world


async def append(world: World, *kinds: str, key: str = "7") -> None:
    """Events that come now; `m` is a message, `t` is typing, `o` of no kind that ends."""
    names = {"m": "message_created", "t": "typing_on", "o": "contact_created"}
    for kind in kinds:
        now = running_clock().unix_ms()
        await world.store.append(
            world.channel.number, new_event(kind=names[kind], key=key, received_at=now)
        )


@asynccontextmanager
async def expirer(world: World, *delivered: int) -> AsyncIterator[Expirer]:
    """A running one, for which something of some subscriptions goes out."""
    found = Expirer(world.store, running_clock(), delivered.__contains__, lambda *_: None)
    running = asyncio.create_task(found.run())
    try:
        yield found
        assert not running.done()
    finally:
        running.cancel()
        found.close()


async def has_backlog(world: World, count: int) -> None:
    await until_true(lambda: _is_backlog(world, count))


async def _is_backlog(world: World, count: int) -> bool:
    return await world.backlog() == count


@virtual_time
async def test_what_is_too_old_when_its_turn_comes_is_not_delivered() -> None:
    """It is no failed attempt, and its reason is listed; a replay brings it all the same."""
    world, sink = await a_mortal_world(), FakeSink(succeed)
    await append(world, "t", "m", "o")
    await asyncio.sleep(11)
    await append(world, "t", "m")
    async with world.reader(sink) as reader:
        await until(lambda: len(sink.got) == 4)
        await settled()
        assert await world.backlog() == 0
        [[state]] = await world.store.deliveries(world.channel.number, [1])
        await world.replay(reader, sequences=(1,))
        await until(lambda: len(sink.got) == 5)
        await settled()

    assert (state.state, state.reason, state.attempts) == ("expired", "older than 10 s", ())
    assert sink.sequences == [2, 3, 4, 5, 1]
    assert await world.states(1, 2, 3) == ["expired", "delivered", "delivered"]
    assert (await progress_of(world.store, world.subscription.number)).floor == 5


@virtual_time
async def test_one_that_fails_until_it_is_too_old_holds_its_conversation_no_longer() -> None:
    """Its failed attempts stay listed."""
    world = await a_mortal_world()
    sink = FakeSink(lambda d: BROKEN if d.event.sequence == 1 else OK)
    await append(world, "m", "o")
    async with world.reader(sink):
        await until(lambda: sink.sequences[-1:] == [2], within_s=200)
        await until(lambda: not world.store._pending.waiting)
        await asyncio.sleep(200)

    assert await world.states(1, 2) == ["expired", "delivered"]
    [[state]] = await world.store.deliveries(world.channel.number, [1])
    assert [a.status for a in state.attempts] == [500, 500, 500]
    assert await world.backlog() == 0


@virtual_time
@pytest.mark.parametrize("bound", [2, 100])
async def test_what_expires_where_nobody_reads_waits_no_more(
    bound: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The floor passes what it can, and what has no end stays."""
    monkeypatch.setattr(events, "SIFT_AT_ONCE", bound)
    world = await a_mortal_world()
    await append(world, *"tmtmmotmt")
    async with expirer(world):
        await asyncio.sleep(10 + LOOK_S)
        await has_backlog(world, 5)
        assert await world.states(1, 2, 3) == ["expired", "pending", "expired"]
        await append(world, "t")
        await asyncio.sleep(60)
        await has_backlog(world, 1)
        assert (await progress_of(world.store, world.subscription.number)).floor == 5

    sink = FakeSink(succeed)
    async with world.reader(sink):
        await until(lambda: sink.got)
        await settled()
    assert sink.sequences == [6]
    assert await world.states(5, 6, 7, 10) == ["expired", "delivered", "expired", "expired"]


@virtual_time
async def test_what_was_settled_otherwise_before_stays_so() -> None:
    world = await a_mortal_world()
    await append(world, *"mmmm")
    claim = await world.store.claim(world.subscription.number)
    assert claim is not None
    waits = mark(4, MarkState.WAITING)
    marks = (mark(2), mark(3, MarkState.DEAD), waits)
    world.store.record(claim, Progress(0, marks, (attempt(2),)))
    async with expirer(world):
        await asyncio.sleep(60 + LOOK_S)
        await has_backlog(world, 0)

    assert await world.states(1, 2, 3, 4) == ["expired", "delivered", "dead", "expired"]


@virtual_time
async def test_it_leaves_alone_what_goes_out_and_begins_anew_behind_it() -> None:
    world = await a_mortal_world()
    number = world.subscription.number
    await append(world, "m")
    async with expirer(world, number):
        await asyncio.sleep(100)
        assert await world.backlog() == 1
    async with expirer(world) as found:
        await asyncio.sleep(LOOK_S)
        await has_backlog(world, 0)
        assert number in found._walks
        await world.store.claim(number)
        assert number not in found._walks
        await append(world, "t")
        await asyncio.sleep(20)
        await has_backlog(world, 0)
        await world.store.unsubscribe(number)
        assert number not in found._walks


@virtual_time
async def test_a_store_that_is_away_is_asked_again() -> None:
    world = await a_mortal_world()
    await append(world, "t")
    async with expirer(world):
        world.store.away_for = {"sift"}
        await asyncio.sleep(30)
        assert await world.backlog() == 1
        world.store.away_for = set()
        await asyncio.sleep(LOOK_S)
        await has_backlog(world, 0)


@virtual_time
async def test_many_that_expire_at_once_are_all_listed_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """More than attempts are kept of a reader before they are written."""
    monkeypatch.setattr("relay_server.store.sql.pending.MAX_ATTEMPTS", 3)
    monkeypatch.setattr(expiry, "AT_ONCE", 4)
    world, sink = await a_mortal_world(), FakeSink(succeed)
    await append(world, *"t" * 20)
    await asyncio.sleep(11)
    async with world.reader(sink):
        await has_backlog(world, 0)

    assert not sink.got
    sequences: Sequence[int] = range(1, 21)
    assert set(await world.states(*sequences)) == {"expired"}


@virtual_time
async def test_what_came_since_a_reader_began_is_read_from_memory() -> None:
    """What an earlier one settled is left out; there can be nothing of that behind."""
    world, sink = await a_mortal_world(), FakeSink(succeed)
    await append(world, "o", "t")
    async with expirer(world):
        await asyncio.sleep(11 + LOOK_S)
        await settled()
    world.handed_along = False
    async with world.reader(sink):
        await until(lambda: len(sink.got) == 1)
        await settled()
        world.store.asked.clear()
        await append(world, "t", "m")
        await until(lambda: len(sink.got) == 3)

    assert sink.sequences == [1, 3, 4]
    assert world.store.asked["sift"] == 0
