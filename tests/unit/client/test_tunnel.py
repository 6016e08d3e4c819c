"""The tunnel against a real WebSocket server with the server's own state machine."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from relay_client import absence, tunnel
from relay_client.backoff import Backoff
from relay_client.notices import (
    Connected,
    Lost,
    Notice,
    Resumed,
    Settled,
    Slept,
    StillAway,
    Waiting,
)
from relay_client.relay import Relay
from relay_client.tunnel import Tunnel
from relay_http.poster import Posted
from relay_http.target import Target
from relay_protocol.client_session import ClientEffect, ClientSession
from relay_protocol.limits import WINDOW_DELIVERIES
from relay_protocol.messages import CloseCode, Follows, Goaway, Hello, Verdict, Wanted
from relay_protocol.values import Delivery, Failure, FailureKind, Outcome, Response
from tests.support.raw_target import make_delivery
from tests.support.virtual_time import running_clock, virtual_time
from tests.support.waiting import until
from tests.unit.client.support import TOKEN, FakeRelay, fake_relay


class FakePoster:
    """A target that answers when the test says so."""

    target = Target("localhost", 8000)

    def __init__(self) -> None:
        self.posted: list[Delivery] = []
        self.outcome: Outcome = Response(200, elapsed_ms=3)
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.listening = asyncio.Event()

    def begin(self, delivery: Delivery, ended: Callable[[Posted], None]) -> None:
        ended(self._post(delivery))

    async def _post(self, delivery: Delivery) -> Outcome:
        self.posted.append(delivery)
        await self.may_answer.wait()
        return self.outcome

    async def until_listening(self) -> None:
        await self.listening.wait()


class Client:
    """A tunnel, its session and what it told."""

    def __init__(
        self,
        relay: FakeRelay,
        *,
        heartbeat_s: float = 15.0,
        url: str = "",
        batches: bool = True,
        verdicts: bool = False,
    ) -> None:
        self.notices: list[Notice] = []
        self.poster = FakePoster()
        self.draws: list[float] = []
        self.slept_s = 0.0  # how far the wall clock is ahead
        wanted, agreed = (Wanted("chatwoot"),), {"batches": batches, "verdicts": verdicts}
        hello = Hello("1.0", "laptop", wanted, WINDOW_DELIVERIES, **agreed)
        self.session = ClientSession(hello, 8, heartbeat_s=heartbeat_s)
        self.tunnel = Tunnel(
            Relay(url or relay.url, TOKEN),
            self.session,
            {"chatwoot": self.poster},
            self.notices.extend,
            backoff=Backoff(self._draw),
            wall=lambda: time.time() + self.slept_s,
            look_s=0.01,
        )
        self.running = asyncio.create_task(self.tunnel.run())

    def told(self, kind: type[Notice]) -> list[Notice]:
        return [notice for notice in self.notices if isinstance(notice, kind)]

    def _draw(self, low: float, high: float) -> float:
        self.draws.append(high)
        return min(high, 0.01)


@asynccontextmanager
async def connected(
    *, heartbeat_s: float = 15.0, autoping: bool = True, verdicts: bool = False
) -> AsyncIterator[tuple[FakeRelay, Client]]:
    """A client that is connected to a relay."""
    async with fake_relay() as relay:
        relay.autoping, relay.verdicts = autoping, verdicts
        async with running(Client(relay, heartbeat_s=heartbeat_s, verdicts=verdicts)) as client:
            await until(lambda: client.told(Connected))
            yield relay, client


@asynccontextmanager
async def running(client: Client) -> AsyncIterator[Client]:
    """End the client with the test."""
    try:
        yield client
    finally:
        client.running.cancel()
        await asyncio.gather(client.running, return_exceptions=True)


async def ended(client: Client) -> None:
    """Wait for the end of `run`, and raise what it raises."""
    async with asyncio.timeout(20):
        await client.running


async def test_a_delivery_goes_to_the_target_and_its_result_back() -> None:
    """And the user is told."""
    async with connected() as (relay, client):
        await relay.open[0].deliver(make_delivery())
        await until(lambda: relay.settled)

        assert relay.settled == [("dlv_1", Response(200, elapsed_ms=3))]
        assert client.poster.posted == [make_delivery()]
        await until(lambda: client.told(Settled))


@pytest.mark.parametrize(
    ("client_takes", "relay_takes", "most"), [(True, True, 5), (True, False, 1), (False, True, 1)]
)
async def test_what_is_ready_together_is_one_frame_if_both_take_batches(
    client_takes: bool, relay_takes: bool, most: int
) -> None:
    async with fake_relay() as relay:
        relay.batches = relay_takes
        async with running(Client(relay, batches=client_takes)) as client:
            client.poster.may_answer.clear()
            connection = await relay.connected()
            await connection.deliver_at_once(*map(make_delivery, range(5)))
            await until(lambda: len(client.poster.posted) == 5)
            client.poster.may_answer.set()
            await until(lambda: len(relay.settled) == 5)

    assert max(relay.frames) == most


async def test_a_large_body_arrives_in_parts_and_whole() -> None:
    """Byte for byte."""
    body = bytes(range(256)) * 1_000
    async with connected() as (relay, client):
        await relay.open[0].deliver(make_delivery(body=body))
        await until(lambda: relay.settled)

        assert client.poster.posted[0].body == body


async def test_a_protocol_error_of_the_relay_is_answered_with_4400() -> None:
    """And tried again."""
    async with connected() as (relay, client):
        first = relay.open[0]
        await first.socket.send_bytes(b"\xc1")
        await relay.connected(times=2)

        assert first.socket.close_code == CloseCode.PROTOCOL_ERROR
        assert "unexpected" in client.told(Lost)[0].text  # type: ignore[union-attr]


async def test_a_lost_connection_is_made_anew_and_the_result_given_to_it() -> None:
    """What the target works on goes on, and is not posted twice."""
    async with connected() as (relay, client):
        client.poster.may_answer.clear()
        await relay.open[0].deliver(make_delivery())
        await until(lambda: client.poster.posted)

        relay.open[0].socket._writer.transport.abort()  # type: ignore[union-attr]
        second = await relay.connected(times=2)
        await second.deliver(make_delivery(attempt=2))
        client.poster.may_answer.set()
        await until(lambda: relay.settled)

        assert len(client.poster.posted) == 1
        assert [type(notice) for notice in client.notices[:3]] == [Connected, Lost, Connected]
        assert client.notices[2].away_s is not None  # type: ignore[union-attr]
        assert client.told(StillAway) == []


async def test_failures_in_a_row_wait_longer_and_longer() -> None:
    """The bound doubles; a connection that did not last does not set it back."""
    async with connected() as (relay, client):
        for times in range(2, 6):
            await relay.open[0].socket.close(code=1011)
            await relay.connected(times)

        assert client.draws == [0.1, 0.2, 0.4, 0.8]


async def test_a_relay_that_goes_away_says_when_to_come_back() -> None:
    """Drawn from within the time it names."""
    async with connected() as (relay, client):
        await relay.open[0].perform([Goaway("update", 30.0)])
        await relay.open[0].socket.close(code=CloseCode.RESTART)
        await relay.connected(times=2)

        assert client.draws[-1] == 30.0
        assert "restarting" in client.told(Lost)[0].text  # type: ignore[union-attr]


async def test_after_a_sleep_the_connection_is_made_anew_at_once() -> None:
    """The old one may be dead without knowing."""
    async with connected() as (relay, client):
        client.slept_s = 8 * 3600.0
        await relay.connected(times=2)

        [slept] = client.told(Slept)
        assert slept.for_s == pytest.approx(8 * 3600, abs=5)  # type: ignore[union-attr]
        assert client.told(Lost)[0].text == "this machine slept"  # type: ignore[union-attr]


async def test_what_follows_from_a_failure_is_told_with_it() -> None:
    """As the relay says; without, once it has said nothing for a while, or is lost."""
    async with connected(verdicts=True) as (relay, client):
        client.poster.outcome = Response(500)
        await relay.open[0].deliver(make_delivery(1))
        await until(lambda: relay.settled)
        assert client.told(Settled) == [], "it waits for what follows"
        again = Verdict(make_delivery(1).id, Follows.AGAIN, 5_000)
        await relay.open[0].perform([again, Verdict("1.9", Follows.DEAD)])
        await until(lambda: client.told(Settled))
        await relay.open[0].deliver(make_delivery(2))
        await until(lambda: len(relay.settled) == 2)
        await relay.open[0].socket.close(code=1011)
        await until(lambda: len(client.told(Settled)) == 2)

        told = client.told(Settled)
        assert [notice.verdict for notice in told] == [again, None]  # type: ignore[union-attr]


async def test_a_relay_that_says_nothing_of_failures_is_not_waited_for() -> None:
    async with connected() as (relay, client):
        client.poster.outcome = Response(500)
        await relay.open[0].deliver(make_delivery(1))
        await until(lambda: client.told(Settled))
        assert client.told(Settled)[0].verdict is None  # type: ignore[union-attr]


async def test_a_client_that_comes_back_says_how_long_it_heard_nothing() -> None:
    async with connected() as (relay, client):
        client.slept_s = 3_600.0
        await relay.connected(times=2)

        [first, second] = [one.away_ms for one in relay.hellos]
        assert first is None
        assert second == pytest.approx(3_600_000, abs=5_000)


async def test_pongs_keep_a_quiet_connection() -> None:
    """The session hears of each one."""
    async with connected(heartbeat_s=0.5) as (relay, client):
        heard, hear = [], client.session.heard

        def note(now: float) -> None:
            heard.append(now)
            hear(now)

        client.session.heard = note  # type: ignore[method-assign]
        await until(lambda: len(heard) >= 3)  # two that are missed end it

        assert len(relay.connections) == 1
        assert client.told(Lost) == []


async def test_a_relay_that_falls_silent_is_left() -> None:
    """No goodbye: it would hang."""
    async with connected(heartbeat_s=0.03, autoping=False) as (relay, client):
        await relay.connected(times=2)

        assert "nothing was heard" in client.told(Lost)[0].text  # type: ignore[union-attr]


async def test_a_target_that_is_down_makes_the_relay_wait() -> None:
    """Told once, and its return once."""
    async with connected() as (relay, client):
        client.poster.outcome = Failure(FailureKind.TARGET_DOWN)
        for number in range(3):
            await relay.open[0].deliver(make_delivery(number))
        await until(lambda: len(relay.settled) == 3)
        assert relay.holds == [1]

        client.poster.outcome = Response(200)
        client.poster.listening.set()
        await until(lambda: relay.let_go == [1])
        await relay.open[0].deliver(make_delivery(9))
        await until(lambda: len(relay.settled) == 4)

        assert relay.settled[-1][1].delivered
        assert len(client.told(Waiting)) == len(client.told(Resumed)) == 1


async def test_stopping_finishes_what_is_under_way() -> None:
    """And gives back what was not begun; the relay hears all of it before the close."""
    async with connected() as (relay, client):
        client.poster.may_answer.clear()
        for number in range(10):
            await relay.open[0].deliver(make_delivery(number))
        await until(lambda: len(client.poster.posted) == 8)

        client.tunnel.stop()
        client.poster.may_answer.set()
        await ended(client)
        await until(lambda: relay.connections[0].socket.closed)

        kinds = [outcome.kind for _, outcome in relay.settled if isinstance(outcome, Failure)]
        assert kinds == [FailureKind.NOT_STARTED] * 2
        assert sum(outcome.delivered for _, outcome in relay.settled) == 8
        assert relay.connections[0].socket.close_code == CloseCode.NORMAL
        assert not client.told(Lost), "nobody is told that it reconnects"


async def test_stopping_without_a_connection_ends_at_once() -> None:
    """There is nobody to say goodbye to."""
    async with fake_relay() as relay:
        relay.handshake_status = 503
        async with running(Client(relay)) as client:
            await until(lambda: relay.handshakes)
            client.tunnel.stop()
            await ended(client)

    assert client.told(Connected) == []


async def test_an_end_is_not_lost_in_the_turn_in_which_a_pause_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What begins to connect just then is cancelled all the same."""
    draws = list[float]()

    def delay(*_: object) -> float:
        draws.append(60.0)
        return draws[-1]

    monkeypatch.setattr(Backoff, "delay", delay)
    async with fake_relay() as relay, running(Client(relay, url="http://127.0.0.1:9")) as client:
        await until(lambda: draws)
        await asyncio.sleep(0)  # it waits until it tries again

        client.tunnel._hurry.set()
        client.running.cancel()

        with pytest.raises(asyncio.CancelledError):
            await ended(client)


@pytest.mark.parametrize("part", ["poster._post", "session.receive", "tunnel._tell"])
async def test_an_error_anywhere_ends_the_tunnel(part: str) -> None:
    """In a task, or in what the loop calls: none may pass quietly."""

    class Bug(Exception):
        pass

    async def fail(*_: object) -> Outcome:
        raise Bug

    def fail_at_once(*_: object) -> None:
        raise Bug

    async with connected() as (relay, client):
        owner, name = part.split(".")
        bug = fail if part == "poster._post" else fail_at_once
        setattr(getattr(client, owner), name, bug)
        await relay.open[0].deliver(make_delivery())
        with pytest.raises(Bug):
            await ended(client)


async def test_a_stop_does_not_wait_for_who_takes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Results that cannot go out come again: the relay sends their deliveries anew."""
    monkeypatch.setattr(tunnel, "CLOSE_TIMEOUT_S", 0.1)

    async with connected() as (_, client):
        assert client.tunnel._socket is not None
        client.tunnel._socket.pause_writing()
        client.tunnel.stop()
        async with asyncio.timeout(20):
            await client.running


async def test_a_relay_that_stays_away_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(absence, "BLINK_S", 0.05)

    async with connected() as (relay, client):
        relay.handshake_status = 503
        await relay.open[0].socket.close(code=CloseCode.RESTART)

        await until(lambda: client.told(StillAway))


@virtual_time
async def test_a_sleep_is_noticed_within_a_second() -> None:
    """And the session is told the time as often, for its heartbeats."""
    told: list[Notice] = []
    ticks: list[float] = []
    clock, slept_s = running_clock(), 0.0

    def tick(_: float) -> list[ClientEffect]:
        ticks.append(clock.now)
        return []

    session: Any = SimpleNamespace(tick=tick)
    relay = Relay("http://127.0.0.1:9", TOKEN)
    mine = Tunnel(relay, session, {}, told.extend, wall=lambda: time.time() + slept_s)
    began = clock.now
    looking = asyncio.create_task(mine._watch_clocks())

    await asyncio.sleep(2.5)
    slept_s = 60.0
    await asyncio.sleep(1.0)
    looking.cancel()
    mine._tell_news()

    assert [at - began for at in ticks] == pytest.approx([1.0, 2.0, 3.0])
    assert [type(notice) for notice in told] == [Slept]
