"""Finished deliveries that outlive the client: a memory, and an append-only log behind it.

    session ──add──▶ memory ──▶ queue ──▶ [thread] ──append──▶ journal-7.log
    session ──find─▶ memory ◀──what was appended since, by anyone── journal-6.log, journal-7.log

A target took a delivery, and the client is killed before the relay knows: the relay delivers it
again, and the next client on this machine answers from the log instead of posting a second time.

*The log.* A record is a line of JSON: whose delivery (a digest of relay, channel and subscription),
delivery, event, status, duration. All that waits is one append, made by a thread: a write is
microseconds as a rule and seconds on a slow disk, and the event loop never waits for one. What is
appended outlives the client; the fsync that lets it outlive the whole machine comes `SYNC_S` later
at most. A result waits for neither: a crash in between costs a second post, as does one between
the target's answer and any note of it.

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
import queue
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated

import msgspec

from relay_client.files import sync_folder
from relay_protocol.finished import FinishedInMemory
from relay_protocol.limits import MAX_ELAPSED_MS, MAX_ID_CHARS
from relay_protocol.messages import Granted
from relay_protocol.values import Delivery, Response
from relay_terminal.words import N_, _

# A fuller segment of the journal is followed by the next: some 20,000 records of ordinary ids.
SEGMENT_BYTES = 2_097_152
# A client that was away reads no more of a segment than its end; nothing that is full is longer.
MAX_READ_BYTES = 2 * SEGMENT_BYTES
# Delivered events that wait to be written. One more is remembered in memory alone, with a warning.
MAX_WAITING = 4_096
# Between two appends: the thread's wake-ups would cost more than what it writes. A client that is
# killed meanwhile has not noted what came. Nearly all of that the relay knows by its result; what
# it does not know is a window of deliveries at most, as it sends no more before it does.
PAUSE_S = 0.2
# Until what was appended survives a crash of the machine, too: an fsync for each batch costs as
# much as the webhook, and hold up the server's where both are on one disk.
SYNC_S = 1.0
# What is not in the journal so long after a stop is left out, with a warning.
CLOSE_S = 5.0

_SEGMENT = re.compile(r"journal-([1-9][0-9]{0,17})\.log")
_ON_MEMORY = N_("what was delivered is remembered in memory alone, as long as this client runs")

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
        self._waiting: queue.SimpleQueue[Record | None] = queue.SimpleQueue()
        self._closing = threading.Event()
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as exc:
            self._fail(_("the journal in {folder} cannot be used").format(folder=folder), exc)
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
            self._fail(_("the journal's disk is too slow"))
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
        self._closing.set()
        self._thread.join(CLOSE_S)
        if self._thread.is_alive():
            self._fail(
                _("the journal could not be written within {seconds:.0f} s of the stop").format(
                    seconds=CLOSE_S
                )
            )

    def _write(self) -> None:
        """The thread's part. A full disk may have room again for the next batch."""
        log = Log(self._folder)
        batch: list[Record] | None = []
        while batch is not None:
            batch = self._next_batch(None if log.is_synced else SYNC_S)
            try:
                if batch:
                    log.append(batch)
                if not batch or time.monotonic() - log.synced_at >= SYNC_S:
                    log.sync()
            except OSError as exc:
                self._fail(_("the journal cannot be written"), exc)
            if batch:
                self._closing.wait(PAUSE_S)
        log.close()

    def _next_batch(self, within_s: float | None) -> list[Record] | None:
        """All that waits, as soon as something does; None once the journal is closed."""
        batch: list[Record] = []
        with contextlib.suppress(queue.Empty):
            while len(batch) < MAX_WAITING and not (batch and self._waiting.empty()):
                record = self._waiting.get(timeout=within_s)
                if record is not None:
                    batch.append(record)
                elif batch:
                    self._waiting.put(None)  # to be met again, with nothing before it
                    break
                else:
                    return None
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
            self._fail(_("the journal cannot be read"), exc)

    def _fail(self, what: str, exc: OSError | None = None) -> None:
        if not self._warned:
            self._warned = True
            why = f" ({exc.strerror or exc})" if exc is not None else ""
            self._warn(f"{what}{why}: {_(_ON_MEMORY)}")


def digest(*names: str) -> str:
    """Name a subscription in a record: of the same length whatever its names, and not telling."""
    return hashlib.sha256(json.dumps(names).encode()).hexdigest()[:32]


class Log:
    """The end of a folder's segments, as one client appends to it; every method may block.

    Attributes:
        is_synced: All that was appended survives a crash of the machine.
        synced_at: When that was last so, in monotonic seconds.
    """

    def __init__(self, folder: Path) -> None:
        self.is_synced = True
        self.synced_at = 0.0
        self._folder = folder
        self._file = -1  # the descriptor of the newest segment, once something was appended

    def append(self, records: Sequence[Record]) -> None:
        """Append records to the newest segment, or begin the next one; they outlive the client.

        Raises:
            OSError: They cannot be written, or not all of them.
        """
        batch = b"\n" + b"".join([_encoder.encode(record) + b"\n" for record in records])
        self._open()
        self.is_synced = False
        if os.write(self._file, batch) < len(batch):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def sync(self) -> None:
        """Let what was appended survive a crash of the machine.

        Raises:
            OSError: It cannot be written.
        """
        if not self.is_synced:
            self.is_synced, self.synced_at = True, time.monotonic()
            os.fsync(self._file)

    def close(self) -> None:
        """Let go of the segment."""
        if self._file >= 0:
            with contextlib.suppress(OSError):
                self.sync()
            os.close(self._file)
            self._file = -1

    def _open(self) -> None:
        if self._file >= 0:
            found = os.fstat(self._file)
            if found.st_nlink and found.st_size < SEGMENT_BYTES:
                return
            self.close()  # it is full, or was taken away
        numbers, is_full = _newest(self._folder)
        number = numbers[-1] + is_full if numbers else 1
        if is_full:
            _delete(self._folder, numbers[:-1])
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0)
        self._file = os.open(_path(self._folder, number), flags, 0o600)
        if number not in numbers:
            sync_folder(self._folder)


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


def _newest(folder: Path) -> tuple[list[int], bool]:
    """The numbers of the segments, and whether the newest is full."""
    while numbers := _segments(folder):
        # Where it is gone by now, other clients have filled newer ones meanwhile.
        with contextlib.suppress(FileNotFoundError):
            return numbers, _path(folder, numbers[-1]).stat().st_size >= SEGMENT_BYTES
    return [], False


def _path(folder: Path, number: int) -> Path:
    return folder / f"journal-{number}.log"


def _delete(folder: Path, numbers: Sequence[int]) -> None:
    for number in numbers:
        with contextlib.suppress(PermissionError):  # Windows: another client is reading it
            _path(folder, number).unlink(missing_ok=True)
