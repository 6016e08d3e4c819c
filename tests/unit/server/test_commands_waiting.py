"""Commands on the host do not wait for ever for a server that hangs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from typer import Context

from relay_server import control, log
from relay_server.app import prepare_data_dir
from relay_server.cli import host
from relay_server.cli.host import NotReady
from relay_server.control import ServerGone, open_api
from relay_server.places import SOCKET_NAME
from relay_server.settings import Sources
from relay_server.store.sqlite.store import FILE_NAME
from tests.unit.server.support import make_settings

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()
    writer.close()


async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)
    writer.close()


@asynccontextmanager
async def listening(path: Path, serve: Serve) -> AsyncIterator[None]:
    """Something that listens where a server's control socket is."""
    server = await asyncio.start_unix_server(serve, path)
    async with server:
        yield


@pytest.mark.parametrize("serve", [say_nothing, hang_up])
async def test_a_server_that_hangs_or_dies_ends_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, serve: Serve
) -> None:
    settings = make_settings(tmp_path / "data")
    prepare_data_dir(settings.data_dir)
    (settings.data_dir / FILE_NAME).touch()
    monkeypatch.setattr(control, "REQUEST_TIMEOUT_S", 0.1)

    async with (
        asyncio.timeout(5),
        listening(settings.data_dir / SOCKET_NAME, serve),
        open_api(settings, Sources((), ())) as api,
    ):
        with pytest.raises(ServerGone) as gone:
            await api.call("GET", "status")

    assert gone.value.code == "server_gone"


async def test_health_does_not_wait_for_who_says_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host, "HEALTH_TIMEOUT_S", 0.1)
    monkeypatch.setattr(log, "set_up", lambda *_, **__: None)
    asked = cast(Context, SimpleNamespace(obj={"data_dir": tmp_path}))
    async with asyncio.timeout(5), listening(tmp_path / SOCKET_NAME, say_nothing):
        with pytest.raises(NotReady, match="nothing answers") as unready:
            await asyncio.to_thread(host.health, asked)
    assert unready.value.code == "not_ready"
