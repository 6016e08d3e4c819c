"""What is kept of an answer, how long a URL may be, how often a forward looks for its target."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from relay_protocol.values import Response
from relay_server.delivery.allow import MAX_URL_CHARS, Allowlist, read_url
from relay_server.delivery.forwards import Forwards
from relay_server.delivery.push import Push
from relay_server.errors import MAX_RETRY_AFTER_S, InvalidValue, TooMany
from tests.support.pushes import LOOPBACK, FakeInbox, FakeNames, unseal
from tests.support.raw_target import make_delivery
from tests.support.virtual_time import running_clock, virtual_time
from tests.support.waiting import settled, until
from tests.unit.delivery.test_forwards import FakeHub, subscription


def test_a_url_is_so_long_and_no_longer() -> None:
    longest = "http://bot:8001/".ljust(MAX_URL_CHARS, "x")

    assert read_url(longest).host == "bot"
    with pytest.raises(InvalidValue, match="at most"):
        read_url(longest + "x")


@pytest.mark.parametrize(("wait_s", "said"), [(MAX_RETRY_AFTER_S * 9, 3_600), (61.2, 62)])
def test_nobody_is_told_to_stay_away_for_more_than_an_hour(wait_s: float, said: int) -> None:
    assert TooMany("too many", wait_s).retry_after_s == said


class Inbox:
    """A reader that is told when it may go on."""

    def __init__(self) -> None:
        self.free = asyncio.Event()

    def hold(self, *_: object) -> None: ...

    def let_go(self, *_: object) -> None:
        self.free.set()


class Down:
    """A poster whose target is down for a while."""

    def __init__(self, looks: int) -> None:
        self.left = looks
        self.looked_at: list[float] = []

    async def look(self) -> str:
        self.looked_at.append(running_clock().now)
        self.left -= 1
        return "down" if self.left else ""


@virtual_time
async def test_looks_are_a_second_apart_and_later_five() -> None:
    push = object.__new__(Push)
    poster, inbox = Down(looks=12), Inbox()
    push._poster, push._inbox = poster, inbox  # type: ignore[assignment]
    push._loop, push.host, push.why_waiting = asyncio.get_running_loop(), "bot", "down"
    began = running_clock().now

    push._start_looking()
    await inbox.free.wait()

    pauses = [after - before for before, after in itertools.pairwise([began, *poster.looked_at])]
    assert pauses[0] == pytest.approx(1.0)
    assert pauses == sorted(pauses)
    assert pauses[-3:] == pytest.approx([5.0] * 3)


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
    forwards = Forwards[FakeInbox](hub, Allowlist.parse(LOOPBACK), unseal, resolve=names.resolve)
    forwards.start(subscription())
    await until(lambda: hub.started)
    hub.joined[0]._poster = Thinking()  # type: ignore[assignment]
    hub.joined[0].deliver(make_delivery())
    await settled()
    began = running_clock().now

    await (forwards.stop(1) if ends == "stop" else forwards.close())

    assert running_clock().now - began == pytest.approx(10.0)
    assert hub.removed == hub.joined
