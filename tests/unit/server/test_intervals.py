"""How often the server sees to what nobody asks it for; on virtual time."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from relay_server import app
from relay_server.delivery.upkeep import Upkeep
from relay_server.web.context import Context
from tests.support.stores import MemoryStore
from tests.support.virtual_time import running_clock, virtual_time


@virtual_time
async def test_upkeep_comes_each_minute_and_sooner_where_room_is_short(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun = running_clock().now
    came_at: list[float] = []

    async def nothing(*_: Any, **__: Any) -> None: ...

    async def note(*_: Any, **__: Any) -> None:
        came_at.append(running_clock().now - begun)

    monkeypatch.setattr(app, "delete_forgotten_canaries", nothing)
    monkeypatch.setattr(Upkeep, "run_once", note)
    space = SimpleNamespace(taking=True)
    context = SimpleNamespace(store=MemoryStore(), clock=running_clock(), metrics=None, space=space)
    running = asyncio.create_task(app._upkeep(cast(Context, context)))
    await asyncio.sleep(120.5)
    space.taking = False
    await asyncio.sleep(10)
    running.cancel()

    assert came_at == pytest.approx([60.0, 120.0, 125.0, 130.0])
