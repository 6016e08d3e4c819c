"""Whose conversations are handed over, and what becomes of them where Chatwoot does not help."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

from relay_chatwoot.handoff import Step
from relay_client.chatwoot.testing import FakeChatwoot, Fault, open_chatwoot
from relay_server.chatwoot import asking, away, giving
from relay_server.chatwoot.away import HandOffs
from relay_server.clock import SystemClock
from relay_server.configs import Away, ChatwootLink
from relay_server.delivery.hub import Hub
from relay_server.metrics import Metrics
from relay_server.values import MarkState, Progress, Subscription
from tests.support.events import event_head, mark, new_event
from tests.support.stores import MemoryStore, make_channel
from tests.support.waiting import until

CALLS = ("GET {}", "POST {}/messages", "GET {}/labels", "POST {}/labels", "POST {}/toggle_status")


@dataclass
class World:
    """A store whose bot is away, and its Chatwoot."""

    store: MemoryStore
    fake: FakeChatwoot
    hand_offs: HandOffs
    subscription: Subscription

    async def wrote(self, id_: int, kind: str = "message_created", **said: Any) -> None:
        """A message that came an hour ago."""
        talk = {"id": id_, "status": said.pop("status", "pending")}
        body = {"message_type": "incoming", "private": False, "conversation": talk} | said
        at, key = SystemClock().unix_ms() - 3_600_000, f"2/{id_}"
        event = new_event(json.dumps(body).encode(), kind=kind, received_at=at, key=key)
        await self.store.append(self.store.catalog.channels["chatwoot"].number, event)

    async def look(self) -> None:
        """Whatever was to be waited for is over."""
        for watched in self.hand_offs._watched.values():
            watched.again_at = 0.0
        await self.hand_offs.look()

    async def ends(self) -> list[str]:
        """How each hand-off ended, as it is written down."""
        found = await self.store.steps(self.subscription.number)
        return [one.text.partition(":")[0] for _, one in found if one.attempt == -Step.END]

    @property
    def notes(self) -> int:
        return sum(m["private"] for said in self.fake.messages.values() for m in said)


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    async with open_chatwoot() as fake:
        bot, store = fake.add_bot(9, inbox=4), MemoryStore()
        channel = await make_channel(store)
        link = ChatwootLink(fake.url, 2, 4, 9, bot["access_token"].encode())
        await store.change_channel(
            channel.name, lambda config: msgspec.structs.replace(config, chatwoot=link)
        )
        made, _ = await store.subscribe(channel.name, "bot", None, 0)
        made = await store.change_subscription(
            made.number, lambda config: msgspec.structs.replace(config, away=Away.HANDOFF)
        )
        hub = Hub(store, SystemClock(), Metrics())
        monkeypatch.setattr(hub.readers, "silent_s", lambda _number: 120.0)
        hand_offs = HandOffs(store, hub, SystemClock(), bytes)
        await hand_offs.begin()
        fake.add_conversation(318)
        yield World(store, fake, hand_offs, made)
        await hand_offs.close()
        await hub.close()
        await store.close()


@pytest.mark.parametrize(
    "said",
    [
        {"message_type": "outgoing"},
        {"private": True},
        {"status": "open"},
        {"kind": "message_updated"},
        {"conversation": 7},
    ],
)
async def test_nothing_but_a_customer_s_message_to_the_bot_waits(
    world: World, said: dict[str, Any]
) -> None:
    await world.wrote(318, **said)
    await world.look()

    assert world.fake.calls == []


async def test_a_message_that_nobody_can_read_keeps_no_other_from_people(world: World) -> None:
    """Whoever posts it could else end the server, again and again."""
    at, channel = SystemClock().unix_ms() - 3_600_000, world.store.catalog.channels["chatwoot"]
    body = b'{"event":"message_created","message_type":"\xff"}'
    event = new_event(body, kind="message_created", received_at=at, key="2/319")
    await world.store.append(channel.number, event)
    await world.wrote(318)
    await world.look()

    assert await world.ends() == ["handed over to people"]


async def test_a_look_that_fails_does_not_end_the_server(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = list[int]()

    async def look() -> None:
        looks.append(1)
        raise KeyError("what nobody thought of")

    monkeypatch.setattr(away, "LOOK_S", 0.001)
    monkeypatch.setattr(world.hand_offs, "look", look)
    running = asyncio.create_task(world.hand_offs.run())
    await until(lambda: len(looks) > 1)
    running.cancel()


async def test_what_was_settled_does_not_wait(world: World) -> None:
    claim = await world.store.claim(world.subscription.number)
    assert claim is not None
    await world.wrote(318)
    await world.wrote(318)
    world.store.record(claim, Progress(1, (mark(1), mark(2, MarkState.DEAD))))
    await world.store.flush()
    await world.look()

    assert world.fake.calls == []


@pytest.mark.parametrize("done", [False, True])
@pytest.mark.parametrize("call", CALLS)
async def test_a_call_that_fails_for_now_is_made_again(world: World, call: str, done: bool) -> None:
    """Whether or not it was carried out, nothing is seen twice."""
    world.fake.faults = [Fault(call.format("conversations/318"), 503, done=done)]
    await world.wrote(318)
    await world.look()
    assert "503" in world.hand_offs.trouble(world.subscription.number)
    await world.look()
    await world.look()

    assert (world.notes, world.fake.handed_off) == (1, [318])
    assert world.hand_offs.trouble(world.subscription.number) == ""
    assert await world.ends() == ["handed over to people"]


async def test_a_chatwoot_that_is_away_for_long_is_given_up(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then its conversation waits for its bot, and it is the next one's turn."""
    monkeypatch.setattr(giving, "MAX_TRIES", 2)
    world.fake.add_conversation(319)
    for id_ in (318, 319):
        await world.wrote(id_)
    world.fake.faults = [Fault("* conversations/318*", 500, times=99)]
    await world.look()
    assert world.fake.handed_off == []
    await world.look()

    assert world.fake.handed_off == [319]
    assert await world.ends() == ["given up", "handed over to people"]


async def test_an_older_chatwoot_s_bots_see_no_conversation(world: World) -> None:
    world.fake.version = "4.13.0"
    await world.wrote(318)
    await world.look()

    assert (world.notes, world.fake.handed_off) == (1, [318])
    steps = await world.store.steps(world.subscription.number)
    assert [one.text for _, one in steps][1].startswith("no label")


async def test_what_is_begun_is_found_again_and_finished(world: World) -> None:
    """By the next process, which knows what is written down alone."""
    world.fake.faults = [Fault("GET conversations/318/labels", 503)]
    await world.wrote(318)
    await world.look()
    world.hand_offs = HandOffs(world.store, world.hand_offs._hub, SystemClock(), bytes)
    await world.hand_offs.begin()
    await world.look()

    assert (world.notes, world.fake.handed_off) == (1, [318])
    assert world.hand_offs.handed_over(world.subscription.number) == 1


async def test_a_subscription_that_hands_over_no_more_holds_nothing_back(world: World) -> None:
    number, head = world.subscription.number, event_head(1, "2/318")
    world.fake.faults = [Fault("GET conversations/318/labels", 503)]
    await world.wrote(318)
    await world.look()
    assert world.hand_offs.may_go(number, head) is None
    await world.store.change_subscription(
        number, lambda config: msgspec.structs.replace(config, away=Away.QUEUE)
    )
    await world.look()

    assert world.hand_offs.may_go(number, head) == ""


async def test_a_bot_that_is_back_while_its_conversation_is_looked_at_keeps_it(
    world: World,
) -> None:
    number, said = world.subscription.number, list[str | None]()
    back = lambda: said.append(world.hand_offs.may_go(number, event_head(1, "2/318")))  # noqa: E731
    pending = b'{"id":318,"status":"pending"}'
    world.fake.faults = [Fault("GET conversations/318", 200, body=pending, then=back)]
    await world.wrote(318)
    await world.look()
    await world.look()

    assert said == [""]
    assert len(world.fake.calls) == 1


async def test_a_bot_that_is_back_keeps_what_is_not_begun(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even in the midst of a look."""
    hub, taken = world.hand_offs._hub, b'{"id":318,"status":"open"}'
    back = lambda: monkeypatch.setattr(hub.readers, "silent_s", lambda _number: 0.0)  # noqa: E731
    world.fake.faults = [Fault("GET conversations/318", 200, body=taken, then=back)]
    world.fake.add_conversation(319)
    for id_ in (318, 319):
        await world.wrote(id_)
    await world.look()

    assert [str(call) for call in world.fake.calls] == ["GET conversations/318"]


async def test_what_is_begun_and_cannot_be_finished_is_its_bot_s_in_the_end(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No call follows, nor another hand-off of what waited."""
    monkeypatch.setattr(asking, "ASK_S", 0.05)
    number, head = world.subscription.number, event_head(1, "2/318")
    world.fake.faults = [Fault("GET conversations/318/labels", 503, times=99)]
    await world.wrote(318)
    await world.look()
    assert world.hand_offs.may_go(number, head) is None
    await until(lambda: world.hand_offs.may_go(number, head) == "")
    await world.store.claim(number)  # its bot comes once more
    world.fake.faults.clear()
    await world.look()

    assert (world.notes, world.fake.handed_off) == (1, [])
    assert world.hand_offs.handed_over(number) == 0
