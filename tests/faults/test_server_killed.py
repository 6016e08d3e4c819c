"""A server that is killed under load has lost nothing that it answered for."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.support.chatwoot import message, spoken
from tests.support.relay import Relay, open_relay
from tests.support.senders import load
from tests.support.target import OK, Arrival, Target, attempts, open_target
from tests.support.waiting import until

SEED = 20_260_702
KILLS = (3, 3, 3, 3, 3, 3, 3, 2, 2)  # of each relay
READY_WITHIN_S = 2.0


@pytest.mark.slow
@pytest.mark.timeout(150)
async def test_what_a_killed_server_had_answered_arrives_without_help(tmp_path: Path) -> None:
    """Several relays, because a client that met many kills waits long between its tries.

    They take turns at being killed, so that each has the machine to itself meanwhile.
    """
    turn, connected = asyncio.Lock(), asyncio.Barrier(len(KILLS))
    async with asyncio.TaskGroup() as group:
        tests = [
            group.create_task(
                kill_again_and_again(tmp_path / str(number), kills, SEED + number, turn, connected)
            )
            for number, kills in enumerate(KILLS)
        ]

    starts = [seconds for test in tests for seconds in test.result()]
    assert len(starts) == 25
    assert max(starts) < READY_WITHIN_S, sorted(starts)


async def kill_again_and_again(
    folder: Path, kills: int, seed: int, turn: asyncio.Lock, connected: asyncio.Barrier
) -> list[float]:
    """Kill a server at random under load; returns how many seconds each new one took to start."""
    rng = random.Random(seed)
    starts, accepted = [], set[str]()
    async with open_relay(folder) as relay, open_target() as target:
        target.answer = busy(rng)
        token = await relay.make_token("ana", "subscribe")
        client = await relay.connect(token, "--to", target.address)
        await connected.wait()
        for kill in range(kills):
            async with turn, load(relay.port, talk(relay, kill), pause_s=0.01) as going:
                await target.received(len(target.arrivals) + 1)
                await asyncio.sleep(rng.uniform(0.0, 0.4))  # the moment is what is tested
                relay.server.kill()
                starts.append(await relay.start())
                await going.accepts(20)
                await going.stop()
            accepted |= going.accepted
            await client.said("reconnected", kill + 1)
        await until(lambda: accepted <= target.seen, 25)

        assert client.alive, f"seed {seed}: {client.errors}"
        check_arrivals(target, len(accepted), seed)
        return starts


def talk(relay: Relay, round_: int) -> Callable[[int, int], bytes]:
    """What the senders of a round say."""
    return lambda conversation, n: message(relay.send_token, conversation, round_ * 100_000 + n)


def busy(rng: random.Random) -> Callable[[Arrival], Awaitable[bytes]]:
    """A target that takes a moment for each webhook."""

    async def answer(_: Arrival) -> bytes:
        await asyncio.sleep(rng.uniform(0.0, 0.02))
        return OK

    return answer


def check_arrivals(target: Target, accepted: int, seed: int) -> None:
    """In order, and each once: the client lives on and knows what it has posted."""
    assert accepted > 100, f"seed {seed}"
    for conversation, said in spoken(target.arrivals).items():
        assert said == sorted(set(said)), f"seed {seed}, conversation {conversation}"
    repeated = {id_: numbers for id_, numbers in attempts(target.arrivals).items() if numbers[1:]}
    assert repeated == {}, f"seed {seed}"
