"""Where the data dir is, and the control socket in it: all that a health check has to know."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PREFIX = "RELAY_SERVER_"
SOCKET_NAME = "control.sock"
MAX_SOCKET_PATH = 100  # bytes; the kernel takes 107. A longer path is reached through its folder


def default_data_dir() -> Path:
    """In the user's data folder."""
    import platformdirs

    return platformdirs.user_data_path("relay-server")


def named_data_dir() -> Path | None:
    """The data dir that the environment names; settings are read from more places than this.

    A `…_FILE` that cannot be read names none: whoever reads the settings says why.
    """
    given = {name.upper(): value for name, value in os.environ.items()}
    if f"{PREFIX}DATA_DIR" in given:
        return Path(given[f"{PREFIX}DATA_DIR"])
    try:
        return Path(Path(os.environ[f"{PREFIX}DATA_DIR_FILE"]).read_text("utf-8").strip())
    except (KeyError, OSError, UnicodeDecodeError):
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
