"""How rarely a store that does not answer for days is complained of."""

from __future__ import annotations

import asyncio
import itertools

import pytest
from structlog.testing import capture_logs

from relay_server.delivery.trouble import NEW_AFTER_S, Trouble
from relay_server.errors import StoreUnavailable
from tests.support.virtual_time import running_clock, virtual_time


@virtual_time
async def test_a_trouble_of_days_is_said_each_hour() -> None:
    """Twice as rarely each time, but whoever looks at the log of today finds it."""
    clock = running_clock()
    trouble, said_at, began = Trouble(clock, "store did not answer"), list[float](), clock.now

    async def fail() -> None:
        raise StoreUnavailable("the database is locked")

    while clock.now < began + 2 * 86_400:
        with capture_logs() as logs:
            await trouble.spare(fail)
        said_at += [clock.now] * len(logs)
        await asyncio.sleep(NEW_AFTER_S)

    pauses = [after - before for before, after in itertools.pairwise(said_at)]
    assert pauses == sorted(pauses)
    assert pauses[-30:] == pytest.approx([3_600.0] * 30)


@virtual_time
async def test_a_failure_after_a_minute_of_peace_is_said_at_once() -> None:
    """However rarely the trouble before was said in the end."""
    clock = running_clock()
    trouble, began = Trouble(clock, "store did not answer"), clock.now

    async def fail() -> None:
        raise StoreUnavailable("the database is locked")

    while clock.now < began + 3_000:  # the next line would come half an hour later
        await trouble.spare(fail)
        await asyncio.sleep(NEW_AFTER_S)
    await asyncio.sleep(1)
    with capture_logs() as logs:
        await trouble.spare(fail)

    assert [entry["failures"] for entry in logs] == [1]
