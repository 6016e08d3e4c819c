"""Every backend in turn, for the one suite that all of them pass."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from relay_server.store.interface import Store
from relay_server.values import Channel
from tests.support.stores import BACKENDS, Stores, make_channel


@pytest.fixture(params=BACKENDS)
async def stores(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stores]:
    """Every backend in turn."""
    async with AsyncExitStack() as stack:
        yield Stores(request.param, tmp_path, stack)


@pytest.fixture
async def store(stores: Stores) -> Store:
    """An empty store."""
    return await stores.open()


@pytest.fixture
async def channel(store: Store) -> Channel:
    """A channel in it."""
    return await make_channel(store)
