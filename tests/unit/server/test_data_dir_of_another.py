"""A data dir that is another user's: whose it is, who asks, and what puts it right."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import NoReturn

import pytest
from structlog.testing import capture_logs

from relay_server import app
from relay_server.errors import InvalidValue, StoreUnavailable
from relay_server.files import explained
from relay_server.settings import Sources, load
from relay_server.store.opening import open_store
from tests.unit.server.support import make_settings

US = 10_001
REAL_OPEN = os.open


def denied(path: Path) -> PermissionError:
    return PermissionError(errno.EACCES, "Permission denied", str(path))


@pytest.fixture
def advice(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """What is to be said, for a process that is not the owner (tests may run as root)."""
    monkeypatch.setattr(os, "geteuid", lambda: US)
    monkeypatch.setattr(os, "getegid", lambda: US)
    return f"belongs to user {tmp_path.stat().st_uid} (mode 700), and this is user {US}: chown -R"


def test_settings_in_a_closed_folder(
    advice: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The first thing that any command reads."""

    def open_it(path: Path, mode: str) -> NoReturn:
        raise denied(path)

    monkeypatch.setenv("RELAY_SERVER_DATA_DIR", str(tmp_path))
    monkeypatch.setattr(Path, "open", open_it)
    monkeypatch.setattr(os, "access", lambda path, mode: False)

    with pytest.raises(InvalidValue) as refused:
        load()

    assert f"{tmp_path} {advice} {US}:{US} {tmp_path}" in str(refused.value)


async def test_a_folder_that_cannot_be_written_to(
    advice: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Such as one that Docker made for a bind mount: no new store is spoken of."""
    readable = os.R_OK | os.X_OK
    monkeypatch.setattr(os, "access", lambda path, mode: mode & ~readable == 0)
    monkeypatch.setattr(app, "on_signals", lambda asked: None)

    with pytest.raises(InvalidValue, match="cannot be written to") as refused:
        app.prepare_data_dir(tmp_path)
    with capture_logs() as logs, pytest.raises(InvalidValue):
        await app.serve(make_settings(tmp_path), Sources((), ()))

    assert f"{tmp_path} {advice}" in str(refused.value)
    assert logs == []


@pytest.mark.parametrize("name", ["relay.lock", "relay.db"])
async def test_a_file_of_the_store(
    advice: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    (tmp_path / name).touch(0o700)

    def refusing(path: object, *arguments: int) -> int:
        if path == tmp_path / name:
            raise denied(tmp_path / name)
        return REAL_OPEN(str(path), *arguments)

    monkeypatch.setattr(os, "open", refusing)

    with pytest.raises(StoreUnavailable, match="cannot be used") as refused:
        await open_store("sqlite", tmp_path)

    assert f"{tmp_path / name} {advice} {US}:{US} {tmp_path}" in str(refused.value)


def test_what_is_ours_or_no_matter_of_rights(tmp_path: Path) -> None:
    (tmp_path / "relay.db").touch(0o400)
    full = OSError(errno.ENOSPC, "No space left on device", "x")

    assert explained(denied(tmp_path / "relay.db"), tmp_path).endswith("relay.db has the mode 400")
    assert explained(full, tmp_path) == "No space left on device"
    assert explained(denied(tmp_path / "none" / "x"), tmp_path) == "Permission denied"
