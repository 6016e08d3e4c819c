"""What one task waits for, over and over."""

from __future__ import annotations

import asyncio

import pytest

from relay_server.wake import Wake
from tests.support.waiting import settled


async def test_a_wait_ends_when_it_is_set() -> None:
    wake = Wake()
    waiting = asyncio.create_task(wake.wait())
    await settled()
    assert not waiting.done()

    wake.set()
    wake.set()  # nobody waits any more
    await waiting
    await wake.wait()  # it still is


async def test_what_was_set_before_ends_the_next_wait_at_once() -> None:
    wake = Wake()
    wake.set()
    await wake.wait()

    wake.clear()
    waiting = asyncio.create_task(wake.wait())
    await settled()
    assert not waiting.done()
    wake.set()
    wake.clear()  # the task was woken all the same
    await waiting


async def test_a_wait_that_was_given_up_leaves_the_next_one() -> None:
    wake = Wake()
    for _ in range(2):
        waiting = asyncio.create_task(wake.wait())
        await settled()
        waiting.cancel()
        wake.set()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        wake.clear()
    waiting = asyncio.create_task(wake.wait())
    await settled()
    wake.set()
    await waiting
