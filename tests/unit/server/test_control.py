"""Commands on the host: through the server that runs, or alone while none does."""

from __future__ import annotations

import asyncio
import errno
import socket
import stat
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from relay_server import control
from relay_server.app import open_context, prepare_data_dir
from relay_server.control import Api, ApiRefused, NotInitialized, ServerGone, open_api, run
from relay_server.errors import InvalidValue, StoreLocked
from relay_server.files import MAX_SOCKET_PATH, SOCKET_NAME, short_path
from relay_server.health import state
from relay_server.listening import serve_control
from relay_server.settings import ServerSettings, Sources
from relay_server.store.sqlite.store import FILE_NAME
from tests.unit.server.commanding import Serve, listening, say_nothing
from tests.unit.server.support import make_settings

SOURCES = Sources((), ())


@pytest.fixture
def settings(tmp_path: Path) -> ServerSettings:
    """A data dir of the test's own, in which there is nothing."""
    return make_settings(tmp_path / "data")


@pytest.fixture
async def running(settings: ServerSettings) -> AsyncIterator[None]:
    """A server that runs on the data dir, as far as commands see it."""
    async with AsyncExitStack() as stack:
        context = await stack.enter_async_context(open_context(settings, SOURCES))
        await serve_control(stack, context, settings.data_dir / SOCKET_NAME)
        yield


async def make(settings: ServerSettings) -> None:
    """Make the store."""
    async with open_api(settings, SOURCES, make=True) as api:
        await api.call("POST", "channels", {"name": "chatwoot"})


async def test_where_there_is_no_relay_nothing_is_made(settings: ServerSettings) -> None:
    with pytest.raises(NotInitialized, match=f"no relay in {settings.data_dir}") as refused:
        async with open_api(settings, SOURCES):
            raise AssertionError
    assert "relay-server init" in refused.value.hint
    assert not settings.data_dir.exists()


async def test_alone_a_command_is_the_server_for_a_moment(settings: ServerSettings) -> None:
    await make(settings)
    async with open_api(settings, SOURCES) as api:
        assert not api.running
        assert [c["name"] for c in (await api.call("GET", "channels"))["channels"]] == ["chatwoot"]
        assert not (settings.data_dir / SOCKET_NAME).exists()
    assert (settings.data_dir / "relay.db").exists()


async def test_alone_a_command_needs_no_other_folder_to_write_to(
    settings: ServerSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a container whose root is read-only."""
    await make(settings)

    def nowhere() -> str:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", nowhere)
    async with open_api(settings, SOURCES) as api:
        assert not api.running
    assert list(settings.data_dir.glob("relay-*")) == []


async def test_two_commands_alone_do_not_meet(settings: ServerSettings) -> None:
    await make(settings)
    async with open_api(settings, SOURCES):
        with pytest.raises(StoreLocked):
            async with open_api(settings, SOURCES):
                raise AssertionError


@pytest.mark.usefixtures("running")
async def test_a_running_server_is_asked(settings: ServerSettings) -> None:
    async with open_api(settings, SOURCES) as one, open_api(settings, SOURCES) as two:
        assert one.running
        await one.call("POST", "channels", {"name": "orders"})
        assert (await two.call("GET", "channels/orders"))["webhook_path"] == "/c/orders/webhook"
    mode = (settings.data_dir / SOCKET_NAME).stat().st_mode
    assert (stat.S_ISSOCK(mode), stat.S_IMODE(mode)) == (True, 0o600)


async def test_the_socket_of_a_killed_server_is_no_server(settings: ServerSettings) -> None:
    await make(settings)
    path = settings.data_dir / SOCKET_NAME
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    async with open_api(settings, SOURCES) as api:
        assert not api.running
        assert (await api.call("GET", "channels"))["channels"]
    async with AsyncExitStack() as stack:
        context = await stack.enter_async_context(open_context(settings, SOURCES))
        await serve_control(stack, context, path)
        async with open_api(settings, SOURCES) as api:
            assert api.running
    assert not path.exists()


@pytest.mark.usefixtures("running")
async def test_refusals_have_code_and_hint(settings: ServerSettings) -> None:
    async with open_api(settings, SOURCES) as api:
        with pytest.raises(ApiRefused, match="no channel is named 'x'") as refused:
            await api.call("GET", "channels/x")
        assert refused.value.code == "channel_not_found"
        assert refused.value.hint
        with pytest.raises(ApiRefused) as refused:
            await api.call("GET", "nowhere")
        assert refused.value.code == "not_found"


async def test_a_data_dir_may_lie_deep(tmp_path: Path) -> None:
    deep = make_settings(tmp_path.joinpath(*["a-long-folder-name"] * 8))
    assert len(str(deep.data_dir)) > MAX_SOCKET_PATH
    await make(deep)
    async with AsyncExitStack() as stack:
        context = await stack.enter_async_context(open_context(deep, SOURCES))
        await serve_control(stack, context, deep.data_dir / SOCKET_NAME)
        async with open_api(deep, SOURCES) as api:
            assert api.running
            assert (await api.call("GET", "channels"))["channels"]


def test_short_names_of_sockets(tmp_path: Path) -> None:
    near = Path("/run/relay/control.sock")
    with short_path(near) as name:
        assert name == str(near)
    folder = tmp_path.joinpath(*["é" * 40] * 3)
    folder.mkdir(parents=True)
    with short_path(folder / SOCKET_NAME) as name:
        assert len(name.encode()) < MAX_SOCKET_PATH
        Path(name).touch()
    assert (folder / SOCKET_NAME).exists()


async def test_a_socket_that_cannot_be_made_is_named(settings: ServerSettings) -> None:
    async with AsyncExitStack() as stack:
        context = await stack.enter_async_context(open_context(settings, SOURCES))
        missing = settings.data_dir / "none" / SOCKET_NAME
        with pytest.raises(InvalidValue, match=r"control socket .* cannot be made"):
            await serve_control(stack, context, missing)


def test_the_data_dir_is_its_owner_s_alone(tmp_path: Path) -> None:
    prepare_data_dir(tmp_path / "a" / "b")
    assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o700
    (tmp_path / "file").touch()
    for impossible in (tmp_path / "file", tmp_path / "file" / "x"):
        with pytest.raises(InvalidValue, match=r"the data dir .* cannot be made"):
            prepare_data_dir(impossible)


def test_run_gives_back_what_the_work_gave(settings: ServerSettings) -> None:
    async def work(api: Api) -> dict[str, object]:
        await asyncio.sleep(0)
        return await api.call("GET", "whoami")

    assert run(settings, SOURCES, work, make=True)["scopes"] == ["admin"]


async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)
    writer.close()


@pytest.mark.parametrize("serve", [say_nothing, hang_up])
async def test_a_server_that_hangs_or_dies_ends_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, serve: Serve
) -> None:
    settings = make_settings(tmp_path / "data")
    prepare_data_dir(settings.data_dir)
    (settings.data_dir / FILE_NAME).touch()
    monkeypatch.setattr(control, "REQUEST_TIMEOUT_S", 0.1)

    async with (
        asyncio.timeout(20),
        listening(settings.data_dir / SOCKET_NAME, serve),
        open_api(settings, Sources((), ())) as api,
    ):
        with pytest.raises(ServerGone) as gone:
            await api.call("GET", "status")

    assert gone.value.code == "server_gone"


async def test_a_server_says_itself_whether_it_is_ready(settings: ServerSettings) -> None:
    """Through its own socket, which no other server can take."""
    said = list[str | None]()
    async with open_context(settings, SOURCES) as context, AsyncExitStack() as stack:
        said.append(await asyncio.to_thread(state, settings.data_dir))
        await serve_control(stack, context, settings.data_dir / SOCKET_NAME)
        for context.listening, context.stopping in ((False, False), (True, False), (True, True)):
            said.append(await asyncio.to_thread(state, settings.data_dir))
    assert said == [None, "starting", "ready", "stopping"]
