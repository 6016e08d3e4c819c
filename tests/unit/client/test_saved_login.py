"""The login that is kept."""

from __future__ import annotations

import stat
import sys
from pathlib import Path

import pytest

from relay_client import saved_login
from relay_client.errors import UsageError

LOGIN = {"url": "https://relay.example.com", "token": "FIXTUREtoken"}


def test_a_login_is_kept_for_its_owner_alone(tmp_path: Path) -> None:
    """And replaces an earlier one."""
    folder = tmp_path / "config" / "relay-client"
    saved_login.save(folder, {**LOGIN, "token": "old"})
    file = saved_login.save(folder, LOGIN)

    assert saved_login.load(folder) == LOGIN
    assert [entry.name for entry in folder.iterdir()] == [file.name]
    if sys.platform != "win32":
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_login_is_forgotten(tmp_path: Path) -> None:
    """Once; then there is none."""
    saved_login.save(tmp_path, LOGIN)

    assert [saved_login.forget(tmp_path), saved_login.forget(tmp_path)] == [True, False]
    assert saved_login.load(tmp_path) == {}


@pytest.mark.parametrize("content", ["", "[]", "{", "\x00"])
def test_a_damaged_login_is_named(tmp_path: Path, content: str) -> None:
    """With what to do about it."""
    saved_login.save(tmp_path, LOGIN).write_text(content)

    with pytest.raises(UsageError, match=r"login\.json") as caught:
        saved_login.load(tmp_path)
    assert "logout" in caught.value.hint
