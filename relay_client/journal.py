"""Finished deliveries that outlive the client: a memory, and an append-only log behind it.

    session ──add──▶ memory ──▶ queue ──▶ [thread] ──append, fsync──▶ journal-7.log
    session ──find─▶ memory ◀──what was appended since, by anyone──── journal-6.log, journal-7.log

A target took a delivery, and the client is killed before the relay knows: the relay delivers it
again, and the next client on this machine answers from the log instead of posting a second time.

*The log.* A record is a line of JSON: whose delivery (a digest of relay, channel and subscription),
delivery, event, status, duration. All that waits is one append and one fsync, made by a thread,
so that the event loop never waits for the disk. A result does not wait for the fsync either: a
crash in between costs a second post, as does one between the target's answer and any note of it.

*Segments.* Records go into the segment of the highest number. One that is full is followed by the
next, and then those before it are deleted, so that the log is bounded and keeps the last
`SEGMENT_BYTES` of records at least. Any number of clients append to one folder without a lock: a
batch is a single append, which no other splits; whoever finds a segment full begins the same next
one; and the two that stay are those that anybody can be writing to.

*Damage.* A batch begins with a newline, so that a torn end before it (a crash, a full disk) spoils
no record but its own. A line that is no record is passed over, whatever it is. Whatever else
fails is told once, and the client goes on with its memory alone.

*Reading.* A welcome names the subscriptions: their records are loaded then. The first attempt of a
delivery can have been nobody else's; for a later one that is not known, what was appended since
the last look is read first.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import Annotated

import msgspec

from relay_client.files import sync_folder
from relay_protocol.client_session import FinishedInMemory
from relay_protocol.limits import MAX_ELAPSED_MS, MAX_ID_CHARS
from relay_protocol.messages import Granted
from relay_protocol.values import Delivery, Response

# A fuller segment of the journal is followed by the next: some 20,000 records of ordinary ids.
SEGMENT_BYTES = 2_097_152
# A client that was away reads no more of a segment than its end; nothing that is full is longer.
MAX_READ_BYTES = 2 * SEGMENT_BYTES
# Delivered events that wait to be written. One more is remembered in memory alone, with a warning.
MAX_WAITING = 4_096
# Between two appends: under load they are few and large. A client that is killed meanwhile has not
# noted what came.
PAUSE_S = 0.05
# What is not in the journal so long after a stop is left out, with a warning.
CLOSE_S = 5.0

_SEGMENT = re.compile(r"journal-([1-9][0-9]{0,17})\.log")
_ON_MEMORY = "what was delivered is remembered in memory alone, as long as this client runs"

Id = Annotated[str, msgspec.Meta(max_length=MAX_ID_CHARS)]


class Record(msgspec.Struct, frozen=True, array_like=True):
    """A delivery that the target took; nothing that a relay would refuse as a result."""

    subscription: str
    delivery: Id
    event: Id
    status: Annotated[int, msgspec.Meta(ge=200, lt=300)]
    elapsed_ms: Annotated[int, msgspec.Meta(ge=0, le=MAX_ELAPSED_MS)]


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Record)


class Journal:
    """A `Finished` that a client started later, or beside this one, knows again.

    Making and closing it block for some disk accesses.

    Args:
        folder: Where the log is kept.
        relay: Its URL: deliveries of others have nothing to do with this one's.
        warn: Told once when the log cannot be used; must take calls from any thread.
    """

    def __init__(self, folder: Path, relay: str, warn: Callable[[str], object]) -> None:
        self._folder = folder
        self._relay = relay
        self._warn = warn
        self._warned = False
        self._memory = FinishedInMemory()
        self._subscriptions: dict[str, str] = {}  # their digests, by channel
        self._read_to: dict[int, int] = {}  # how far each segment was read
        self._waiting: SimpleQueue[Record | None] = SimpleQueue()
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as exc:
            self._fail(f"the journal in {folder} cannot be used", exc)
        self._thread = threading.Thread(target=self._write, name="relay-journal", daemon=True)
        self._thread.start()

    def open(self, granted: Sequence[Granted]) -> None:
        """Load what was added to these subscriptions, by whatever client."""
        mine = {one.channel: digest(self._relay, one.channel, one.name) for one in granted}
        if mine != self._subscriptions:
            self._subscriptions = mine
            self._read_to.clear()
            self._read_on()

    def find(self, delivery_id: str, event_id: str, attempt: int) -> Response | None:
        known = self._memory.find(delivery_id, event_id, attempt)
        if known is None and attempt > 1:
            self._read_on()
            known = self._memory.find(delivery_id, event_id, attempt)
        return known

    def add(self, delivery: Delivery, response: Response) -> None:
        self._memory.add(delivery, response)
        if self._waiting.qsize() >= MAX_WAITING:
            self._fail("the journal's disk is too slow")
            return
        self._waiting.put(
            Record(
                self._subscriptions[delivery.channel],
                delivery.id,
                delivery.event.id,
                response.status,
                response.elapsed_ms,
            )
        )

    def close(self) -> None:
        """Write what waits to be written."""
        self._waiting.put(None)
        self._thread.join(CLOSE_S)
        if self._thread.is_alive():
            self._fail(f"the journal could not be written within {CLOSE_S:.0f} s of the stop")

    def _write(self) -> None:
        """The thread's part. A full disk may have room again for the next batch."""
        while batch := self._next_batch():
            try:
                append(self._folder, batch)
            except OSError as exc:
                self._fail("the journal cannot be written", exc)
            time.sleep(PAUSE_S)

    def _next_batch(self) -> list[Record]:
        """All that waits, as soon as something does; nothing once the journal is closed."""
        batch: list[Record] = []
        while len(batch) < MAX_WAITING and not (batch and self._waiting.empty()):
            record = self._waiting.get()
            if record is None:
                self._waiting.put(None)  # to be met again, with nothing before it
                break
            batch.append(record)
        return batch

    def _read_on(self) -> None:
        """Learn what was appended since the last look."""
        mine = frozenset(self._subscriptions.values())
        try:
            for record in read_on(self._folder, self._read_to):
                if record.subscription in mine:
                    response = Response(record.status, elapsed_ms=record.elapsed_ms)
                    self._memory.remember((record.delivery, record.event), response)
        except OSError as exc:
            self._fail("the journal cannot be read", exc)

    def _fail(self, what: str, exc: OSError | None = None) -> None:
        if not self._warned:
            self._warned = True
            why = f" ({exc.strerror or exc})" if exc is not None else ""
            self._warn(f"{what}{why}: {_ON_MEMORY}")


def digest(*names: str) -> str:
    """Name a subscription in a record: of the same length whatever its names, and not telling."""
    return hashlib.sha256(json.dumps(names).encode()).hexdigest()[:32]


def append(folder: Path, records: Sequence[Record]) -> None:
    """Append records to the newest segment, or begin the next one; they survive a crash then.

    Raises:
        OSError: They cannot be written, or not all of them.
    """
    numbers = _segments(folder)
    number = numbers[-1] if numbers else 1
    if numbers and _path(folder, number).stat().st_size >= SEGMENT_BYTES:
        number += 1
        _delete(folder, numbers[:-1])
    batch = b"\n" + b"".join([_encoder.encode(record) + b"\n" for record in records])
    with open(_path(folder, number), "ab", buffering=0, opener=_private) as file:
        if file.write(batch) < len(batch):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(file.fileno())
    if number not in numbers:
        sync_folder(folder)


def read_on(folder: Path, read_to: dict[int, int]) -> Iterator[Record]:
    """Read what the two newest segments have beyond these offsets, and move them on.

    Raises:
        OSError: They cannot be read.
    """
    for number in _segments(folder)[-2:]:
        try:
            with _path(folder, number).open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                start = max(read_to.get(number, 0), size - MAX_READ_BYTES)
                file.seek(start)
                # What has no newline yet may be torn, or still be written.
                lines, newline, _ = file.read(MAX_READ_BYTES).rpartition(b"\n")
        except FileNotFoundError:
            continue  # another client has deleted it: it was full long ago
        read_to[number] = start + len(lines) + len(newline)
        yield from filter(None, map(_record, lines.split(b"\n")))


def _record(line: bytes) -> Record | None:
    try:
        return _decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _segments(folder: Path) -> list[int]:
    """The numbers of the segments that are there, the oldest first."""
    with os.scandir(folder) as entries:
        files = [entry.name for entry in entries if entry.is_file(follow_symlinks=False)]
    return sorted(int(found[1]) for name in files if (found := _SEGMENT.fullmatch(name)))


def _path(folder: Path, number: int) -> Path:
    return folder / f"journal-{number}.log"


def _delete(folder: Path, numbers: Sequence[int]) -> None:
    for number in numbers:
        with contextlib.suppress(PermissionError):  # Windows: another client is reading it
            _path(folder, number).unlink(missing_ok=True)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
