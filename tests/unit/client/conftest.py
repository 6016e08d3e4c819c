"""For every test: a state directory of its own, and both loops for what touches sockets.

The client runs on uvloop where it exists.
"""

from __future__ import annotations

import asyncio
import importlib
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ON_BOTH = {"test_replayer"}


@pytest.fixture(autouse=True)
def state_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the client keeps its journal, unless a test says otherwise."""
    folder = tmp_path / "state"
    monkeypatch.setattr("relay_client.settings._default_state_folder", lambda: folder)
    return folder


def pytest_asyncio_loop_factories(
    item: pytest.Item,
) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """By name: their transports differ."""
    if sys.platform == "win32" or item.path.stem not in ON_BOTH:
        return {"asyncio": asyncio.new_event_loop}
    return {
        "asyncio": asyncio.new_event_loop,
        "uvloop": importlib.import_module("uvloop").new_event_loop,
    }
