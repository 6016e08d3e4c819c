"""What tests of both commands as they are typed share: one process that has them imported."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.support.sandbox import ROOT, Sandbox
from tests.support.target import BROKEN, always, open_target
from tests.support.waiting import until


@pytest.fixture(scope="session")
def forking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where both commands are run, with what they import at hand."""
    address = tmp_path_factory.mktemp("forking") / "socket"
    with subprocess.Popen(
        [sys.executable, "-m", "tests.support.forking", address], cwd=ROOT
    ) as one:
        yield address
        one.kill()


@pytest.fixture
async def sandbox(forking: Path, tmp_path: Path) -> AsyncIterator[Sandbox]:
    await until(forking.exists)
    async with open_target() as target, open_target() as broken:
        broken.answer = always(BROKEN)
        made = Sandbox(tmp_path, forking, target.port, broken.port)
        try:
            yield made
        finally:
            made.end()
