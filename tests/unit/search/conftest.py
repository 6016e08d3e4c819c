"""A store, and its index."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from relay_server.search import follower
from relay_server.values import Channel
from tests.support.indexed import Indexed
from tests.support.stores import MemoryStore, make_channel


@pytest.fixture(autouse=True)
def no_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Work is done as soon as it is there, and in several pieces."""
    monkeypatch.setattr(follower, "BATCH", 48)
    monkeypatch.setattr(follower, "READ_AT_ONCE", 32)
    monkeypatch.setattr(follower, "GATHER_S", 0.0)
    monkeypatch.setattr(follower, "RETRY_S", 0.0)


@pytest.fixture
async def store() -> AsyncIterator[MemoryStore]:
    store = MemoryStore()
    yield store
    await store.close()


@pytest.fixture
async def channel(store: MemoryStore) -> Channel:
    return await make_channel(store)


@pytest.fixture
async def indexed(store: MemoryStore, tmp_path: Path) -> AsyncIterator[Indexed]:
    """The store's index, which follows nothing yet."""
    indexed = Indexed(store, tmp_path)
    yield indexed
    await indexed.end()
