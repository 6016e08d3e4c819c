"""What was answered 2xx is there after a power cut, whatever the disk's cache made of it."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest

from tests.faults.conftest import Judged
from tests.support.disks import MIB
from tests.support.ledger import Verdict
from tests.support.outages import (
    RELAY,
    Recorded,
    judge_disk,
    judge_relay,
    judge_stored,
    record_load,
    record_return,
    stored_events,
)
from tests.support.power import CutDisks, choose_cuts
from tests.support.recording_disk import RecordingDisk, mounted, recording_disk
from tests.support.relay import Constant
from tests.support.seeds import is_deep, short_or_deep

DISK_BYTES = 256 * MIB
EACH_STARTED = 5  # of so many cuts, one is followed by a start of server and client
OFTEN_COPIED: Constant = ("relay_server.store.sqlite.checkpointer", "CHECKPOINT_PAGES", 200)
UPKEEP: tuple[Constant, ...] = (
    ("relay_server.app", "UPKEEP_S", 0.2),
    ("relay_server.app", "UPKEEP_LOOK_S", 0.1),
)
UNDER_WAY = 200  # deliveries whose end no disk had yet, at the most


@dataclass(frozen=True, slots=True)
class Kind:
    """A way to run a relay.

    Attributes:
        accepted: Webhooks until the end.
        cleaned: Whether what everybody has is deleted at once.
    """

    accepted: int
    constants: tuple[Constant, ...]
    cleaned: bool = False


KINDS = {
    "log copied often": Kind(short_or_deep(400, 1500), (OFTEN_COPIED,)),
    "events deleted": Kind(1500, (OFTEN_COPIED, *UPKEEP), cleaned=True),
    "few webhooks": Kind(60, ()),
    "many webhooks": Kind(3000, ()),
}


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A folder for disks, which are large: it goes with the test.

    Its name is short, for a socket's whole path takes 108 bytes at the most.
    """
    with tempfile.TemporaryDirectory(prefix="relay-") as folder:
        yield Path(folder)


async def judge_cuts(
    recorded: Recorded, disk: RecordingDisk, scratch: Path, count: int, rng: Random
) -> AsyncIterator[Verdict]:
    """Cut so often; some of the disks get a server and a client, the others are opened here."""
    cuts = CutDisks(disk, scratch / "durable")
    chosen = choose_cuts(cuts.entries, recorded.since, recorded.until, count, rng)
    for number, cut in enumerate(chosen):
        moment = cuts.moment(cut, recorded.until)
        cuts.make(cut, scratch / "image", rng)
        with mounted(scratch / "image", scratch / "cut") as folder:
            if number % EACH_STARTED == 0:
                verdict = await judge_relay(recorded, moment, folder / RELAY, rng)
            else:
                verdict = await judge_disk(recorded, moment, folder / RELAY)
        yield verdict  # with nothing mounted: whoever takes it may end the test


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS if is_deep() else [*KINDS][:1])
async def test_a_power_cut_loses_nothing_that_was_answered(
    scratch: Path, name: str, rng: Random, judged: Judged
) -> None:
    kind = KINDS[name]
    with recording_disk(scratch / "disk", DISK_BYTES) as disk:
        recorded = await record_load(disk, rng, kind.accepted, kind.constants, cleaned=kind.cleaned)

    async for verdict in judge_cuts(recorded, disk, scratch, short_or_deep(3, 25), rng):
        judged(verdict, "power cut", 1, duplicates=UNDER_WAY)


@pytest.mark.slow
async def test_a_power_cut_while_it_starts_after_another_loses_nothing(
    scratch: Path, rng: Random, judged: Judged
) -> None:
    """From the mount on: the file system's recovery is cut, too, and the store's."""
    with recording_disk(scratch / "disk", DISK_BYTES) as disk:
        first = await record_load(disk, rng, short_or_deep(100, 800), (OFTEN_COPIED,))
    cuts = CutDisks(disk, scratch / "durable")
    [cut] = choose_cuts(cuts.entries, first.since, first.until, 1, rng)
    cuts.make(cut, scratch / "image", rng)
    with recording_disk(scratch / "again", image=scratch / "image") as disk:
        second = await record_return(disk, first, cuts.moment(cut, first.until), rng, 30)

    async for verdict in judge_cuts(second, disk, scratch, short_or_deep(1, 20), rng):
        judged(verdict, "power cut while it starts", 1, duplicates=UNDER_WAY)


@pytest.mark.parametrize("synchronous", ["normal", "off"] if is_deep() else ["normal"])
async def test_a_server_that_does_not_wait_for_the_disk_is_found_out(
    scratch: Path, synchronous: str, rng: Random
) -> None:
    """What all this would notice: the same server, but for the fsync before an answer."""
    unsynced = ("relay_server.store.sqlite.database", "SYNCHRONOUS", synchronous)
    # To make the log's file longer takes an fsync of its own.
    kept_short = ("relay_server.store.sqlite.checkpointer", "LENGTHEN_PAGES", 1 << 30)
    with recording_disk(scratch / "disk", DISK_BYTES) as disk:
        recorded = await record_load(disk, rng, 100, (unsynced, kept_short))
    cuts = CutDisks(disk, scratch / "durable")

    cuts.make(len(cuts.entries), scratch / "image", rng)
    with mounted(scratch / "image", scratch / "cut") as folder:
        stored = await stored_events(folder / RELAY)
    assert judge_stored(recorded.ledger_at(recorded.until), stored).lost
