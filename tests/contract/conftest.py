"""Every backend in turn, for the one suite that all of them pass."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from relay_server.store.interface import Store
from relay_server.values import Channel
from tests.support.postgres import need_postgres
from tests.support.stores import BACKENDS, Stores, make_channel


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every backend, and those of a module's `SEALED` once more, as they seal bodies."""
    if "stores" in metafunc.fixturenames:
        sealed = (
            ("sqlite-sealed", "postgres-sealed")
            if getattr(metafunc.module, "SEALED", False)
            else ()
        )
        metafunc.parametrize("stores", (*BACKENDS, *sealed), indirect=True)


@pytest.fixture
async def stores(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stores]:
    """Every backend in turn."""
    if request.param.startswith("postgres"):
        need_postgres()
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
