"""A disk whose file system the kernel gives up, as it does after an error: read-only at once."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.needs import lacks, need_program


class DyingDisk:
    """An ext4 file system in a file, mounted.

    Attributes:
        folder: Where it is mounted.
    """

    def __init__(self, image: Path, folder: Path) -> None:
        self.folder = folder
        self._image = image

    def mount(self) -> str:
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


def _run(*command: str) -> str:
    """Run a command; returns what it said if it failed."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    return done.stderr.strip() or "failed" if done.returncode else ""
