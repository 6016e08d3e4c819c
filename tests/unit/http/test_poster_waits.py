"""How long a poster waits for a target that takes no connection, and how often it looks."""

from __future__ import annotations

import asyncio
import itertools
import socket

import pytest

from relay_http.pool import Pool
from relay_http.poster import Poster
from relay_http.target import Target
from relay_protocol.values import Failure, FailureKind
from tests.support.raw_target import make_delivery
from tests.support.virtual_time import running_clock, virtual_time

TARGET = Target("127.0.0.1", 9)


async def no_answer(_: Target) -> socket.socket:
    """A host that lets every packet fall."""
    await asyncio.get_running_loop().create_future()
    raise AssertionError


@virtual_time
async def test_a_connection_that_does_not_come_about_is_given_up() -> None:
    poster = Poster(TARGET, 30.0, 1, pool=Pool(TARGET, 1, opener=no_answer))
    began = running_clock().now

    outcome = await poster.post(make_delivery())

    assert isinstance(outcome, Failure)
    assert outcome.kind is FailureKind.TARGET_DOWN
    assert running_clock().now - began == pytest.approx(5.0)


@virtual_time
async def test_a_look_takes_two_seconds_at_most() -> None:
    poster = Poster(TARGET, 30.0, 1, pool=Pool(TARGET, 1, opener=no_answer))
    began = running_clock().now

    assert await poster.look() != ""

    assert running_clock().now - began == pytest.approx(2.0)


@virtual_time
async def test_looks_are_a_second_apart_and_later_two(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at: list[float] = []

    async def look(_: Poster) -> str:
        looked_at.append(running_clock().now)
        return "down" if len(looked_at) < 10 else ""

    monkeypatch.setattr(Poster, "look", look)
    await Poster(TARGET, 30.0, 1).until_listening()

    pauses = [later - earlier for earlier, later in itertools.pairwise(looked_at)]
    assert pauses[0] == pytest.approx(1.0)
    assert pauses == sorted(pauses)
    assert pauses[-3:] == pytest.approx([2.0] * 3)
