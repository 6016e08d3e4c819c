"""Both programs run on uvloop where it exists: what touches sockets is tested on both loops.

Files that are named for PostgreSQL ask one, but for a few of their tests.
"""

from __future__ import annotations

import asyncio
import importlib
import sys
from collections.abc import Callable

import pytest

ON_BOTH = {
    "test_connection",
    "test_front",
    "test_front_answers",
    "test_front_limits",
    "test_front_requests",
    "test_gateway",
    "test_pool",
    "test_poster",
    "test_url_push",
}


def pytest_itemcollected(item: pytest.Item) -> None:
    if "postgres" in item.path.stem:
        item.add_marker("postgres")


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
