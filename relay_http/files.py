"""Small files that people write: settings, tokens, secrets, certificates."""

from __future__ import annotations

from pathlib import Path

from relay_protocol.text import decoded

MAX_FILE_BYTES = 1_048_576  # of such a file; all of a system's certificates have a quarter of it


def read_text(path: Path) -> str:
    """Read such a file; a pipe will do.

    Raises:
        OSError, ValueError: It cannot be read, is no text, or has no end.
    """
    with path.open("rb") as file:
        content = file.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        raise ValueError(f"it has more than {MAX_FILE_BYTES} bytes")
    return decoded(content)


def why_not(exc: OSError | ValueError) -> str:
    """Why a file cannot be read, without its name."""
    return (isinstance(exc, OSError) and exc.strerror) or str(exc)
