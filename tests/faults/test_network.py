"""A network that delays, cuts, swallows and half-closes costs no webhook, and repeats none."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random

import pytest

from tests.faults.conftest import Judged
from tests.support.proxy import Proxy, Way
from tests.support.seeds import short_or_deep
from tests.support.trial import QUICK_LIVENESS, open_trial
from tests.support.waiting import until

Fault = Callable[[Proxy, Random], Awaitable[None]]


async def cut(proxy: Proxy, _: Random) -> None:
    proxy.link.cut()


async def cut_inside(proxy: Proxy, rng: Random) -> None:
    """At some byte, of a handshake, a frame's head or a body."""
    way(proxy, rng).cut_after(rng.randrange(1, rng.choice((8, 200, 20_000))))


async def cut_early(proxy: Proxy, rng: Random) -> None:
    """The next connections break at some byte from their first."""
    offsets = [rng.randrange(1, 600) for _ in range(3)]

    def spoil(link: object) -> None:
        if offsets:
            way(proxy, rng).cut_at = offsets.pop()

    proxy.on_link = spoil
    proxy.link.cut()
    await until(lambda: not offsets)


async def delay(proxy: Proxy, rng: Random) -> None:
    way(proxy, rng).delay_s = rng.uniform(0.05, 0.6)


async def swallow(proxy: Proxy, rng: Random) -> None:
    way(proxy, rng).swallow()


async def swallow_a_while(proxy: Proxy, rng: Random) -> None:
    """Bytes are missing in the middle: what comes after them is no frame."""
    broken = way(proxy, rng)
    broken.swallow()
    await asyncio.sleep(rng.uniform(0.0, 0.2))  # for how long is what is tested
    broken.swallow(on=False)


async def half_close(proxy: Proxy, rng: Random) -> None:
    way(proxy, rng).half_close()


async def refuse(proxy: Proxy, rng: Random) -> None:
    """Nobody gets through for a while."""
    await proxy.stop()
    await asyncio.sleep(rng.uniform(0.0, 1.0))  # for how long is what is tested
    await proxy.start()


FAULTS: tuple[Fault, ...] = (
    cut, cut_inside, cut_early, delay, swallow, swallow_a_while, half_close, refuse,
)  # fmt: skip


def way(proxy: Proxy, rng: Random) -> Way:
    """One direction of the newest link."""
    return rng.choice((proxy.link.up, proxy.link.down))


@pytest.mark.slow
@pytest.mark.parametrize("part", range(short_or_deep(1, 10)))
async def test_a_bad_network_costs_nothing(
    part: int, tmp_path: Path, rng: Random, judged: Judged
) -> None:
    """Each webhook comes once: the client knows what its target has taken."""
    faults = list(FAULTS) * short_or_deep(1, 3)
    rng.shuffle(faults)
    async with open_trial(tmp_path / "trial", rng, constants=QUICK_LIVENESS) as trial:
        client = await trial.connect()
        async with trial.talking(pause_s=0.05) as talk:
            for fault in faults:
                await fault(trial.proxy, rng)
                trial.proxy.on_link = lambda _: None
                await talk.accepts(20)
                taken = len(trial.target.seen)
                await until(lambda taken=taken: len(trial.target.seen) > taken + 20)  # type: ignore[misc]
        assert client.alive, client.errors
        judged(await trial.verdict(), "a bad network", len(faults))
