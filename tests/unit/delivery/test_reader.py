"""A reader between a store and a sink, on virtual time."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator

import pytest

from relay_protocol.limits import LEASE_S, WINDOW_BYTES
from relay_protocol.values import Delivery, Outcome
from relay_server.metrics import Metrics
from relay_server.values import ReplayState
from tests.support.events import BROKEN, DOWN, NOT_STARTED, OK, new_event
from tests.support.sinks import FakeSink
from tests.support.stores import append_many, deliveries
from tests.support.virtual_time import running_clock, virtual_time
from tests.support.waiting import settled, until
from tests.unit.delivery.support import a_world, succeed


@virtual_time
async def test_everything_is_delivered_whole_and_settled() -> None:
    world = await a_world()
    event = new_event(b"\x00\xff" * 9, key="k")
    await world.store.append(world.channel.number, event)
    sink = FakeSink(succeed)

    async with world.reader(sink):
        await until(lambda: sink.got and not sink.under_way)

    [got] = sink.got
    assert (got.id, got.attempt, got.replay) == (f"{world.subscription.number}.1", 1, False)
    assert (got.channel, got.subscription) == ("chatwoot", world.subscription.number)
    assert (got.body, got.event.id, got.event.request) == (event.body, event.id, event.request)
    assert await world.backlog() == 0
    [state] = await deliveries(world.store, world.channel, 1)
    assert [(a.attempt, a.status, a.outcome) for a in state.attempts] == [(1, 200, "response")]


@virtual_time
async def test_what_comes_while_it_runs_is_delivered_at_once() -> None:
    world = await a_world()
    sink = FakeSink(succeed)

    async with world.reader(sink):
        await settled()
        await append_many(world.store, world.channel, 3, "k")
        await until(lambda: len(sink.got) == 3, within_s=0.9)  # before the next tick

    assert sink.sequences == [1, 2, 3]


@virtual_time
async def test_a_sink_gets_no_more_than_it_accepts() -> None:
    world = await a_world(20)
    sink = FakeSink(window=4)

    async with world.reader(sink):
        await settled()
        assert sink.sequences == [1, 2, 3, 4]
        sink.answer_all(OK, [f"{world.subscription.number}.3"])
        await settled()
        assert sink.sequences == [1, 2, 3, 4, 5]
        sink.script = succeed
        sink.answer_all(OK)
        await until(lambda: len(sink.got) == 20)

    assert sink.most_under_way == 4
    read = sum(world.store.fetched)
    assert read == sum(len(delivery.body) for delivery in sink.got), "what there was room for"


@virtual_time
async def test_no_more_is_read_at_once_than_a_window_holds() -> None:
    world = await a_world()
    body = b"x" * (WINDOW_BYTES // 3)
    for n in range(10):
        await world.store.append(world.channel.number, new_event(body, key=str(n)))
    await world.store.append(world.channel.number, new_event(body * 4, key="big"))
    sink = FakeSink(succeed)

    async with world.reader(sink):
        await until(lambda: len(sink.got) == 11)

    assert max(world.store.fetched[:-1]) <= WINDOW_BYTES
    assert world.store.fetched[-1] == len(body) * 4


@virtual_time
async def test_a_failed_attempt_is_made_again_after_five_seconds() -> None:
    world = await a_world(2, key="k")
    begun: list[float] = []

    def script(delivery: Delivery) -> Outcome:
        begun.append(running_clock().now)
        return BROKEN if len(begun) == 1 else OK

    sink = FakeSink(script)
    async with world.reader(sink):
        await until(lambda: len(sink.got) == 3, within_s=20)
        await settled()

    assert sink.attempts == [(1, 1), (1, 2), (2, 1)]
    assert 4 <= begun[1] - begun[0] <= 6.1
    assert begun[2] - begun[1] < 0.1
    [state] = await deliveries(world.store, world.channel, 1)
    assert [(a.attempt, a.status, a.text) for a in state.attempts] == [
        (1, 500, "Traceback"),
        (2, 200, ""),
    ]
    assert await world.backlog() == 0


@virtual_time
async def test_what_was_given_back_leaves_no_trace_among_the_attempts() -> None:
    """Above all it must not overwrite the attempt before it."""
    world = await a_world(1)
    outcomes: Iterator[Outcome] = iter([BROKEN, DOWN, NOT_STARTED, OK])
    sink = FakeSink(lambda _: next(outcomes))

    async with world.reader(sink):
        await until(lambda: len(sink.got) == 4, within_s=20)
        await settled()

    [state] = await deliveries(world.store, world.channel, 1)
    assert sink.attempts == [(1, 1), (1, 2), (1, 2), (1, 2)]
    assert [(a.attempt, a.status) for a in state.attempts] == [(1, 500), (2, 200)]


@virtual_time
async def test_a_lease_that_runs_out_brings_another_attempt() -> None:
    world = await a_world(1)
    sink = FakeSink()

    async with world.reader(sink) as reader:
        await settled()
        await asyncio.sleep(LEASE_S - 5)
        reader.extend(sink, [f"{world.subscription.number}.1"])
        await asyncio.sleep(LEASE_S - 5)
        assert sink.attempts == [(1, 1)]
        await until(lambda: len(sink.got) == 2, within_s=10)
        sink.answer_all(OK)
        await settled()

    assert sink.attempts == [(1, 1), (1, 2)]
    assert await world.backlog() == 0


@virtual_time
async def test_a_late_result_is_no_attempt() -> None:
    world = await a_world(1)
    sink = FakeSink()

    async with world.reader(sink) as reader:
        await settled()
        name = f"{world.subscription.number}.1"
        sink.answer(name, OK)
        reader.finish(sink, name, BROKEN)
        reader.finish(sink, f"{world.subscription.number}.99", BROKEN)
        await settled()

    [state] = await deliveries(world.store, world.channel, 1)
    assert [a.status for a in state.attempts] == [200]
    assert state.state == "delivered"


@virtual_time
async def test_an_event_that_is_gone_does_not_stop_its_key() -> None:
    world = await a_world(3, key="k")
    world.store.lost = {2}
    sink = FakeSink(succeed)

    async with world.reader(sink):
        await until(lambda: len(sink.got) == 2)
        await settled()

    assert sink.sequences == [1, 3]
    assert await world.backlog() == 0


@virtual_time
async def test_an_event_that_is_damaged_dies_unsent_also_when_it_is_replayed() -> None:
    world = await a_world(3, key="k")
    world.store.damaged = {1, 2}
    sink = FakeSink(succeed)

    async with world.reader(sink) as reader:
        await until(lambda: len(sink.got) == 1)
        await settled()
        replay = await world.replay(reader, dead=True)
        await asyncio.sleep(1)

    assert sink.sequences == [3]
    dead = await world.store.dead(world.subscription.number, 0, 9)
    assert [(d.event.sequence, d.attempts) for d in dead] == [(1, 1), (2, 1)]
    assert {"checksum is wrong" in d.reason for d in dead} == {True}
    assert (await world.state(replay)).state is ReplayState.DONE


@virtual_time
async def test_stopping_notes_what_is_done_and_frees_what_is_not() -> None:
    world = await a_world(4)
    first, second = FakeSink(), FakeSink(succeed)

    async with world.reader(first) as reader:
        await settled()
        first.answer_all(OK, [f"{world.subscription.number}.{n}" for n in (1, 3)])
    reader.finish(first, f"{world.subscription.number}.2", OK)  # its connection is gone

    assert await world.backlog() == 2
    async with world.reader(second):
        await until(lambda: len(second.got) == 2)
        await settled()
    assert second.attempts == [(2, 2), (4, 2)]
    assert await world.backlog() == 0


@virtual_time
async def test_a_reader_that_was_replaced_records_nothing_more() -> None:
    world = await a_world(2)
    sink = FakeSink()

    async with world.reader(sink):
        await settled()
        newer = await world.store.claim(world.subscription.number)
        assert newer is not None
        sink.answer_all(OK)
        await settled()

    assert await world.backlog() == 2


@virtual_time
async def test_readers_that_come_and_go_lose_and_skip_nothing() -> None:
    """Each takes a part, in order of key; only what was under way comes twice."""
    world = await a_world()
    keys = "abcabdab" * 10
    for key in keys:
        await world.store.append(world.channel.number, new_event(key=key))
    finished: list[int] = []

    for turn in range(8):
        sink = FakeSink(window=5)
        async with world.reader(sink):
            for _ in range(turn + 1):
                await settled()
                done = list(sink.under_way.values())[:3]
                finished += [delivery.event.sequence for delivery in done]
                sink.answer_all(OK, [delivery.id for delivery in done])
    sink = FakeSink(succeed)
    async with world.reader(sink):
        await until(lambda: len(finished) + len(set(sink.sequences)) >= len(keys))
        await settled()

    everyone = finished + sink.sequences
    assert Counter(everyone) == Counter(range(1, len(keys) + 1))
    for key in set(keys):
        of_key = [s for s in everyone if keys[s - 1] == key]
        assert of_key == sorted(of_key)
    assert await world.backlog() == 0


@virtual_time
async def test_a_reader_with_nothing_to_do_writes_nothing() -> None:
    """Each record is a commit, and there may be many subscriptions."""
    world = await a_world(5)
    sink = FakeSink(succeed)

    async with world.reader(sink):
        await until(lambda: len(sink.got) == 5)
        await settled()
        before = len(world.store.recorded)
        await asyncio.sleep(600)
        assert len(world.store.recorded) == before


@pytest.mark.slow
@virtual_time
async def test_a_dead_delivery_stays_listed() -> None:
    world = await a_world(1)
    world.tick_s = 60.0
    sink = FakeSink(lambda _: BROKEN)

    async with world.reader(sink):
        await asyncio.sleep(60 * 60 * 40)

    [state] = await deliveries(world.store, world.channel, 1)
    [status] = await world.store.subscription_status()
    assert (len(sink.got), state.state, len(state.attempts)) == (10, "dead", 10)
    assert (status.dead, status.backlog) == (1, 0)
    assert state.reason == "the target answered 500"


@pytest.mark.parametrize("outcome", [OK, BROKEN, DOWN])
def test_attempts_are_counted(outcome: Outcome) -> None:
    names: Iterable[str] = ("2xx", "5xx", "target_down")
    metrics = Metrics()

    metrics.attempt("chatwoot", outcome)

    text = metrics.text().decode()
    counted = [name for name in names if f'outcome="{name}"}} 1.0' in text]
    assert counted == [list(names)[[OK, BROKEN, DOWN].index(outcome)]]


@pytest.mark.parametrize("window", [32, 3])
@virtual_time
async def test_a_large_body_that_must_wait_holds_up_no_small_one(window: int) -> None:
    """The window takes one large body at a time; the second one waits, others do not."""
    world = await a_world()
    large = b"x" * (WINDOW_BYTES + 1)
    for n, body in enumerate([large, large, b"small", b"small"]):
        await world.store.append(world.channel.number, new_event(body, key=str(n)))
    sink = OneLargeAtATime(window=window)

    async with world.reader(sink):
        await until(lambda: sorted(sink.sequences) == [1, 3, 4])
        sink.answer_all(OK)
        await until(lambda: sorted(sink.sequences) == [1, 2, 3, 4])


class OneLargeAtATime(FakeSink):
    """Refuses a large body while another one is under way, as a session does."""

    def accepts(self, size: int) -> bool:
        others = (len(delivery.body) for delivery in self.under_way.values())
        return size <= WINDOW_BYTES or all(other <= WINDOW_BYTES for other in others)
