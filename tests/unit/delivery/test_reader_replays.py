"""Replays beside live traffic, on virtual time."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from structlog.testing import capture_logs

from relay_protocol.limits import LEASE_S
from relay_protocol.values import Delivery, Outcome
from relay_server.delivery.backoff import STORE_RETRY_S
from relay_server.delivery.pace import REPLAY_BURST_S
from relay_server.delivery.reader import REPLAY_UNDER_WAY
from relay_server.values import MarkState, Progress, ReplayState
from tests.support.events import BROKEN, OK, mark, new_event
from tests.support.sinks import FakeSink
from tests.support.stores import append_many, deliveries
from tests.support.virtual_time import running_clock, virtual_time
from tests.support.waiting import settled, until
from tests.unit.delivery.support import World, a_world, succeed, turns


class Timed(FakeSink):
    """Answers after a while, and notes when each delivery came."""

    def __init__(self, seconds: float = 0.0, window: int = 32) -> None:
        super().__init__(window=window)
        self.seconds = seconds
        self.times: list[float] = []

    def deliver(self, delivery: Delivery) -> None:
        super().deliver(delivery)
        self.times.append(running_clock().now)
        asyncio.get_running_loop().call_later(self.seconds, self.answer, delivery.id, OK)

    def most_within(self, seconds: float) -> int:
        """The most deliveries that came within any such while."""
        return max(sum(t <= u < t + seconds for u in self.times) for t in self.times)


def replayed(sink: FakeSink) -> list[int]:
    return [d.event.sequence for d in sink.got if d.replay]


def live(sink: FakeSink) -> list[int]:
    return [d.event.sequence for d in sink.got if not d.replay]


async def a_past(count: int, key: str | None = None) -> World:
    """A world in which everything was delivered before."""
    world = await a_world(count, key)
    claim = await world.store.claim(world.subscription.number)
    assert claim is not None
    world.store.record(claim, Progress(count))
    return world


@virtual_time
async def test_a_replay_delivers_what_it_selects_and_ends() -> None:
    world = await a_past(6)
    sink = FakeSink(succeed)

    async with world.reader(sink) as reader:
        replay = await world.replay(reader, first=2, last=4)
        await until(lambda: len(sink.got) == 3)
        await settled()
        state = await world.state(replay)

    assert replayed(sink) == [2, 3, 4]
    assert {d.attempt for d in sink.got} == {1}
    assert {d.id for d in sink.got} == {f"{replay.number}.{n}" for n in (2, 3, 4)}
    assert {d.subscription for d in sink.got} == {world.subscription.number}
    assert (state.state, state.delivered, state.floor) == (ReplayState.DONE, 3, 4)
    assert state.ended_at > 0
    [own, again] = await deliveries(world.store, world.channel, 3)
    assert (own.replay, again.replay, again.state) == (0, -replay.number, "delivered")


@virtual_time
async def test_a_replay_of_nothing_ends_at_once() -> None:
    world = await a_past(3)
    async with world.reader(FakeSink()) as reader:
        nothing = [
            await world.replay(reader, dead=True),
            await world.replay(reader, first=9),
            await world.replay(reader, text="nobody said this"),
        ]
        await settled()
        assert {(await world.state(r)).state for r in nothing} == {ReplayState.DONE}


@virtual_time
async def test_live_traffic_goes_first_and_replays_leave_it_room() -> None:
    world = await a_past(50)
    sink = FakeSink(window=32)

    async with world.reader(sink) as reader:
        await append_many(world.store, world.channel, 5)
        await world.replay(reader)
        await asyncio.sleep(0.5)
        assert sink.sequences[:5] == [51, 52, 53, 54, 55]
        # The keys of the first five are under way.
        assert replayed(sink) == list(range(6, 6 + REPLAY_UNDER_WAY))
        await append_many(world.store, world.channel, 40)
        await settled()
        assert len(live(sink)) == 32 - REPLAY_UNDER_WAY
        sink.script = succeed
        sink.answer_all(OK)
        await until(lambda: len(sink.got) == 45 + 55)

    assert sorted(replayed(sink)) == list(range(1, 56))  # asked for when there were 55


@virtual_time
@pytest.mark.parametrize("rate", [0.5, 7.0, 50.0])
async def test_a_replay_keeps_its_rate(rate: float) -> None:
    """Whatever held it up before: an idle hour is not caught up."""
    world = await a_past(60)
    sink = Timed()

    async with world.reader(sink) as reader:
        reader.hold(sink, "down")
        await world.replay(reader, rate_per_s=rate)
        await asyncio.sleep(3_600)
        reader.let_go(sink)
        await until(lambda: len(sink.got) == 60, within_s=200)

    burst = rate * REPLAY_BURST_S + 1
    for seconds in (1.0, 10.0):
        assert sink.most_within(seconds) <= rate * seconds + burst
    assert sink.times[-1] - sink.times[0] <= 60 / rate + 1


@virtual_time
async def test_a_throttled_replay_looks_for_work_no_more_than_it_sends() -> None:
    world = await a_past(100)
    sink = Timed()

    async with world.reader(sink) as reader:
        await world.replay(reader, rate_per_s=2.0)
        await settled()
        count = turns(reader)
        await asyncio.sleep(20)

    assert 35 <= len(sink.got) <= 45
    assert count["turns"] <= 150  # one to send, one for the answer, and a look each second


@virtual_time
async def test_many_replays_take_turns() -> None:
    """A small one does not wait for the end of a large one."""
    world = await a_past(400)
    sink = Timed(0.5)

    async with world.reader(sink) as reader:
        large = [await world.replay(reader) for _ in range(3)]
        await asyncio.sleep(5)
        small = await world.replay(reader, sequences=(7, 8))
        await asyncio.sleep(5)
        assert (await world.state(small)).state is ReplayState.DONE
        assert sink.most_under_way <= REPLAY_UNDER_WAY
        counts = Counter(d.id.partition(".")[0] for d in sink.got)
        shares = [counts[str(r.number)] for r in large]
        assert min(shares) > max(shares) / 2


@virtual_time
async def test_replay_and_live_traffic_never_have_a_key_at_once() -> None:
    world = await a_past(0)
    for n in range(30):
        await world.store.append(world.channel.number, new_event(key=str(n % 3)))
    claim = await world.store.claim(world.subscription.number)
    assert claim is not None
    world.store.record(claim, Progress(15))
    keys = Counter[str]()

    class Watching(Timed):
        def deliver(self, delivery: Delivery) -> None:
            keys[delivery.event.key] += 1
            assert keys[delivery.event.key] == 1
            super().deliver(delivery)

        def answer(self, delivery: str, outcome: Outcome) -> None:
            keys[self.under_way[delivery].event.key] -= 1
            super().answer(delivery, outcome)

    sinks = Watching(0.2), Watching(0.3)
    async with world.reader(*sinks) as reader:
        await world.replay(reader)
        await world.replay(reader, key="1")
        await until(lambda: sum(len(s.got) for s in sinks) == 15 + 30 + 10 and not +keys, 120)

    for key in "012":
        of_key = [d for d in sinks[0].got + sinks[1].got if d.event.key == key and not d.replay]
        assert len(of_key) == 5


@virtual_time
async def test_a_replay_that_is_stopped_ends_with_what_is_under_way() -> None:
    world = await a_past(30)
    sink = FakeSink()

    async with world.reader(sink) as reader:
        replay = await world.replay(reader)
        await asyncio.sleep(0.5)
        assert len(sink.got) == REPLAY_UNDER_WAY
        await world.store.end_replay(replay.number, ReplayState.STOPPED, 1)
        reader.replays_changed()
        await settled()
        reader.extend(sink, list(sink.under_way))
        sink.answer_all(OK)
        sink.script = succeed
        await append_many(world.store, world.channel, 1)
        await until(lambda: live(sink) == [31])
        await asyncio.sleep(60)

    assert len(replayed(sink)) == REPLAY_UNDER_WAY
    assert (await world.state(replay)).state is ReplayState.STOPPED
    assert await world.backlog() == 0


@virtual_time
@pytest.mark.parametrize("answers", [True, False])
async def test_what_a_stopped_replay_has_under_way_keeps_its_key(answers: bool) -> None:
    """Until the target is done with it, or the lease ends."""
    world = await a_past(3, key="k")
    sink = FakeSink()

    async with world.reader(sink) as reader:
        replay = await world.replay(reader, rate_per_s=1.0)
        await until(lambda: sink.sequences == [1])
        await world.store.end_replay(replay.number, ReplayState.STOPPED, 1)
        reader.replays_changed()
        await append_many(world.store, world.channel, 1, key="k")
        count = turns(reader)
        await asyncio.sleep(20)
        assert (live(sink), len(sink.got)) == ([], 1)
        assert count["turns"] <= 30  # a look each second

        before = running_clock().now
        if answers:
            sink.answer_all(OK)
        await until(lambda: live(sink) == [4], within_s=LEASE_S)
        assert running_clock().now - before < (0.1 if answers else LEASE_S - 20 + 5)

    assert replayed(sink) == [1]


@virtual_time
@pytest.mark.parametrize("what", ["replays", "claim", "select", "end_replay"])
async def test_live_traffic_goes_on_and_is_recorded_where_replays_cannot(what: str) -> None:
    world = await a_past(2)
    sink = FakeSink(succeed)

    async with world.reader(sink) as reader:
        await settled()
        await world.replay(reader, sequences=(1,))
        world.store.away_for = {what}
        await append_many(world.store, world.channel, 3)
        await until(lambda: live(sink) == [3, 4, 5])
        await until(lambda: any(p.floor == 5 for p in world.store.recorded), within_s=1)
        assert running_clock().now < 2
        world.store.away_for = set()
        await until(lambda: replayed(sink) == [1])


@virtual_time
@pytest.mark.parametrize("what", ["replays", "claim", "select", "end_replay", "outlines", "fetch"])
async def test_a_store_that_does_not_answer_is_asked_each_second_and_complained_of_rarely(
    what: str,
) -> None:
    """However many webhooks and results come meanwhile."""
    world = await a_past(2)
    world.handed_along = False
    sink = FakeSink(succeed)
    with capture_logs() as logs:
        async with world.reader(sink) as reader:
            await settled()
            await world.replay(reader, sequences=(1,))
            world.store.away_for, before = {what}, world.store.asked[what]
            for _ in range(600):
                await append_many(world.store, world.channel, 1)
                await asyncio.sleep(0.1)
            asked = world.store.asked[what] - before
            world.store.away_for = set()
            await until(lambda: replayed(sink) == [1], within_s=STORE_RETRY_S + 0.1)
            await until(lambda: len(live(sink)) == 600)

    said = Counter(entry["event"] for entry in logs)
    [(mainly, _)] = said.most_common(1)
    assert 55 <= asked <= 61
    assert [entry["failures"] for entry in logs if entry["event"] == mainly] == [1, 11, 31]
    assert mainly.startswith("store did not answer")
    assert said.total() <= 5, "where both fail, each says so; and a replay says when it is done"


@virtual_time
async def test_a_replay_goes_on_where_it_was_after_a_restart() -> None:
    world = await a_past(20)
    first, second = FakeSink(window=3), FakeSink(succeed)
    replay = await world.replay(first=3, last=18)

    async with world.reader(first):
        await asyncio.sleep(0.5)
        assert first.sequences == [3, 4]
        first.answer_all(OK, [f"{replay.number}.4"])
        await asyncio.sleep(0.5)
        begun = set(first.sequences)
    async with world.reader(second):
        await until(lambda: len(second.got) == 15)
        await settled()
        state = await world.state(replay)

    assert sorted(second.sequences) == [3, *range(5, 19)]
    assert {s for s, attempt in second.attempts if attempt == 2} == begun - {4}
    assert (state.state, state.delivered) == (ReplayState.DONE, 16)


@virtual_time
async def test_a_replay_waits_while_nobody_is_connected_and_while_all_is_held() -> None:
    world = await a_past(3)
    replay = await world.replay()
    await asyncio.sleep(3_600)
    assert (await world.state(replay)).state is ReplayState.RUNNING
    sink = FakeSink(succeed)

    async with world.reader(sink) as reader:
        reader.pause("by hand")
        await asyncio.sleep(3_600)
        assert sink.got == []
        reader.configure(world.channel, world.subscription)
        await until(lambda: len(sink.got) == 3)
        await settled()

    assert (await world.state(replay)).state is ReplayState.DONE


@pytest.mark.slow
@virtual_time
async def test_a_replay_tries_again_and_gives_up_like_live_traffic() -> None:
    """What it gives up is dead for the subscription, what it delivers is so no more."""
    world = await a_world(4)
    world.tick_s = 60.0
    claim = await world.store.claim(world.subscription.number)
    assert claim is not None
    world.store.record(claim, Progress(4, (mark(1, MarkState.DEAD), mark(2, MarkState.DEAD))))
    tries = Counter[int]()

    def script(delivery: Delivery) -> Outcome:
        sequence = delivery.event.sequence
        tries[sequence] += 1
        return OK if sequence == 1 or (sequence == 3 and tries[3] == 3) else BROKEN

    sink = FakeSink(script)
    async with world.reader(sink) as reader:
        replay = await world.replay(reader, sequences=(1, 3, 4))
        await asyncio.sleep(40 * 3_600)
        state = await world.state(replay)

    dead = [d.event.sequence for d in await world.store.dead(world.subscription.number, 0, 9)]
    assert tries == {1: 1, 3: 3, 4: 10}
    assert dead == [2, 4]
    assert (state.state, state.delivered) == (ReplayState.DONE, 2)
    assert await world.backlog() == 0


@virtual_time
async def test_one_that_is_stuck_does_not_stop_a_replay() -> None:
    """Events of a key that is held are read past."""
    world = await a_past(0)
    for n in range(400):
        await world.store.append(world.channel.number, new_event(key="k" if n < 399 else "other"))
    claim = await world.store.claim(world.subscription.number)
    assert claim is not None
    world.store.record(claim, Progress(400))
    sink = FakeSink(lambda d: BROKEN if d.event.key == "k" else OK)

    async with world.reader(sink) as reader:
        await world.replay(reader)
        await until(lambda: 400 in replayed(sink), within_s=4)


@virtual_time
async def test_replays_of_a_subscription_that_was_forgotten_harm_nobody() -> None:
    world = await a_past(600)
    sink = FakeSink(window=1)
    async with world.reader(sink) as reader:
        await world.replay(reader, dead=True)
        await world.replay(reader)
        await world.store.unsubscribe(world.subscription.number)
        await asyncio.sleep(30)
        sink.answer_all(OK)
        await asyncio.sleep(30)
        assert not reader._stopped
        assert [queue.number for queue in reader._queues] == [world.subscription.number]
