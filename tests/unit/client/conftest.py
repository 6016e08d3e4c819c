"""For every test: a state directory of its own."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def state_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the client keeps its journal, unless a test says otherwise."""
    folder = tmp_path / "state"
    monkeypatch.setattr("relay_client.settings._default_state_folder", lambda: folder)
    return folder
