"""Standard streams, whatever became of them: never opened, their reader gone, or on a full disk.

Python flushes `sys.stdout` once more when a process ends, and where that fails it ends with 120,
whatever status the program had chosen.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Iterator

# Whoever read the output has seen enough: a pipe, a terminal, and Windows' word for a pipe.
READER_GONE = (errno.EPIPE, errno.EIO, errno.EINVAL)
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


@contextlib.contextmanager
def standard_streams() -> Iterator[None]:
    """Around all that a program does: its status is its own, though its output may be lost.

    Raises:
        SystemExit: What was run raised it; or with 1, the output could not be written.
    """
    _open_missing()
    try:
        yield
    except OSError as exc:
        lost = _flush()
        # Of a long text nothing is left to flush; what else may be a disk's trouble, or a bug.
        if lost is None and exc.errno not in (errno.EPIPE, *NO_ROOM):
            raise
        _judge(lost or exc)
    except SystemExit as exc:
        if isinstance(exc.__context__, BrokenPipeError):  # typer makes a status of 1 of it
            sys.exit(0)
        _judge(_flush())
        raise
    else:
        _judge(_flush())


def tell(text: str) -> None:
    """Write a line to people; where standard error cannot take it, there is nobody to tell."""
    with contextlib.suppress(OSError):
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()


def _judge(lost: OSError | None) -> None:
    """End with 1 where output was lost that somebody wanted."""
    if lost is not None and lost.errno not in READER_GONE:
        tell(f"The output cannot be written: {lost.strerror}")
        sys.exit(1)


def _open_missing() -> None:
    """Let those that the process was started without (`>&-`) lead nowhere.

    Python has None for them, and the next file that is opened, a database perhaps, gets the
    number of one.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: PTH123, SIM115


def _flush() -> OSError | None:
    """Write what is still buffered; what cannot be written is let go.

    Returns:
        Why standard output could not be written.
    """
    lost: OSError | None = None
    for stream in (sys.stderr, sys.stdout):
        try:
            stream.flush()
        except OSError as exc:
            lost = exc if stream is sys.stdout else None
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return lost
