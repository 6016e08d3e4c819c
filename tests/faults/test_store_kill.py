"""A store that is killed at any moment has everything whose append returned."""

from __future__ import annotations

import os
import random
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from relay_server.store.sqlite.store import open_sqlite

ROOT = Path(__file__).parents[2]
SEED = 20_260_702
ROUNDS = 10
SENDERS = 16
APPENDER = """
import asyncio, itertools, os, sys
from pathlib import Path
from relay_server.store.sqlite.store import open_sqlite
from relay_server.values import Progress
from tests.support.events import mark, new_event
from tests.support.stores import make_channel, make_subscription

async def main(data_dir, round_number, senders):
    store = await open_sqlite(Path(data_dir))
    channel = store.catalog.channels.get("chatwoot") or await make_channel(store)
    _, claim = await make_subscription(store)
    numbers = itertools.count()

    async def sender():
        for n in numbers:
            name = f"evt_{round_number}_{n}"
            appended = await store.append(channel.number, new_event(b"x" * (n % 9_000), id=name))
            os.write(1, f"{appended.id} {appended.sequence}\\n".encode())
            store.record(claim, Progress(0, (mark(appended.sequence),)))

    await asyncio.gather(*(sender() for _ in range(int(senders))))

asyncio.run(main(*sys.argv[1:]))
"""


def append_until_killed(data_dir: Path, number: int, after_s: float) -> dict[str, int]:
    """Ids that a child printed before it was killed some time after its first, and sequences."""
    command = [sys.executable, "-c", APPENDER, str(data_dir), str(number), str(SENDERS)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout is not None
        read = b""
        deadline = time.monotonic() + 20
        while (left := deadline - time.monotonic()) > 0:
            if not select.select([process.stdout], [], [], left)[0]:
                break
            if not read:
                deadline = time.monotonic() + after_s
            part = os.read(process.stdout.fileno(), 65_536)
            assert part, "the child ended by itself"
            read += part
        process.send_signal(signal.SIGKILL)
        read += process.stdout.read()
    lines = read.decode().split("\n")[:-1]  # the last is empty, or was cut
    return {name: int(sequence) for name, sequence in (line.split(" ") for line in lines)}


@pytest.mark.timeout(60)
async def test_a_killed_store_has_everything_whose_append_returned(tmp_path: Path) -> None:
    moments = random.Random(SEED)
    accepted: dict[str, int] = {}

    for number in range(ROUNDS):
        accepted |= append_until_killed(tmp_path, number, moments.uniform(0.0, 0.25))
        store = await open_sqlite(tmp_path)
        channel = store.catalog.channels["chatwoot"]
        kept = await store.list_events(channel.number, None, 1_000_000)
        [status] = await store.subscription_status()
        await store.close()

        there = {event.id: event.sequence for event in kept}
        assert accepted.items() <= there.items()
        assert sorted(there.values()) == list(range(1, len(kept) + 1))
        assert 0 <= status.backlog <= len(kept)

    assert len(accepted) > ROUNDS * SENDERS
