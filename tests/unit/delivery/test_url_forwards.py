"""Forwards come, go, wait for the store and come back, against a hub that does as it is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import cast

import pytest

from relay_protocol.values import Response
from relay_server.configs import ForwardConfig, SubscriptionConfig
from relay_server.delivery.hub import Hub
from relay_server.delivery.url import forwards as forwards_module
from relay_server.delivery.url.forwards import ELSEWHERE, Forwards
from relay_server.delivery.url.push import Push
from relay_server.errors import ChannelNotFound, StoreUnavailable
from relay_server.store.feed import Feed, SubscriptionChanged, SubscriptionGone
from relay_server.values import Subscription
from tests.support.clock import START_MS
from tests.support.pushes import LOOPBACK, FakeInbox, FakeNames, allowing, unseal
from tests.support.raw_target import OK, make_delivery, raw_target
from tests.support.virtual_time import running_clock, virtual_time
from tests.support.waiting import settled, until


@dataclass
class FakeHub:
    """Remembers who joined, in order.

    Attributes:
        troubles: Raised by the next joins, one each.
        slow: Joins wait for it, if it is set.
        elsewhere: Subscriptions that another server reads.
    """

    joined: list[Push] = field(default_factory=list)
    started: list[FakeInbox] = field(default_factory=list)
    removed: list[Push] = field(default_factory=list)
    tried: list[Push] = field(default_factory=list)
    troubles: list[Exception] = field(default_factory=list)
    slow: asyncio.Event | None = None
    elsewhere: set[int] = field(default_factory=set)

    def read_elsewhere(self, number: int) -> bool:
        return number in self.elsewhere

    async def join_forward(self, push: Push, subscription: Subscription) -> FakeInbox:
        self.tried.append(push)
        if self.slow is not None:
            await self.slow.wait()
        if self.troubles:
            raise self.troubles.pop(0)
        self.joined.append(push)
        return FakeInbox()

    def start(self, reader: FakeInbox, _push: Push) -> None:
        self.started.append(reader)

    def remove(self, push: Push) -> None:
        self.removed.append(push)


def subscription(number: int = 1, url: str = "http://localhost:1", **config: float) -> Subscription:
    """A forward as the store has it."""
    forward = ForwardConfig(url, timeout_s=config.get("timeout_s", 30.0))
    return Subscription(
        number, "chatwoot", f"forward{number}", START_MS, SubscriptionConfig(forward=forward)
    )


@pytest.fixture(autouse=True)
def again_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """A start that failed is tried again soon."""
    monkeypatch.setattr(forwards_module, "START_AGAIN_S", 0.01)
    monkeypatch.setattr(forwards_module, "ELSEWHERE_LOOK_S", 0.01)


@asynccontextmanager
async def keeping(hub: FakeHub) -> AsyncIterator[Forwards]:
    """Forwards that are closed at the end."""
    names = FakeNames({"localhost": ["127.0.0.1"]})
    forwards = Forwards(cast(Hub, hub), allowing(LOOPBACK), unseal, resolve=names.resolve)
    try:
        yield forwards
    finally:
        await forwards.close(0)


async def ended(forwards: Forwards, number: int = 1) -> None:
    """Wait until a forward is not tried again."""
    task = forwards._kept[number].task
    assert task is not None
    await until(task.done)


async def test_a_forward_joins_and_delivers() -> None:
    """Its results go to the reader that the hub made."""
    hub = FakeHub()
    async with raw_target() as server, keeping(hub) as forwards:
        forwards.start(subscription(7, f"http://localhost:{server.port}"))
        assert forwards.running == frozenset()
        assert forwards.why_waiting(7) == "it is starting"
        await until(lambda: hub.started)
        assert forwards.running == {7}
        assert forwards.why_waiting(7) == ""
        hub.joined[0].deliver(make_delivery())

        assert (await hub.started[0].result("dlv_1")).delivered


async def test_why_a_forward_waits_is_told() -> None:
    """In the words of the push; what is no forward waits for nothing."""
    hub = FakeHub()
    async with keeping(hub) as forwards:
        forwards.start(subscription(1, "http://localhost:1"))
        await until(lambda: hub.started)
        hub.joined[0].deliver(make_delivery())
        await until(lambda: forwards.why_waiting(1))

        assert forwards.why_waiting(1) == "localhost:1 does not take connections"
        assert forwards.running == {1}
        assert forwards.why_waiting(2) == ""


async def test_a_store_that_is_away_is_asked_again() -> None:
    """Each failed push is let go of."""
    hub = FakeHub(troubles=[StoreUnavailable("the disk is busy")] * 3)
    async with keeping(hub) as forwards:
        forwards.start(subscription())
        await until(lambda: forwards.why_waiting(1) == "the disk is busy")
        await until(lambda: hub.started)

        assert len(hub.tried) == 4
        assert hub.removed == hub.tried[:3]
        assert forwards.running == {1}
        assert forwards.why_waiting(1) == ""


async def test_an_error_of_our_own_is_loud_and_tried_again() -> None:
    """A forward that is quietly dead would be found by nobody."""
    hub = FakeHub(troubles=[ZeroDivisionError()])
    async with keeping(hub) as forwards:
        forwards.start(subscription())
        await until(lambda: hub.started)

        assert forwards.running == {1}


async def test_a_channel_that_is_gone_ends_its_forward() -> None:
    """Nothing is tried again, and the reason stays."""
    hub = FakeHub(troubles=[ChannelNotFound("chatwoot")])
    async with keeping(hub) as forwards:
        forwards.start(subscription())
        await ended(forwards)

        assert forwards.running == frozenset()
        assert "chatwoot" in forwards.why_waiting(1)
        assert len(hub.tried) == 1
        forwards.start(subscription())  # somebody made it anew
        await until(lambda: hub.started)


async def test_a_push_that_is_sent_away_comes_back_as_another() -> None:
    """After the time that it was told, with nothing under way."""
    hub = FakeHub()
    async with keeping(hub) as forwards:
        forwards.start(subscription())
        await until(lambda: hub.started)
        hub.joined[0].go_away("the server met an error", 0.01)
        await until(lambda: len(hub.started) == 2)

        assert hub.removed == hub.joined[:1]
        assert hub.joined[0] is not hub.joined[1]


async def test_a_forward_that_was_taken_over_does_not_fight_back() -> None:
    """It says who has it, until somebody starts it again."""
    hub = FakeHub()
    async with keeping(hub) as forwards:
        forwards.start(subscription())
        await until(lambda: hub.started)
        hub.joined[0].taken_over("forward1", "laptop")
        await ended(forwards)

        assert hub.removed == hub.joined
        assert forwards.why_waiting(1) == "forward1 is read from laptop now"
        assert len(hub.tried) == 1


async def test_what_another_server_runs_is_run_here_once_that_is_gone() -> None:
    """Before it was begun here, and after it was taken over."""
    hub = FakeHub(elsewhere={1})
    async with keeping(hub) as forwards:
        forwards.start(subscription())
        await until(lambda: forwards.why_waiting(1) == ELSEWHERE)
        assert not hub.tried
        hub.elsewhere.clear()
        await until(lambda: hub.started)

        hub.elsewhere.add(1)
        hub.joined[0].taken_over("forward1", "")
        await until(lambda: forwards.why_waiting(1) == ELSEWHERE)
        hub.elsewhere.clear()
        await until(lambda: len(hub.started) == 2)


async def test_starting_what_runs_changes_nothing_and_others_are_no_forwards() -> None:
    """One push for each."""
    hub = FakeHub()
    async with keeping(hub) as forwards:
        forwards.start(subscription())
        forwards.start(subscription())
        forwards.start(Subscription(2, "chatwoot", "ana", START_MS))
        await until(lambda: hub.started)
        await settled()

        assert len(hub.tried) == 1
        assert forwards.running == {1}


async def test_stopping_finishes_what_is_under_way_before_the_next_begins() -> None:
    """So a change of configuration sends nothing twice."""
    hub = FakeHub()
    answer = asyncio.Event()

    async def think(_: bytes, writer: asyncio.StreamWriter) -> None:
        await answer.wait()
        writer.write(OK)

    async with raw_target() as server, keeping(hub) as forwards:
        server.answer = think
        url = f"http://localhost:{server.port}"
        forwards.start(subscription(1, url))
        await until(lambda: hub.started)
        hub.joined[0].deliver(make_delivery())
        await until(lambda: server.requests)
        feed = Feed()
        forwards.follow(feed)
        feed.tell(SubscriptionChanged(subscription(1, url, timeout_s=60.0)))
        await settled()
        assert hub.removed == []
        assert len(hub.tried) == 1
        answer.set()
        await until(lambda: len(hub.started) == 2)

    assert hub.started[0].outcomes["dlv_1"].delivered
    assert hub.removed[0] is hub.joined[0]


async def test_stopping_one_that_is_joining_removes_it() -> None:
    """The hub may know it already."""
    hub = FakeHub(slow=asyncio.Event())
    async with keeping(hub) as forwards:
        forwards.start(subscription())
        await until(lambda: hub.tried)
        feed = Feed()
        forwards.follow(feed)
        feed.tell(SubscriptionGone(1))
        feed.tell(SubscriptionGone(1))
        await until(lambda: hub.removed)

        assert hub.removed == hub.tried
        assert forwards.running == frozenset()
        assert forwards.why_waiting(1) == ""


async def test_closing_stops_all() -> None:
    """Also those that never got to run."""
    hub = FakeHub()
    async with keeping(hub) as forwards:
        for number in (1, 2):
            forwards.start(subscription(number))
        await until(lambda: len(hub.started) == 2)
        forwards.start(subscription(3))
        await forwards.close(0)

        assert {id(push) for push in hub.removed} == {id(push) for push in hub.joined}
        assert forwards.running == frozenset()


async def test_a_forward_that_cannot_be_is_told() -> None:
    """Its header's key may be lost, for one; it is tried again."""
    hub = FakeHub()
    url = "http://localhost:1/?x"  # stands for any configuration that has become impossible
    async with keeping(hub) as forwards:
        forwards.start(subscription(1, url))
        await until(lambda: "the path" in forwards.why_waiting(1))

        assert hub.tried == []


class Thinking:
    """A poster whose target never answers."""

    async def post(self, _: object) -> Response:
        await asyncio.get_running_loop().create_future()
        raise AssertionError

    def close(self) -> None: ...


@virtual_time
@pytest.mark.parametrize("ends", ["stop", "close"])
async def test_what_is_under_way_of_a_changed_forward_gets_so_long(ends: str) -> None:
    hub, names = FakeHub(), FakeNames({"localhost": ["127.0.0.1"]})
    forwards = Forwards(cast(Hub, hub), allowing(LOOPBACK), unseal, resolve=names.resolve)
    forwards.start(subscription())
    await until(lambda: hub.started)
    hub.joined[0]._poster = Thinking()  # type: ignore[assignment]
    hub.joined[0].deliver(make_delivery())
    await settled()
    began = running_clock().now

    if ends == "stop":
        forwards._drop(1)
        await until(lambda: hub.removed, within_s=20)
    await forwards.close()

    assert running_clock().now - began == pytest.approx(10.0, abs=0.1)
    assert hub.removed == hub.joined
