"""A cap on what a PostgreSQL store holds: counted over all servers, and opened again by itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from relay_server.errors import StoreBroken, StoreFull
from relay_server.store.postgres import neighbours
from relay_server.store.postgres import store as postgres
from relay_server.store.postgres.finding import read_place
from relay_server.store.postgres.store import open_postgres
from tests.support.events import new_event
from tests.support.postgres import database_of, need_postgres, patient
from tests.support.stores import make_channel
from tests.support.waiting import until


@pytest.fixture(autouse=True)
def calm() -> Iterator[None]:
    """The database is never away."""
    with patient():
        yield


def _fail(error: StoreBroken) -> None:
    raise error


async def test_what_all_channels_hold_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need_postgres()
    monkeypatch.setattr(neighbours, "LOOK_S", 0.02)
    monkeypatch.setattr(postgres, "AGAIN_BYTES", 2_000)
    place = read_place(database_of(tmp_path))
    store = await open_postgres(place, _fail, tmp_path, 1 << 20, lambda _: None, max_bytes=20_000)
    try:
        one, other = await make_channel(store, "one"), await make_channel(store, "other")
        first = await store.append(one.number, new_event(b"x" * 10_000, sender_id="d-1"))
        await store.append(other.number, new_event(b"y" * 10_000))
        await until(lambda: not store.space.taking)
        assert store.size() > 20_000
        with pytest.raises(StoreFull, match="RELAY_SERVER_MAX_STORE_BYTES"):
            await store.append(one.number, new_event(b"z"))
        again = await store.append(one.number, new_event(b"x" * 10_000, sender_id="d-1"))
        assert (again.id, again.duplicate) == (first.id, True), "what is stored takes no room"

        await store.drop_oldest(other.number, 9)
        await until(lambda: store.space.taking)
        assert not (await store.append(one.number, new_event(b"z"))).duplicate
    finally:
        await store.close()
