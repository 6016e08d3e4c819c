"""A relay that keeps a client waiting, or would."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import Any

import pytest

from relay_client import tunnel
from relay_client.notices import Lost, Notice, Slept, StillAway
from relay_client.relay import Relay
from relay_client.tunnel import LONGEST_WAIT_S, Tunnel
from relay_protocol.client_session import ClientEffect, Ping
from relay_protocol.messages import CloseCode, Goaway
from relay_protocol.server_session import Send
from tests.support.virtual_time import running_clock, virtual_time
from tests.support.waiting import until
from tests.unit.client.support import TOKEN, FakeRelay
from tests.unit.client.test_api_bounds import silent_relay
from tests.unit.client.test_tunnel import Client, FakeTargets, connected, running


async def test_a_handshake_that_is_not_answered_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tunnel, "OPEN_TIMEOUT_S", 0.1)

    async with silent_relay() as url, running(Client(FakeRelay(), url=url)) as client:
        await until(lambda: client.told(Lost))


async def test_a_relay_cannot_send_a_client_away_for_long() -> None:
    async with connected() as (relay, client):
        await relay.open[0].perform([Send(Goaway("update", 1e6))])
        await relay.open[0].socket.close(code=CloseCode.RESTART)
        await relay.connected(times=2)

        assert client.draws[-1] == LONGEST_WAIT_S


async def test_a_stop_does_not_wait_for_who_takes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Results that cannot go out come again: the relay sends their deliveries anew."""
    monkeypatch.setattr(tunnel, "CLOSE_TIMEOUT_S", 0.1)

    async with connected() as (_, client):
        client.tunnel._outbox.put_nowait(Ping())
        client.tunnel._outbox.task_done = lambda: None  # type: ignore[method-assign]
        client.tunnel.stop()
        async with asyncio.timeout(5):
            await client.running


async def test_a_relay_that_stays_away_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tunnel, "BLINK_S", 0.05)

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
    tunnel = Tunnel(relay, session, FakeTargets(), told.append, wall=lambda: time.time() + slept_s)
    began = clock.now
    looking = asyncio.create_task(tunnel._watch_clocks())

    await asyncio.sleep(2.5)
    slept_s = 60.0
    await asyncio.sleep(1.0)
    looking.cancel()

    assert [at - began for at in ticks] == pytest.approx([1.0, 2.0, 3.0])
    assert [type(notice) for notice in told] == [Slept]
