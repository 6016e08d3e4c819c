"""The one door to a store: a URL says which."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from relay_server.errors import InvalidValue
from relay_server.store.opening import open_store, restore_store, store_exists
from tests.support.stores import append_many, make_channel

SERVING = """
import asyncio, sys
from pathlib import Path
import relay_server.app
from relay_server.store.opening import open_store

async def serve():
    store = await open_store("sqlite", Path(sys.argv[1]))
    await store.close()

asyncio.run(serve())
print([name for name in sys.modules if "psycopg" in name or "store.postgres" in name])
"""


def test_nothing_of_postgresql_is_imported_where_no_url_names_one(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SERVING, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


async def test_a_store_is_made_once_and_found_again(tmp_path: Path) -> None:
    assert not store_exists("sqlite", tmp_path)

    store = await open_store("sqlite", tmp_path)
    [event] = await append_many(store, await make_channel(store), 1)
    await store.close()
    assert store_exists("sqlite", tmp_path)

    again = await open_store("sqlite", tmp_path)
    assert await again.find_event(event) is not None
    await again.close()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "mysql://root:SECRET@db/relay",
        "sqlite3",
        "sqlite://SECRET",
        "postgresql",
        "postgresql://root:SECRET@db/relay",
    ],
)
async def test_no_other_url_opens_anything(url: str, tmp_path: Path) -> None:
    """And the message repeats no password."""
    with pytest.raises(InvalidValue) as raised:
        await open_store(url, tmp_path)
    assert "SECRET" not in str(raised.value)
    for function in (store_exists, lambda u, d: restore_store(u, d, d / "backup", 0)):
        with pytest.raises(InvalidValue):
            function(url, tmp_path)
    assert list(tmp_path.iterdir()) == []
