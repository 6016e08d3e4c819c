"""Of the events which tell one message, a subscription with `--once` gets the first."""

from __future__ import annotations

import json
from typing import Any, cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay_server.configs import ChannelConfig, SenderKind
from relay_server.delivery import once
from relay_server.delivery.once import TOGETHER_MS, Once, told_by
from relay_server.store.interface import Store
from relay_server.values import Channel, Event
from tests.support.chatwoot import fixture
from tests.support.clock import START_MS
from tests.support.events import BROKEN, OK, event_head, new_event
from tests.support.sinks import FakeSink
from tests.support.stores import progress_of
from tests.support.virtual_time import virtual_time
from tests.support.waiting import settled, until
from tests.unit.delivery.support import World, a_world, succeed

Json = dict[str, Any]
CREATED, UPDATED = "message_created", "message_updated"
INCOMING = json.loads(fixture("message_created_incoming"))


def body(message: int = 1, **fields: Any) -> bytes:
    """A message as one webhook tells it."""
    told = {**INCOMING, "id": message, **fields}
    return json.dumps(told, ensure_ascii=False).encode()


def event(raw: bytes, kind: str = CREATED, sequence: int = 1, at: int = START_MS) -> Event:
    head = msgspec.structs.replace(event_head(sequence), kind=kind, received_at=at)
    return Event(1, head, raw)


def with_row(**fields: Any) -> Json:
    """A conversation that shows the message's row."""
    return {"conversation": {**INCOMING["conversation"], "messages": [{"id": 1, **fields}]}}


def talk(**fields: Any) -> Json:
    """A conversation that shows other things of itself."""
    return {"conversation": {**INCOMING["conversation"], **fields}}


def firsts() -> Once:
    return Once(cast("Store", None), Channel(1, "chatwoot", ChannelConfig(), 0), "ana")


def test_what_conversations_count_on_is_no_part_of_what_is_told() -> None:
    """Its webhooks are made at different moments, and its sender's fields may differ."""
    other = body(**talk(unread_count=9, last_activity_at=5, messages=[]), sender=None)
    assert told_by(event(body(**talk(messages=[])))) == told_by(event(other))
    one, two = body(**talk(messages=[])), body(**talk(messages=[], unread_count=7))
    assert told_by(event(one, UPDATED)) == told_by(event(two, UPDATED))


@pytest.mark.parametrize(
    "fields",
    [
        {"content": "otra"},
        {"content_attributes": {"deleted": True}},
        {"attachments": [{"id": 1, "transcribed_text": "oi"}]},
        {"private": True},
        with_row(status="read"),
        with_row(updated_at="2026-07-02T13:45:31.000Z"),
    ],
)
def test_an_update_that_says_something_else_is_not_the_same(fields: Json) -> None:
    known = firsts()
    assert known.first_of(event(body(), UPDATED)) == ""
    assert known.first_of(event(body(**fields), UPDATED, 2)) == ""
    assert known.first_of(event(body(), UPDATED, 3)) == "", "it was changed back"


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"message": 2}, CREATED),
        ({"account": {"id": 9}}, CREATED),
        (talk(id=9), CREATED),
        ({"created_at": "2026-07-02T13:45:31.482Z"}, CREATED),
        ({}, UPDATED),
    ],
)
def test_other_messages_and_kinds_are_apart(fields: Json, kind: str) -> None:
    known = firsts()
    known.first_of(event(body()))
    assert known.first_of(event(body(**fields), kind, 2)) == ""


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        (body(), "automation_event.message_created"),
        (body(account=None), CREATED),
        (b"[]", CREATED),
        (b"\xff{", CREATED),
        (b"[" * 100_000, CREATED),
        (body(content="x" * 262_144), CREATED),
    ],
)
def test_what_tells_no_message_always_goes(raw: bytes, kind: str) -> None:
    known = firsts()
    assert [known.first_of(event(raw, kind, sequence)) for sequence in (1, 2)] == ["", ""]


def test_what_comes_much_later_is_told_anew() -> None:
    known = firsts()
    known.first_of(event(body()))
    assert known.first_of(event(body(), sequence=2, at=START_MS + TOGETHER_MS)) != ""
    assert known.first_of(event(body(), sequence=3, at=START_MS + TOGETHER_MS + 1)) == ""


@given(told=st.lists(st.tuples(st.integers(1, 5), st.booleans(), st.booleans())))
def test_each_message_is_told_first_once_and_changes_are_never_lost(
    told: list[tuple[int, bool, bool]],
) -> None:
    """A tried one is asked about again, and remains the first."""
    known, seen, last = firsts(), set[int](), dict[int, bool]()
    for sequence, (message, update, text) in enumerate(told, 1):
        one = event(body(message, content=text), UPDATED if update else CREATED, sequence)
        is_first = not known.first_of(one)
        if update:
            assert is_first == (last.get(message) is not text)
            last[message] = text
        else:
            assert is_first == (message not in seen)
            seen.add(message)
        if is_first:
            assert known.first_of(one) == ""


def test_only_so_many_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(once, "MAX_FAMILIES", 2)
    known = firsts()
    for message in (1, 2, 3):
        known.first_of(event(body(message), sequence=message))
    assert [known.first_of(event(body(m), sequence=9)) != "" for m in (3, 2, 1)] == [1, 1, 0]


async def a_world_told_once(sender: SenderKind = SenderKind.CHATWOOT) -> World:
    world = await a_world(0)
    world.channel = await world.store.change_channel(
        world.channel.name, lambda c: msgspec.structs.replace(c, sender=sender)
    )
    world.subscription = await world.store.change_subscription(
        world.subscription.number, lambda c: msgspec.structs.replace(c, once=True, filtered=True)
    )
    return world


async def tell(world: World, *messages: int) -> None:
    for message in messages:
        await world.store.append(world.channel.number, new_event(body(message), id=None))


@virtual_time
@pytest.mark.parametrize("handed_along", [True, False])
async def test_a_message_told_three_times_is_delivered_once(handed_along: bool) -> None:
    """The others are listed as skipped, with the reason, and can be replayed."""
    world, sink = await a_world_told_once(), FakeSink(succeed)
    world.handed_along = handed_along
    async with world.reader(sink) as reader:
        await tell(world, 1, 2, 1, 1, 3, 2)
        await until(lambda: len(sink.got) == 3)
        await settled()
        assert await world.states(*range(1, 7)) == [
            *("delivered", "delivered", "skipped", "skipped", "delivered", "skipped")
        ]
        assert await world.backlog() == 0
        await world.replay(reader, sequences=(3,))
        await until(lambda: len(sink.got) == 4)
        await settled()

    assert sink.sequences == [1, 2, 5, 3]
    [[state, *_]] = await world.store.deliveries(world.channel.number, [4])
    assert state.reason == f"the same message as {sink.got[0].event.id}"
    assert state.attempts == ()
    assert (await progress_of(world.store, world.subscription.number)).floor == 6


@virtual_time
@pytest.mark.parametrize(("back", "again"), [(256, []), (2, [4])])
async def test_who_comes_next_looks_back(
    back: int, again: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(once, "LOOK_BACK", back)
    world, sink = await a_world_told_once(), FakeSink(succeed)
    async with world.reader(sink):
        await tell(world, 1, 2, 3)
        await until(lambda: len(sink.got) == 3)
    async with world.reader(sink):
        await tell(world, 1, 2, 3)
        await until(lambda: len(sink.got) == 3 + len(again))
        await settled()
        assert await world.backlog() == 0
    assert sink.sequences == [1, 2, 3, *again]


@virtual_time
async def test_what_was_not_delivered_makes_nothing_the_same() -> None:
    """One that a filter left out, or somebody skipped, was told to nobody."""
    world, sink = await a_world_told_once(), FakeSink(succeed)
    await tell(world, 1)
    await world.store.skip(world.subscription.number, 1)
    async with world.reader(sink):
        await tell(world, 1)
        await until(lambda: sink.sequences == [2])


@virtual_time
async def test_one_that_fails_is_tried_again_and_the_others_are_not_tried() -> None:
    world = await a_world_told_once()
    sink = FakeSink(lambda d: OK if d.attempt == 3 else BROKEN)
    async with world.reader(sink):
        await tell(world, 1, 1)
        await until(lambda: len(sink.got) == 3, within_s=100)
        await until(lambda: not world.store._pending.waiting)
        assert sink.sequences == [1, 1, 1]
        assert await world.states(1, 2) == ["delivered", "skipped"]


@virtual_time
async def test_it_is_for_chatwoots_messages_and_ends_when_it_is_set_so() -> None:
    world, sink = await a_world_told_once(SenderKind.OTHER), FakeSink(succeed)
    async with world.reader(sink) as reader:
        await tell(world, 1, 1)
        await until(lambda: sink.sequences == [1, 2])
        channel = msgspec.structs.replace(world.channel, config=ChannelConfig())
        reader.configure(channel, world.subscription)
        await tell(world, 1, 2)
        await until(lambda: sink.sequences == [1, 2, 4])
        config = msgspec.structs.replace(world.subscription.config, once=False)
        reader.configure(channel, msgspec.structs.replace(world.subscription, config=config))
        await tell(world, 2)
        await until(lambda: sink.sequences == [1, 2, 4, 5])


@virtual_time
async def test_a_store_that_cannot_be_read_back_holds_all_up_until_it_can() -> None:
    world, sink = await a_world_told_once(), FakeSink(succeed)
    world.store.away_for = {"outlines"}
    await tell(world, 1, 1)
    async with world.reader(sink):
        await settled()
        assert not sink.got
        world.store.away_for = set()
        await until(lambda: sink.sequences == [1], within_s=20)
