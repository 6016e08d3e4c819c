"""Power cuts: what a disk whose write cache is volatile may hold afterwards.

What was written before the last flush that ended is there. Of what was written since, each write
may be there, be lost, or be there in some of its sectors, whatever was written before or after it.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.recording_disk import ENTRY, FLUSH, RecordingDisk, copy_sparse

SECTOR = 512  # bytes, which a disk writes whole or not at all
KEPT = (0.0, 0.5, 0.9, 1.0)  # shares of what was in the cache
TORN = 0.2  # of the writes that are not kept whole
# ext4 cannot be mounted when its superblock, of 1 KiB, is torn: e2fsck then takes one of the
# copies, which is no matter of Relay's.
SUPERBLOCK_END = 4096


@dataclass(frozen=True, slots=True)
class Entry:
    """Something that was done to a disk.

    Attributes:
        at: Monotonic seconds, from before it was done.
        offset: On the disk.
        size: Bytes written; 0 for a flush.
        place: Where these bytes are on the tape.
    """

    is_flush: bool
    at: float
    offset: int
    size: int
    place: int


def read_tape(disk: RecordingDisk) -> list[Entry]:
    """Everything that was done until the disk was stopped, in order."""
    entries, place = [], 0
    length = disk.tape.stat().st_size if disk.length is None else disk.length
    with disk.tape.open("rb") as file:
        while place < length:
            head = file.read(ENTRY.size)
            what, at_ns, offset, size = ENTRY.unpack(head)
            place += ENTRY.size
            entries.append(Entry(what == FLUSH, at_ns / 1e9, offset, size, place))
            place = file.seek(size, os.SEEK_CUR)
    return entries


def choose_cuts(
    entries: Sequence[Entry], since: float, until: float, count: int, rng: random.Random
) -> list[int]:
    """Choose moments: half of them anywhere, half where a flush is asked for or has just ended.

    Args:
        entries: Of the tape.
        since: Monotonic seconds from which on …
        until: … and to which cuts are wanted.
        count: How many.
        rng: Decides.

    Returns:
        How many entries were done before each cut, ascending.
    """
    within = [n for n, entry in enumerate(entries) if since <= entry.at <= until]
    flushes = [n + after for n in within if entries[n].is_flush for after in (0, 1)]
    half = count // 2
    return sorted([*rng.choices(within, k=count - half), *rng.choices(flushes or within, k=half)])


class CutDisks:
    """The disks that cuts leave; the cuts must come in the order of the tape.

    Attributes:
        entries: What is on the tape.
    """

    def __init__(self, disk: RecordingDisk, scratch: Path) -> None:
        self.entries = read_tape(disk)
        self._tape = disk.tape
        self._durable = scratch
        self._flushed = 0  # entries whose effect is in the file
        copy_sparse(disk.blank, scratch)

    def moment(self, cut: int, end: float) -> float:
        """Monotonic seconds of a cut after so many entries; `end` is that of the last."""
        return self.entries[cut].at if cut < len(self.entries) else end

    def make(self, cut: int, image: Path, rng: random.Random) -> None:
        """Write the disk that is left by a cut after so many entries."""
        assert cut >= self._flushed, "cuts must ascend"
        last = max((n for n in range(self._flushed, cut) if self.entries[n].is_flush), default=-1)
        with self._tape.open("rb") as tape:
            if last >= 0:
                self._write(tape.fileno(), self._durable, self._whole(self._flushed, last))
                self._flushed = last
            copy_sparse(self._durable, image)
            self._write(tape.fileno(), image, self._survivors(cut, rng))

    def _whole(self, start: int, end: int) -> Iterator[Entry]:
        return (entry for entry in self.entries[start:end] if not entry.is_flush)

    def _survivors(self, cut: int, rng: random.Random) -> Iterator[Entry]:
        """What of the cache came onto the disk, in pieces."""
        kept = rng.choice(KEPT)
        for entry in self._whole(self._flushed, cut):
            if rng.random() < kept:
                yield entry
            elif rng.random() < TORN and entry.offset >= SUPERBLOCK_END:
                yield from _torn(entry, rng)

    @staticmethod
    def _write(tape: int, image: Path, entries: Iterator[Entry]) -> None:
        fd = os.open(image, os.O_WRONLY)
        try:
            for entry in entries:
                os.pwrite(fd, os.pread(tape, entry.size, entry.place), entry.offset)
        finally:
            os.close(fd)


def _torn(entry: Entry, rng: random.Random) -> Iterator[Entry]:
    """Some sectors of a write: the first few, or any."""
    sectors = range(0, entry.size, SECTOR)
    first = rng.randrange(len(sectors) + 1)
    some = sectors[:first] if rng.random() < 0.5 else [s for s in sectors if rng.random() < 0.5]
    for start in some:
        size = min(SECTOR, entry.size - start)
        yield Entry(False, entry.at, entry.offset + start, size, entry.place + start)
