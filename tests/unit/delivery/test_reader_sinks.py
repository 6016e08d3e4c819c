"""Several sinks work on one subscription, and what holds all of them, on virtual time."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

import msgspec
import pytest

from relay_protocol.values import Delivery, EventHead, Outcome, Response
from relay_server.configs import Away, ChannelConfig, Policy
from relay_server.delivery.backoff import STORE_RETRY_S
from relay_server.delivery.reader import Reader
from relay_server.store.feed import EventsStored
from tests.support.events import BROKEN, DOWN, OK, new_event
from tests.support.sinks import FakeSink
from tests.support.stores import append_many
from tests.support.virtual_time import running_clock, virtual_time
from tests.support.waiting import settled, until
from tests.unit.delivery.support import World, a_world, succeed, turns

GONE = Response(410)


class SlowSink(FakeSink):
    """Each answer takes a while; notes which keys are under way."""

    def __init__(self, seconds: float, keys: Counter[str]) -> None:
        super().__init__(window=4)
        self.seconds, self.keys = seconds, keys

    def deliver(self, delivery: Delivery) -> None:
        self.keys[delivery.event.key] += 1
        assert self.keys[delivery.event.key] == 1, "never at both at once"
        super().deliver(delivery)
        asyncio.get_running_loop().call_later(self.seconds, self.done, delivery)

    def done(self, delivery: Delivery) -> None:
        self.keys[delivery.event.key] -= 1
        self.answer(delivery.id, OK)


@virtual_time
async def test_two_sinks_share_the_work_and_no_key_is_at_both() -> None:
    world = await a_world()
    for n in range(100):
        await world.store.append(world.channel.number, new_event(key=str(n % 7)))
    keys = Counter[str]()
    fast, slow = SlowSink(0.1, keys), SlowSink(0.3, keys)

    async with world.reader(fast, slow):
        await until(lambda: len(fast.got) + len(slow.got) == 100 and not +keys, within_s=60)

    assert sorted(fast.sequences + slow.sequences) == list(range(1, 101))
    assert min(len(fast.got), len(slow.got)) > 20
    assert {d.attempt for d in world.everything} == {1}
    assert await world.backlog() == 0


@virtual_time
async def test_what_goes_out_together_is_flushed_once_before_the_change_is_over() -> None:
    world, sink, seen = await a_world(3), FakeSink(), list[list[int]]()

    async with world.reader(sink):
        await until(lambda: sink.sequences == [1, 2, 3])
        world.store.feed.listen(EventsStored, lambda _: seen.append(sink.sequences))
        await append_many(world.store, world.channel, 1, key="another")

    assert sink.flushed == [3, 1]
    assert seen == [[1, 2, 3, 4]]


@virtual_time
async def test_results_that_come_together_are_recorded_together() -> None:
    world, sink = await a_world(3), FakeSink()

    async with world.reader(sink) as reader:
        await until(lambda: len(sink.got) == 3)
        for delivery in sink.got:
            assert reader.take(sink, delivery.id, OK) is not None
        assert world.store.recorded == []
        reader.follow()
        assert [progress.floor for progress in world.store.recorded] == [3]


@virtual_time
async def test_a_sink_whose_target_is_down_leaves_the_other_working() -> None:
    world = await a_world(6)
    down, up = FakeSink(window=1), FakeSink(succeed)

    async with world.reader(down, up) as reader:
        reader.hold(down, "not there")
        await until(lambda: len(up.got) == 6)
        assert (down.got, reader.waits_for_target) == ([], None)
        reader.hold(up, "not there either")
        assert reader.waits_for_target is not None
        await append_many(world.store, world.channel, 1)
        await asyncio.sleep(60)
        assert len(up.got) == 6
        reader.let_go(down)
        await until(lambda: down.sequences == [7])


@virtual_time
async def test_what_a_lost_sink_had_goes_to_the_other_at_once() -> None:
    world = await a_world(3, key="k")
    lost, other = FakeSink(window=1), FakeSink(succeed)

    async with world.reader(lost) as reader:
        await settled()
        assert lost.sequences == [1]
        other.reader = reader
        reader.add(other)
        await settled()
        assert other.got == []
        before = running_clock().now
        reader.remove(lost)
        await until(lambda: len(other.got) == 3)
        assert running_clock().now - before < 0.1
        lost.answer_all(OK)  # too late: it decides nothing

    assert other.attempts == [(1, 2), (2, 1), (3, 1)]


@pytest.mark.slow
@virtual_time
async def test_a_target_that_wants_no_more_is_left_alone() -> None:
    """What was under way elsewhere ends as it ends; nothing new goes out until somebody says so."""
    world = await a_world(5)
    world.tick_s = 60.0
    said: list[str] = []
    sink = FakeSink(window=3)

    async with world.reader(sink) as reader:
        reader._on_gone = said.append
        await settled()
        first, second, third = sink.under_way
        sink.answer(first, GONE)
        sink.answer(second, GONE)
        sink.answer(third, OK)
        await asyncio.sleep(86_400)
        assert (sink.sequences, said) == ([1, 2, 3], ["the target answered 410"])
        assert (reader.paused, reader.under_way) == ("the target answered 410", 0)
        sink.script = succeed
        reader.configure(world.channel, world.subscription)
        await until(lambda: len(sink.got) == 7)
        await settled()

    assert sink.attempts[3:] == [(1, 2), (2, 2), (4, 1), (5, 1)]
    assert await world.backlog() == 0


@virtual_time
async def test_new_rules_of_the_channel_resume_nothing() -> None:
    """The pause may not be stored yet when they come."""
    world = await a_world(2)
    sink = FakeSink(lambda _: GONE, window=1)

    async with world.reader(sink) as reader:
        await until(lambda: reader.paused)
        config = ChannelConfig(policy=Policy(other_tries=1))
        reader.configure(msgspec.structs.replace(world.channel, config=config), reader.subscription)
        await asyncio.sleep(5)

    assert sink.sequences == [1]


@virtual_time
async def test_ten_minutes_without_a_target_use_up_no_attempt() -> None:
    """Whatever had begun is given back, and all comes in order once it is there."""
    world = await a_world()
    for n in range(40):
        await world.store.append(world.channel.number, new_event(key=str(n % 3)))
    sink = FakeSink(lambda _: DOWN)

    async with world.reader(sink) as reader:
        reader.hold(sink, "connection refused")
        for _ in range(60):
            await asyncio.sleep(10)
            reader.let_go(sink)  # a probe found something …
            await asyncio.sleep(0)
            reader.hold(sink, "connection refused")  # … that was gone again
        before = len(sink.got)
        await append_many(world.store, world.channel, 5, key="0")
        sink.script = succeed
        reader.let_go(sink)
        await until(lambda: len(sink.got) - before == 45)
        await settled()

    arrived = sink.got[before:]
    assert {d.attempt for d in sink.got} == {1}
    for key in "012":
        of_key = [d.event.sequence for d in arrived if d.event.key == key]
        assert of_key == sorted(of_key)
    assert await world.backlog() == 0


@virtual_time
async def test_a_reader_looks_for_work_no_more_than_it_must() -> None:
    """Idle, held, paused, draining or waiting for a window: a turn can do nothing for any."""
    world = await a_world(5)
    sink = FakeSink(window=2)
    async with world.reader(sink) as reader:
        await settled()
        count = turns(reader)
        steps: tuple[Callable[[], None], ...] = (
            lambda: None,
            lambda: reader.hold(sink, "down"),
            lambda: reader.pause("by hand"),
            reader.drain,
        )
        for step in steps:
            step()
            count.clear()
            await asyncio.sleep(30)
            assert count["turns"] <= 1
        sink.answer_all(BROKEN)
        count.clear()
        await asyncio.sleep(600)
        assert count["turns"] <= 10


@virtual_time
async def test_a_drained_reader_takes_results_and_sends_nothing() -> None:
    world = await a_world(5)
    sink = FakeSink(window=2)

    async with world.reader(sink) as reader:
        await settled()
        reader.drain()
        sink.answer_all(OK)
        await asyncio.sleep(5)
        assert (sink.sequences, reader.under_way) == ([1, 2], 0)
        reader.let_go(sink)
        reader.configure(world.channel, world.subscription)
        await asyncio.sleep(5)
        assert sink.sequences == [1, 2]

    assert await world.backlog() == 3


async def stores_away(world: World, sink: FakeSink, what: str) -> None:
    """One question of the reader stays without an answer for a while."""
    world.store.away_for = {what}
    await asyncio.sleep(20)
    world.store.away_for = set()
    await asyncio.sleep(STORE_RETRY_S + 0.1)


@virtual_time
async def test_a_store_that_is_away_for_any_question_loses_and_repeats_nothing() -> None:
    world = await a_world(20)
    world.handed_along = False
    sink = FakeSink(succeed, window=1)
    async with world.reader(sink) as reader:
        for what in ("outlines", "fetch", "select", "claim", "replays", "end_replay"):
            await append_many(world.store, world.channel, 3)
            await world.replay(reader, sequences=(1, 2))
            count = turns(reader)
            await stores_away(world, sink, what)
            assert count["turns"] < 400
        await until(lambda: len(sink.got) >= 20 + 6 * 3 + 6 * 2, within_s=60)
        await settled()

    live = [d.event.sequence for d in sink.got if not d.replay]
    assert live == list(range(1, 39))
    assert Counter(d.event.sequence for d in sink.got if d.replay) == {1: 6, 2: 6}
    assert {d.attempt for d in sink.got} == {1}
    assert await world.store.replays(running=True) == []


@virtual_time
async def test_a_wall_clock_that_jumps_changes_no_delay() -> None:
    """An hour back, two ahead: no storm, no stall, and what is stored says the same."""
    world = await a_world(4)
    times: list[float] = []

    def script(_: Delivery) -> Outcome:
        times.append(running_clock().now)
        return BROKEN if len(times) <= 8 else OK

    sink = FakeSink(script)
    async with world.reader(sink):
        await settled()
        running_clock().start_ms -= 3_600_000
        await append_many(world.store, world.channel, 1)
        await asyncio.sleep(7)
        running_clock().start_ms += 2 * 3_600_000
        await append_many(world.store, world.channel, 1)
        await until(lambda: len(sink.got) == 14, within_s=60)
        await settled()

    assert sorted(set(sink.sequences)) == [1, 2, 3, 4, 5, 6]
    assert await world.backlog() == 0


@virtual_time
async def test_a_reader_after_a_clock_that_was_set_back_waits_no_longer() -> None:
    world = await a_world(1)
    sink, again = FakeSink(lambda _: BROKEN), FakeSink(succeed)

    async with world.reader(sink):
        await settled()
    running_clock().start_ms -= 3_600_000
    async with world.reader(again):
        await until(lambda: again.got, within_s=6.5)

    assert again.attempts == [(1, 2)]


@virtual_time
async def test_a_stopped_reader_leaves_replays_to_the_one_after_it() -> None:
    """Its question was under way when it was stopped: it must not claim what the next one has."""
    world = await a_world(3)
    replay = await world.replay()
    first, second = FakeSink(), FakeSink(succeed)
    gate, plain = asyncio.Event(), world.store.replays
    held = [True]

    async def slow(*args: object, **kwargs: object) -> object:
        found = await plain(*args, **kwargs)  # type: ignore[arg-type]
        if held.pop() if held else False:
            await gate.wait()
        return found

    world.store.replays = slow  # type: ignore[method-assign, assignment]
    claim = await world.store.claim(world.subscription.number)
    assert claim is not None
    old = Reader(
        world.store, world.channel, world.subscription, claim, running_clock(), world.metrics
    )
    first.reader = old
    old.add(first)
    running = asyncio.create_task(old.run())
    await settled()
    old.stop()
    async with world.reader(second):
        await settled(3)
        gate.set()
        await running
        await until(lambda: len(second.got) == 6)
        await until(lambda: not held and not second.under_way)
        await asyncio.sleep(2)

    assert (await world.state(replay)).delivered == 3


@virtual_time
async def test_a_gate_is_asked_of_what_a_sink_takes_and_of_nothing_else() -> None:
    """It may begin a hand-off: not for what cannot go yet."""
    world, sink, asked = await a_world(), FakeSink(window=1), list[int]()
    world.subscription = await world.store.change_subscription(
        world.subscription.number, lambda it: msgspec.structs.replace(it, away=Away.HANDOFF)
    )

    def gate(head: EventHead) -> str:
        asked.append(head.sequence)
        return ""

    async with world.reader(sink, gate=gate):
        await settled()
        for key in ("a", "b"):
            await world.store.append(world.channel.number, new_event(key=key))
        await settled()
        assert (sink.sequences, asked) == ([1], [1])
        sink.answer_all(OK)
        await until(lambda: sink.sequences == [1, 2])

    assert asked == [1, 2]
