"""Commands run in this process, and what they leave behind."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from relay_server.store.sqlite.store import open_sqlite
from relay_server.values import Catalog
from tests.unit.server.asking import Json

Run = Callable[..., tuple[int, str, str]]


Shown = Callable[[Callable[[Json], None], Json], str]


def catalog(data_dir: Path) -> Catalog:
    """Channels and tokens as they are on disk."""

    async def read() -> Catalog:
        store = await open_sqlite(data_dir)
        try:
            return store.catalog
        finally:
            await store.close()

    return asyncio.run(read())


def answer(run: tuple[int, str, str]) -> Any:
    """The JSON of a command that succeeded."""
    status, out, err = run
    assert (status, err) == (0, "")
    return json.loads(out)


Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()
    writer.close()


@asynccontextmanager
async def listening(path: Path, serve: Serve) -> AsyncIterator[None]:
    """Something that listens where a server's control socket is."""
    server = await asyncio.start_unix_server(serve, path)
    async with server:
        yield
