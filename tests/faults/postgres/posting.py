"""A server's store in a process of its own, as servers have it, and webhooks that come to it.

`python -m tests.faults.postgres.posting URL FOLDER HELD_S`, then a line for each round: a channel,
how many post to it at a time, and how many each does. The answer is a line, too: the last sequence
that one got; 0 where the database took more than a second, and one was spooled.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from relay_server.app import SWITCH_INTERVAL_S
from relay_server.store.interface import Store
from relay_server.store.postgres import appending
from relay_server.store.postgres.finding import read_place
from relay_server.store.postgres.link import Link
from relay_server.store.postgres.rows import append_rows
from relay_server.store.postgres.store import open_postgres
from tests.support.events import new_event

BODY = b"%2400d" % 0
KEYS = 50
SPOOL_BYTES = 1 << 28
ROOT = Path(__file__).parents[3]


class Posting:
    """The process.

    Attributes:
        last: The last sequence of its last round; 0 where one was spooled.
    """

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.last = 0

    async def post(self, channel: str, posters: int, each: int) -> None:
        """Have so many post at once, each so often."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{channel} {posters} {each}\n".encode())
        self.last = int(await self.answer())

    async def answer(self) -> str:
        """What it says next."""
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        assert line, "it ended"
        return line.decode().strip()


@asynccontextmanager
async def open_posting(url: str, folder: Path, held_s: float = 0.0) -> AsyncIterator[Posting]:
    """A process.

    Args:
        url: The database's.
        folder: Of its spool; made here.
        held_s: For which each call's locks are held until the COMMIT comes; 0 for one call.
    """
    folder.mkdir()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.faults.postgres.posting", url, str(folder), str(held_s)),
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        posting = Posting(process)
        assert await posting.answer() == "ready"
        yield posting
    finally:
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()


def holding(held_s: float) -> Any:
    """`append_rows`, but that its locks are held over a round trip, as by a client's own COMMIT."""

    def append(link: Link, *args: Any, **limits: Any) -> Any:
        link.begin()
        answers = append_rows(link, *args, **limits)
        time.sleep(held_s)  # to the client and back
        link.commit()
        return answers

    return append


async def posted(store: Store, channel: int, count: int, name: str) -> int:
    """Post some, one after the other: the last one's sequence, or 0."""
    sequence = 0
    for n in range(count):
        event = new_event(BODY, id=f"evt_{name}_{n}", key=str(n % KEYS), sender_id=f"{name}_{n}")
        if not (sequence := (await store.append(channel, event)).sequence):
            break
    return sequence


async def serve(url: str, folder: Path) -> None:
    """Do each round that is asked for."""
    store = await open_postgres(read_place(url), print, folder, SPOOL_BYTES)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    rounds = 0
    while line := await asyncio.to_thread(sys.stdin.readline):
        name, posters, each = line.split()
        channel, rounds = store.catalog.channels[name].number, rounds + 1
        tasks = [
            posted(store, channel, int(each), f"{os.getpid()}_{rounds}_{n}")
            for n in range(int(posters))
        ]
        found = await asyncio.gather(*tasks)
        sys.stdout.write(f"{max(found) if all(found) else 0}\n")
        sys.stdout.flush()
    await store.close()


if __name__ == "__main__":
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    if held_s := float(sys.argv[3]):
        pytest.MonkeyPatch().setattr(appending, "append_rows", holding(held_s))
    asyncio.run(serve(sys.argv[1], Path(sys.argv[2])))
