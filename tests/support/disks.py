"""Disks of a few megabytes: one that is really full when it is full, and one that dies."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.needs import lacks, need_program

MIB = 1_048_576


class SmallDisk:
    """A file system of its own.

    Attributes:
        folder: Where it is mounted.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ballast = folder / "ballast"

    @property
    def free(self) -> int:
        """Bytes that can still be written."""
        status = os.statvfs(self.folder)
        return status.f_bavail * status.f_frsize

    def fill(self, but: int = 0) -> None:
        """Take all that is free, but for some bytes; others may write meanwhile."""
        with self._ballast.open("ab") as ballast:
            piece = 16 * MIB
            while (room := self.free - but) > 0 and piece:
                try:
                    os.posix_fallocate(ballast.fileno(), ballast.tell(), min(room, piece))
                except OSError:
                    piece //= 2
                ballast.seek(0, os.SEEK_END)

    def give_back(self, size: int) -> None:
        """Give back some bytes of what `fill` took."""
        os.truncate(self._ballast, max(0, self._ballast.stat().st_size - size))

    def clear(self) -> None:
        """Give back what `fill` took, if it did."""
        self._ballast.unlink(missing_ok=True)

    def make_read_only(self) -> None:
        """Mount it anew so that nothing can be written; nothing may be open for writing."""
        _run("mount", "-o", "remount,ro", str(self.folder))


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[SmallDisk]:
    """Mount a disk of so many bytes; in CI that must be possible, elsewhere it may be skipped."""
    folder.mkdir(parents=True, exist_ok=True)
    mounted = _run("mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "tmpfs", str(folder))
    if mounted is not None:
        lacks(f"the right to mount a tmpfs ({mounted})")
    try:
        yield SmallDisk(folder)
    finally:
        _run("umount", "--lazy", str(folder))


class DyingDisk:
    """An ext4 file system in a file, which the kernel can be had to give up: it is read-only then.

    Attributes:
        folder: Where it is mounted.
    """

    def __init__(self, image: Path, folder: Path) -> None:
        self.folder = folder
        self._image = image

    def mount(self) -> str | None:
        """Mount it (again); returns what was wrong, if anything was."""
        return _run("mount", "-o", "loop", str(self._image), str(self.folder))

    def abort(self) -> None:
        """Have the kernel act as if it had met an error: from now on nothing can be written."""
        said = _run("mount", "-o", "remount,abort", str(self.folder))
        assert not said, said

    def repair(self) -> None:
        """Unmount it, have it checked, and mount it again; nothing may be open on it."""
        said = _run("umount", str(self.folder))
        assert not said, said
        _run(need_program("e2fsck", "e2fsprogs"), "-fy", str(self._image))
        said = self.mount()
        assert not said, said


@contextmanager
def dying_disk(folder: Path, image: Path, size: int) -> Iterator[DyingDisk]:
    """Make a disk of so many bytes, and mount it."""
    make = need_program("mkfs.ext4", "e2fsprogs")
    folder.mkdir(parents=True, exist_ok=True)
    image.touch()
    with image.open("r+b") as file:
        file.truncate(size)
    said = _run(make, "-q", "-F", str(image))
    assert not said, said
    disk = DyingDisk(image, folder)
    if said := disk.mount():
        lacks(f"the right to mount a file system's image ({said})")
    try:
        yield disk
    finally:
        _run("umount", "--lazy", str(folder))


def _run(*command: str) -> str | None:
    """Run a command; returns what it said if it failed."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    except OSError as exc:
        return str(exc)
    return done.stderr.strip() or "failed" if done.returncode else None
