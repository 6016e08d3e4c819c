"""The data dir and its files: where they are, and small things that are done with them.

A health check reads this module alone, so it needs little.
"""

from __future__ import annotations

import errno
import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from relay_http.files import read_text
from relay_protocol.errors import RelayError

PREFIX = "RELAY_SERVER_"
SOCKET_NAME = "control.sock"
MAX_SOCKET_PATH = 100  # bytes; the kernel takes 107. A longer path is reached through its folder


class NoHome(RelayError, code="no_home"):
    """A folder in the user's home was meant, and this user has none."""

    message = "there is no folder {}: this user has no home"
    hint = "Set RELAY_SERVER_DATA_DIR, or HOME."


def default_data_dir() -> Path:
    """In the user's data folder.

    Raises:
        NoHome: There is none.
    """
    import platformdirs

    try:
        return platformdirs.user_data_path("relay-server")
    except RuntimeError as exc:
        raise NoHome("for the user's data") from exc


def absolute(path: Path) -> Path:
    """A path from the root on, and from a user's home where it begins with `~`.

    Raises:
        NoHome: There is none.
    """
    try:
        return path.expanduser().absolute()
    except RuntimeError as exc:
        raise NoHome(path) from exc


def named_data_dir() -> Path | None:
    """The data dir that the environment names; settings are read from more places than this.

    A `…_FILE` that cannot be read names none: whoever reads the settings says why.
    """
    given = {name.upper(): value.strip() for name, value in os.environ.items()}
    if named := given.get(f"{PREFIX}DATA_DIR"):
        return Path(named)
    try:
        return Path(read_text(Path(given[f"{PREFIX}DATA_DIR_FILE"])).strip())
    except (KeyError, OSError, ValueError):
        return None


@contextmanager
def short_path(path: Path) -> Iterator[str]:
    """A name for a socket that fits into the kernel's 107 bytes, however deep it lies."""
    if len(os.fsencode(path)) <= MAX_SOCKET_PATH:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def beside(path: Path, suffix: str) -> Path:
    """The file whose name is a database's and something more."""
    return path.with_name(path.name + suffix)


def sync(path: Path) -> None:
    """Have a file, or a folder's list of names, survive a crash."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_whole(path: Path, content: bytes) -> None:
    """Have a small file, for its owner alone, survive a crash: all of it, or what was there before.

    Raises:
        OSError: It cannot be written.
    """
    fresh = beside(path, ".new")
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(fd)
    fresh.replace(path)
    sync(path.parent)


def size_of(path: Path) -> int:
    """Bytes in a file; 0 when it is not there."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def explained(error: OSError, data_dir: Path) -> str:
    """Why a file of the data dir cannot be used; and if it is another user's, what puts that right.

    A volume that was made for another user, or a bind mount that Docker made for root, is the
    usual cause, and the system's "Permission denied" says neither whose it is nor who asks.
    """
    if error.errno == errno.EROFS:
        return "it is mounted read-only: mount it for writing"
    if isinstance(error, PermissionError):
        path = Path(error.filename or data_dir)
        with suppress(OSError):  # a folder above is closed, too
            return _whose(path if os.access(path.parent, os.X_OK) else path.parent, data_dir)
    return error.strerror or str(error)


def _whose(path: Path, data_dir: Path) -> str:
    status, user, group = path.stat(), os.geteuid(), os.getegid()
    mode = f"{status.st_mode & 0o777:o}"
    if status.st_uid == user:
        return f"{path} has the mode {mode}"
    return (
        f"{path} belongs to user {status.st_uid} (mode {mode}), and this is user {user}:"
        f" chown -R {user}:{group} {shlex.quote(str(data_dir))}"
    )
