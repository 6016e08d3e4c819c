"""A server in this process, its API as somebody asks it, and its commands."""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from unittest.mock import Mock

import pytest

from relay_server import app, cli, log, stopping
from relay_server.files import PREFIX
from relay_server.operations import conversations, finding, listing
from relay_server.values import Scope
from relay_server.web import api, server
from tests.unit.server.asking import Asking, Json
from tests.unit.server.commanding import Run, Shown
from tests.unit.server.support import Served, serve_front


@pytest.fixture(autouse=True)
def no_settings_around(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the developer's own shell has set is no part of a test."""
    for variable in [name for name in os.environ if name.startswith(PREFIX)]:
        monkeypatch.delenv(variable)


@pytest.fixture(autouse=True)
def answers_take_their_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine cuts no page of events short, but where a test says so."""
    for module in (finding, listing, conversations):
        monkeypatch.setattr(module, "BUDGET_S", 60.0)


@pytest.fixture(autouse=True)
def process_as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A server or command that runs in this process keeps what it sets for all of it to its end."""
    monkeypatch.setattr(app, "gc", Mock())  # all that tests have made is no garbage of a server's
    before = {number: signal.getsignal(number) for number in stopping.SIGNALS}
    switch_interval, hook = sys.getswitchinterval(), sys.excepthook
    yield
    sys.setswitchinterval(switch_interval)
    sys.excepthook = hook
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
async def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Served]:
    """A server's public port, over a store in memory and a clock that stands still.

    What aiohttp answers has a deadline by the real clock, which a busy machine can miss.
    """
    monkeypatch.setattr(server, "HEADER_DEADLINE_S", 50.0)
    monkeypatch.setattr(api, "BODY_DEADLINE_S", 50.0)
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


@pytest.fixture
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data dir that the environment names."""
    monkeypatch.setenv("RELAY_SERVER_DATA_DIR", str(tmp_path / "data"))
    return tmp_path / "data"


@pytest.fixture
def command(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    """Runs `relay-server …` in this process: status, stdout, stderr."""
    assert not data_dir.exists()
    monkeypatch.setenv("RELAY_SERVER_FORWARD_ALLOW", "bot")
    monkeypatch.setattr(log, "set_up", lambda *_, **__: None)  # it holds for the whole process

    def run(*arguments: str, text: str = "") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["relay-server", *arguments])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return run


@pytest.fixture
def shown(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Shown:
    """What a command prints on a terminal of 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TZ", "UTC")

    def show_it(render: Callable[[Json], None], result: Json) -> str:
        render(result)
        return capsys.readouterr().out

    return show_it
