"""Chatwoot's messages: which come twice, and a bot that answers its own, told from one in parts."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest

from relay_protocol.messages import Wanted
from relay_protocol.values import Delivery
from relay_server.chatwoot import messages
from relay_server.chatwoot.loops import ROUNDS
from relay_server.chatwoot.messages import Messages
from relay_server.configs import SenderKind
from relay_server.delivery.hub import Hub
from relay_server.delivery.reader import Reader
from relay_server.metrics import Metrics
from relay_server.values import Subscription
from tests.support.events import OK, new_event
from tests.support.stores import MemoryStore, make_channel
from tests.support.virtual_time import running_clock, virtual_time
from tests.unit.server.support import FakePeer

LOOP = "its bot answers its own messages, as in conversation 2/318"
SENDERS: dict[str, Any] = {
    "customer": {"message_type": "incoming", "sender": {"id": 1, "type": "contact"}},
    "bot": {"message_type": "outgoing", "sender": {"id": 9, "type": "agent_bot"}},
    "agent": {"message_type": "outgoing", "sender": {"id": 5, "type": "user"}},
}


@dataclass(eq=False)
class Bot(FakePeer):
    """Takes what is delivered, and does then what it does: `answers` is called with each message.

    Attributes:
        answers: Whatever it posts, and when.
        thinks_s: Before it answers the webhook; 0 for at once.
        by: As whom it posts.
    """

    answers: Callable[[str], Sequence[float]] = lambda _by: ()
    thinks_s: float = 0.0
    by: str = "bot"
    world: World | None = None
    reader: Reader | None = None
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    @property
    def credit(self) -> int:
        return 32

    def accepts(self, size: int) -> bool:
        return True

    def deliver(self, delivery: Delivery) -> None:
        super().deliver(delivery)
        self.tasks.append(asyncio.create_task(self._take(delivery)))

    def flush(self) -> None:
        pass

    async def _take(self, delivery: Delivery) -> None:
        assert self.world is not None
        assert self.reader is not None
        body = json.loads(delivery.body)
        by, talk = body["message_type"], body["conversation"]["id"]
        self.tasks.append(asyncio.create_task(self._write(by, talk)))
        thinks_s = self.thinks_s if self.answers(by) else 0.0
        await asyncio.sleep(thinks_s)
        outcome = msgspec.structs.replace(OK, elapsed_ms=round(1_000 * thinks_s))
        self.reader.finish(self, delivery.id, outcome)

    async def _write(self, by: str, talk: int) -> None:
        assert self.world is not None
        for after_s in self.answers(by):
            await asyncio.sleep(after_s)
            await self.world.says(self.by, talk=talk)


@dataclass
class World:
    """A hub that runs, and whoever reads its channel's messages."""

    store: MemoryStore
    hub: Hub
    said: list[tuple[str, int]] = field(default_factory=list)  # by whom, and its sequence

    async def join(self, bot: Bot, name: str = "bot") -> Bot:
        bot.world = self
        self.hub.add(bot)
        _, bot.reader = await self.hub.join(bot, Wanted("chatwoot"), name)
        self.hub.start(bot.reader, bot)
        return bot

    async def says(self, by: str, message: int | None = None, talk: int = 318) -> int:
        """A message; another webhook about it where its number is given."""
        number = message or len(self.said) + 1
        body = {"id": number, "account": {"id": 2}, "conversation": {"id": talk}, **SENDERS[by]}
        at = running_clock().unix_ms()
        event = new_event(json.dumps(body).encode(), key=f"2/{talk}", received_at=at)
        channel = self.store.catalog.channels["chatwoot"].number
        stored = await self.store.append(channel, event)
        self.said.append((by, stored.sequence))
        return number

    async def paused(self) -> dict[str, str]:
        """Why, by name."""
        return {s.name: s.config.paused for s in await self.store.subscriptions("chatwoot")}

    async def set(self, name: str, **changes: Any) -> None:
        [found] = [s for s in await self.store.subscriptions("chatwoot") if s.name == name]
        await self.store.change_subscription(
            found.number, lambda config: msgspec.structs.replace(config, **changes)
        )

    async def subscription(self) -> Subscription:
        [found] = await self.store.subscriptions("chatwoot")
        return found


@asynccontextmanager
async def world(sender: SenderKind = SenderKind.CHATWOOT) -> AsyncIterator[World]:
    store = MemoryStore()
    channel = await make_channel(store)
    await store.change_channel(
        channel.name, lambda config: msgspec.structs.replace(config, sender=sender)
    )
    hub = Hub(store, running_clock(), Metrics())
    watching = Messages(store, hub, running_clock())
    running = [asyncio.create_task(hub.run()), asyncio.create_task(watching.run())]
    w = World(store, hub)
    try:
        yield w
        assert not any(task.done() for task in running)
    finally:
        for task in running:
            task.cancel()
        await watching.close()
        await hub.close()


def to_all(after_s: float) -> Callable[[str], Sequence[float]]:
    """Answers whatever it gets."""
    return lambda _by: (after_s,)


def in_parts(*after_s: float) -> Callable[[str], Sequence[float]]:
    """Answers customers, in parts."""
    return lambda by: after_s if by == "incoming" else ()


@pytest.mark.parametrize("after_s", [0.05, 0.8, 6.0])
@pytest.mark.parametrize("synchronous", [False, True])
@virtual_time
async def test_a_bot_that_answers_its_own_messages_is_paused(
    after_s: float, synchronous: bool
) -> None:
    """Whether it answers 200 first or last; somebody has it go on by hand."""
    async with world() as w:
        bot = Bot(answers=to_all(after_s), thinks_s=after_s + 0.1 if synchronous else 0.0)
        await w.join(bot)
        await w.says("customer")
        await asyncio.sleep(300)
        assert await w.paused() == {"bot": LOOP}
        assert bot.told == [f"{LOOP}, 1"]
        bots = [by for by, _ in w.said if by == "bot"]
        assert len(bots) == 1 + ROUNDS
        assert len(bot.got) < len(w.said)

        await w.set("bot", paused="", pause_loops=False)
        before = len(w.said)
        await asyncio.sleep(10)
        assert len(w.said) > before
        assert await w.paused() == {"bot": ""}
        await w.set("bot", paused="by hand")


@pytest.mark.parametrize(
    "parts",
    [
        *((0.05,) * 8, (1.0,) * 12, (3.0,) * 8, (1.0,) * 3),
        (1.0, 4.0, 0.5, 2.0, 6.0, 1.0, 1.0),
        (1.0, 1.0, 1.0, 3.0, 1.0, 3.0, 3.0, 1.0),
    ],
)
@pytest.mark.parametrize("thinks_s", [0.0, 0.4, 30.0])
@virtual_time
async def test_a_bot_that_answers_in_parts_is_let_alone(
    parts: tuple[float, ...], thinks_s: float
) -> None:
    """And has all of it back; the customer's next message waits for nothing."""
    async with world() as w:
        bot = await w.join(Bot(answers=in_parts(*parts), thinks_s=thinks_s))
        for _ in range(3):
            await w.says("customer")
            await asyncio.sleep(sum(parts) + 60)
        assert len(bot.got) == len(w.said) == 3 * (1 + len(parts))
        assert await w.paused() == {"bot": ""}


@virtual_time
async def test_a_bot_that_answers_several_customers_at_once_is_let_alone() -> None:
    """Their messages lie between its own in time, each conversation has one of it in a row."""
    async with world() as w:
        bot = await w.join(Bot(answers=in_parts(0.3)))
        for _ in range(5):
            for talk in range(20):
                await w.says("customer", talk=talk)
            await asyncio.sleep(0.5)
        assert len(bot.got) == len(w.said) == 2 * 5 * 20  # at once: nothing is on trial
        assert await w.paused() == {"bot": ""}


@virtual_time
async def test_so_many_parts_as_a_bot_was_seen_to_send_are_held_back_no_more() -> None:
    """Once it answers itself it is paused all the same, three rounds after them."""
    async with world() as w:
        bot = Bot(answers=in_parts(1.0, 1.0, 1.0))
        await w.join(bot)
        await w.says("customer", talk=1)
        await asyncio.sleep(60)
        await w.says("customer", talk=2)
        await asyncio.sleep(3.1)
        assert len(bot.got) == len(w.said) == 2 * 4
        bot.answers = to_all(1.0)
        await w.says("customer", talk=3)
        await asyncio.sleep(300)
        assert (await w.paused())["bot"].endswith("2/3")
        assert len(w.said) == 2 * 4 + 1 + 3 + ROUNDS


@virtual_time
async def test_a_person_who_writes_fast_is_no_loop() -> None:
    async with world() as w:
        bot = await w.join(Bot())
        for pause in (1.0, 2.0, 1.5, 3.5, 6.0, 2.0, 9.0, 7.0, 2.0, 2.0, 4.0, 5.0, 5.0, 8.0):
            await w.says("agent")
            await asyncio.sleep(pause)
        await asyncio.sleep(60)
        assert len(bot.got) == 14
        assert await w.paused() == {"bot": ""}


@virtual_time
async def test_a_person_who_writes_twice_is_waited_for_by_nobody() -> None:
    async with world() as w:
        bot = await w.join(Bot())
        for _ in range(2):
            await w.says("agent")
            await asyncio.sleep(3.0)
        assert len(bot.got) == 2


@virtual_time
async def test_a_bot_that_posts_as_a_person_is_paused_a_message_later() -> None:
    async with world() as w:
        await w.join(Bot(answers=to_all(1.0), by="agent"))
        await w.says("customer")
        await asyncio.sleep(300)
        assert await w.paused() == {"bot": LOOP}
        assert [by for by, _ in w.said] == ["customer", *["agent"] * (2 + ROUNDS)]


@virtual_time
async def test_of_several_the_one_is_paused_whose_bot_it_is() -> None:
    """Two events for each message change nothing of that."""
    async with world() as w:
        innocent = await w.join(Bot(answers=in_parts(1.0)), "a")
        await w.join(Bot(answers=to_all(0.7)), "b")
        await w.join(Bot(), "c")
        await w.says("customer")
        await asyncio.sleep(300)
        assert await w.paused() == {"a": "", "b": LOOP, "c": ""}
        assert len(innocent.got) == len(w.said)


@virtual_time
async def test_what_a_customer_writes_meanwhile_is_delivered_at_once() -> None:
    async with world() as w:
        bot = await w.join(Bot(answers=in_parts(*(4.0,) * 3)))
        await w.says("customer")
        await asyncio.sleep(4.0 * 3 + 1)  # on trial: what follows the first part is held
        assert len(bot.got) == 2
        await w.says("customer")
        await asyncio.sleep(0.1)
        assert len(bot.got) == len(w.said) == 2 + 3


@virtual_time
async def test_another_sender_s_messages_are_nobody_s_business() -> None:
    async with world(SenderKind.OTHER) as w:
        bot = await w.join(Bot(answers=to_all(1.0)))
        await w.says("customer")
        await asyncio.sleep(60)
        assert len(bot.got) > 50
        await w.set("bot", paused="by hand")


@virtual_time
async def test_who_gets_a_message_twice_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(messages, "TWICE_S", 60)
    async with world() as w:
        bot = await w.join(Bot())
        number = (await w.subscription()).number
        await w.says("customer", message=await w.says("customer"))
        await asyncio.sleep(1)
        twice = w.hub.told_twice(number)
        assert twice == tuple(delivery.event.id for delivery in bot.got)
        granted, _ = await w.hub.join(bot, Wanted("chatwoot"), "bot")
        assert granted.told_twice == twice
        await asyncio.sleep(60)
        assert w.hub.told_twice(number) == ()


@pytest.mark.parametrize("changes", [{"once": True}, {"filter": "from:bot"}])
@virtual_time
async def test_who_gets_it_once_is_not_told(changes: dict[str, Any]) -> None:
    async with world() as w:
        await w.join(Bot())
        await w.set("bot", **changes)
        await w.says("customer", message=await w.says("customer"))
        await asyncio.sleep(1)
        assert w.hub.told_twice((await w.subscription()).number) == ()
