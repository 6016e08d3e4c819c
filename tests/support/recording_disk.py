"""A disk that writes down what is done to it, in order: what a power cut may leave of it follows.

A file system in user space has one file, the disk; ext4 lies on it by way of a loop device. Run as
a program, this module is that file system, in a process of its own:

    python -m tests.support.recording_disk IMAGE TAPE FOLDER DISK

When its stdin ends, whoever started it is gone, and it unmounts both folders as soon as it can.
"""

from __future__ import annotations

import errno
import importlib
import os
import re
import stat
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.needs import find_program, lacks, need_program

FILE_NAME = "disk.img"
ENTRY = struct.Struct("<cqqq")  # what, monotonic nanoseconds, offset, bytes that follow
WRITE, FLUSH = b"w", b"f"
READY_S = 30.0
COMMAND_S = 45.0
CAP_SYS_ADMIN = 21  # capabilities(7), a bit's number
DEVICES = (Path("/dev/fuse"), Path("/dev/loop-control"))
AT_ONCE = "nodiscard,lazy_itable_init=0,lazy_journal_init=0"  # nothing is left for the first mount
MKFS = ("mkfs.ext4", "-q", "-F", "-b", "4096", "-E", AT_ONCE)


class Recorder:
    """The file system's operations. One thread does them, so their order is that of the disk."""

    use_ns = True

    def __init__(self, image: Path, tape: Path) -> None:
        self._image = os.open(image, os.O_RDWR)
        self._tape = os.open(tape, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._size = image.stat().st_size

    def getattr(self, path: str, fh: int | None = None) -> dict[str, int]:
        if path == "/":
            return {"st_mode": stat.S_IFDIR | 0o755, "st_nlink": 2}
        if path != f"/{FILE_NAME}":
            raise OSError(errno.ENOENT, "there is one file alone")
        return {"st_mode": stat.S_IFREG | 0o600, "st_nlink": 1, "st_size": self._size}

    def readdir(self, path: str, fh: int) -> list[str]:
        return [".", "..", FILE_NAME]

    def open(self, path: str, flags: int) -> int:
        return 0

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        return os.pread(self._image, size, offset)

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        if offset + len(data) > self._size:
            raise OSError(errno.ENOSPC, "a disk does not grow")
        self._note(WRITE, offset, data)
        return os.pwrite(self._image, data, offset)

    def fsync(self, path: str, datasync: int, fh: int) -> int:
        self._note(FLUSH, 0, b"")
        return 0

    def _note(self, what: bytes, offset: int, data: bytes) -> None:
        """The moment is that before the disk has it: nothing was answered because of it yet."""
        os.writev(self._tape, (ENTRY.pack(what, time.monotonic_ns(), offset, len(data)), data))


class RecordingDisk:
    """An ext4 whose disk is recorded.

    Attributes:
        folder: Where it is mounted.
        blank: The disk as it was before anything was recorded.
        tape: What was done to it since; see `ENTRY`.
        since: Monotonic seconds when that began.
        length: Bytes of the tape that count, once the disk was stopped.
    """

    def __init__(self, place: Path) -> None:
        self.folder, self.blank, self.tape = place / "disk", place / "blank", place / "tape"
        self.since = time.monotonic()
        self.length: int | None = None

    def stop(self) -> None:
        """From now on nothing counts: all power is gone."""
        self.length = self.tape.stat().st_size


def need_recording_disk() -> None:
    """Skip the test where there can be none; in CI, fail it."""
    for program, package in (("mkfs.ext4", "e2fsprogs"), ("fusermount3", "fuse3")):
        need_program(program, package)
    status = Path("/proc/self/status").read_text()
    [rights] = re.findall(r"^CapEff:\s+(\w+)$", status, re.MULTILINE)
    if not int(rights, 16) >> CAP_SYS_ADMIN & 1:
        lacks("the right to mount a loop device (CAP_SYS_ADMIN)")
    for device in DEVICES:
        if not os.access(device, os.R_OK | os.W_OK):
            lacks(str(device))
    try:
        importlib.import_module("mfusepy")
    except (ImportError, OSError) as exc:
        lacks(f"mfusepy (make setup), or libfuse for it (on Debian: apt install fuse3): {exc}")


@contextmanager
def recording_disk(
    place: Path, size: int = 0, image: Path | None = None
) -> Iterator[RecordingDisk]:
    """Mount a recorded disk below a folder; it is gone after the block.

    Args:
        place: The folder.
        size: Bytes of a new one …
        image: … or one that there is, as a power cut left it. It stays as it is.
    """
    need_recording_disk()
    disk = RecordingDisk(place)
    live, below = place / "live", place / "below"
    for folder in (place, disk.folder, below):
        folder.mkdir(parents=True, exist_ok=True)
    if image is None:
        _make(disk.blank, size)
    else:
        copy_sparse(image, disk.blank)
    copy_sparse(disk.blank, live)
    file = below / FILE_NAME
    with _recorder(live, disk.tape, below, disk.folder), mounted(file, disk.folder):
        yield disk


def _make(image: Path, size: int) -> None:
    with image.open("wb") as file:
        file.truncate(size)
    run(*MKFS, str(image))


@contextmanager
def mounted(image: Path, folder: Path) -> Iterator[Path]:
    """Mount the ext4 in a file; the kernel replays its journal first."""
    folder.mkdir(parents=True, exist_ok=True)
    run("mount", "-t", "ext4", "-o", "loop,errors=remount-ro", str(image), str(folder))
    try:
        yield folder
    finally:
        _unmount(folder)


def copy_sparse(source: Path, target: Path) -> None:
    """Copy a disk, its holes left out."""
    run("cp", "--sparse=always", "--reflink=auto", str(source), str(target))


def run(name: str, *arguments: str) -> str:
    """Run a command; it must succeed, and its output is returned."""
    command = [find_program(name) or name, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_S)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr or done.stdout}"
    return done.stdout


@contextmanager
def _recorder(image: Path, tape: Path, folder: Path, disk: Path) -> Iterator[None]:
    """Have the recorder's process serve a folder."""
    arguments = [str(path) for path in (image, tape, folder, disk)]
    process = subprocess.Popen(
        [sys.executable, "-m", __spec__.name, *arguments],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
    )
    try:
        _await(folder / FILE_NAME, process)
        yield
    finally:
        _unmount(folder)
        try:
            process.wait(COMMAND_S)
        except subprocess.TimeoutExpired:
            process.kill()
        process.communicate()


def _await(file: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + READY_S
    while not file.exists():
        assert process.poll() is None, "the recorder ended by itself"
        assert time.monotonic() < deadline, "the recorder serves no file"
        time.sleep(0.01)  # a mount by another process: there is nothing to wait on


def _unmount(folder: Path) -> None:
    """Unmount; what is still in use goes once it is not."""
    for how in (("umount",), ("umount", "--lazy")):
        command = [*how, str(folder)]
        if subprocess.run(command, capture_output=True, timeout=COMMAND_S).returncode == 0:
            return


def _serve(image: str, tape: str, folder: str, disk: str) -> None:
    """Be the file system, until it is unmounted."""
    threading.Thread(target=_clean_up, args=(disk, folder), daemon=True).start()
    importlib.import_module("mfusepy").FUSE(
        Recorder(Path(image), Path(tape)),
        folder,
        foreground=True,
        nothreads=True,
        direct_io=True,  # no cache of the kernel's between the loop device and the tape
        fsname="recording-disk",
    )


def _clean_up(*folders: str) -> None:
    """Wait until nobody holds the other end of stdin, and leave nothing mounted."""
    sys.stdin.buffer.read()
    for folder in folders:
        subprocess.run(["umount", "--lazy", folder], capture_output=True, timeout=COMMAND_S)


if __name__ == "__main__":
    _serve(*sys.argv[1:])
