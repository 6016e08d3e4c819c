"""One server to a data dir, whatever became of the last one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from relay_server.errors import StoreLocked
from relay_server.store.sqlite.integrity import PATIENCE_S, DirLock
from relay_server.store.sqlite.store import open_sqlite
from tests.support.waiting import Stopwatch

ROOT = Path(__file__).parents[3]
HOLD = """
import asyncio, sys
from pathlib import Path
from relay_server.store.sqlite.store import open_sqlite

async def main():
    store = await open_sqlite(Path(sys.argv[1]))
    print("open", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await store.close()

asyncio.run(main())
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that has the store open."""
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        yield process
        process.kill()


async def test_a_second_server_is_soon_told_whose_it_is(
    holder: subprocess.Popen[str], tmp_path: Path
) -> None:
    watch = Stopwatch()

    with pytest.raises(StoreLocked, match=f"in use by process {holder.pid}"):
        await open_sqlite(tmp_path)

    assert watch.elapsed_s < 5 * PATIENCE_S


async def test_a_killed_server_leaves_no_lock(
    holder: subprocess.Popen[str], tmp_path: Path
) -> None:
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()

    store = await open_sqlite(tmp_path)
    await store.close()

    assert (tmp_path / "relay.lock").read_text() == f"{os.getpid()}\n"


async def test_a_server_that_ends_lets_the_next_one_in(
    holder: subprocess.Popen[str], tmp_path: Path
) -> None:
    holder.communicate()

    store = await open_sqlite(tmp_path)
    await store.close()

    assert holder.returncode == 0


def test_a_lock_can_be_taken_again_after_it_was_let_go(tmp_path: Path) -> None:
    first, second = DirLock(tmp_path), DirLock(tmp_path)

    first.acquire()
    with pytest.raises(StoreLocked):
        second.acquire()
    first.release()
    second.acquire()
    second.release()

    assert (tmp_path / "relay.lock").exists()
