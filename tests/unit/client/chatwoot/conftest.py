"""A bot that is tried out, with nothing in it that waits for long."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from relay_client.chatwoot import bot, lanes, turns
from relay_client.chatwoot.testing import Trial, open_trial


@pytest.fixture
async def trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Trial]:
    monkeypatch.setattr(turns, "CALL_WAITS_S", (0.01,))
    monkeypatch.setattr(turns, "REPLY_WAITS_S", (0.01,) * 3)
    monkeypatch.setattr(lanes, "LONGEST_SLEEP_S", 0.02)
    monkeypatch.setattr(bot, "PROBE_S", 0.05)
    monkeypatch.setattr(bot, "STOP_S", 0.05)
    async with open_trial(tmp_path / "bot.db") as trial:
        yield trial
