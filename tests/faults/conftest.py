"""A relay that runs, and a target that listens."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.relay import Relay, open_relay
from tests.support.target import Target, open_target


@pytest.fixture
async def relay(tmp_path: Path) -> AsyncIterator[Relay]:
    """A server process with the channel `chatwoot`."""
    async with open_relay(tmp_path / "relay") as relay:
        yield relay


@pytest.fixture
async def target() -> AsyncIterator[Target]:
    """An HTTP server that takes everything."""
    async with open_target() as target:
        yield target
