"""The server runs on uvloop where it exists: what touches sockets is tested on both loops."""

from __future__ import annotations

import asyncio
import importlib
import os
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from relay_server.places import PREFIX
from relay_server.values import Scope
from relay_server.web import server
from relay_server.web.api import requests
from tests.unit.server.asking import Asking
from tests.unit.server.support import Served, serve_front

ON_BOTH = {
    "test_front",
    "test_front_limits",
    "test_front_answers",
    "test_gateway",
    "test_front_requests",
}


def pytest_asyncio_loop_factories(
    item: pytest.Item,
) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """By name: their transports differ."""
    if sys.platform == "win32" or item.path.stem not in ON_BOTH:
        return {"asyncio": asyncio.new_event_loop}
    return {
        "asyncio": asyncio.new_event_loop,
        "uvloop": importlib.import_module("uvloop").new_event_loop,
    }


@pytest.fixture(autouse=True)
def no_settings_around(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the developer's own shell has set is no part of a test."""
    for variable in [name for name in os.environ if name.startswith(PREFIX)]:
        monkeypatch.delenv(variable)


@pytest.fixture
async def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Served]:
    """A server's public port, over a store in memory and a clock that stands still.

    What aiohttp answers has a deadline by the real clock, which a busy machine can miss.
    """
    monkeypatch.setattr(server, "HEADER_DEADLINE_S", 50.0)
    monkeypatch.setattr(requests, "BODY_DEADLINE_S", 50.0)
    async with serve_front(tmp_path) as served:
        yield served


@pytest.fixture
async def admin(served: Served) -> Asking:
    """May do everything."""
    return Asking(served, await served.make_token("root", Scope.ADMIN))


@pytest.fixture
async def ana(served: Served) -> Asking:
    """May read the channel `chatwoot`; there is `other` beside it."""
    await served.make_channel("other")
    secret = await served.make_token("ana", Scope.SUBSCRIBE, channels=["chatwoot"])
    return Asking(served, secret)


@pytest.fixture
async def token(served: Served) -> str:
    """Of ana, who subscribes."""
    return await served.make_token("ana", Scope.SUBSCRIBE)
