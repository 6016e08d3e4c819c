"""A copy of the tree to break things in; in memory where it can be, where an fsync is free."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

ROOT = Path(__file__).parents[1]
MEMORY = Path("/dev/shm")


@contextmanager
def copied_tree(name: str) -> Iterator[Path]:
    """A copy of this tree, without what git ignores, for as long as it is needed."""
    with tempfile.TemporaryDirectory(
        prefix=f"{name}-", dir=MEMORY if MEMORY.is_dir() else None, ignore_cleanup_errors=True
    ) as folder:
        copy_tree(ROOT, Path(folder))
        yield Path(folder)


def empty(folder: Path) -> None:
    """Remove everything in a folder; it need not be there."""
    if folder.is_dir():
        for path in folder.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def size_below(folder: Path) -> int:
    """How many bytes the files in a folder take, while others write and remove them."""
    total = 0
    for at, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                total += os.lstat(Path(at, name)).st_blocks * 512  # nothing for what is sparse
    return total


def copy_tree(source: Path, target: Path) -> None:
    """Copy what git knows of a tree, and what is new in it."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=source, check=True, capture_output=True)
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (source / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source / name, target / name)
