"""What a person types while the demo stays up."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

MOST_BYTES = 1_024

TypedLines = asyncio.Queue[str | None]


@contextmanager
def typed_lines() -> Iterator[TypedLines]:
    """Each line that is typed, and None once there will be no more."""
    loop, typed = asyncio.get_running_loop(), TypedLines()
    stdin = sys.stdin.fileno()

    def read() -> None:
        lines = _read(stdin)
        if lines is None:
            loop.remove_reader(stdin)
            typed.put_nowait(None)
        for line in lines or ():
            typed.put_nowait(line.strip())

    loop.add_reader(stdin, read)
    try:
        yield typed
    finally:
        loop.remove_reader(stdin)


def _read(stdin: int) -> list[str] | None:
    """The lines that are there; None after Ctrl-D, or when the terminal is gone."""
    try:
        text = os.read(stdin, MOST_BYTES).decode(errors="replace")
    except OSError:
        return None
    return text.splitlines() or None
