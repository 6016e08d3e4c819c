"""Standard streams, whatever became of them: never opened, their reader gone, or on a full disk.

A command that ends by itself fails where its output is lost. A program that runs on writes `Lines`:
what cannot be written is lost and counted, and nothing waits for it. Python flushes `sys.stdout`
once more when a process ends, and where that fails it ends with 120, whatever status the program
had chosen.
"""

from __future__ import annotations

import codecs
import contextlib
import errno
import io
import os
import select
import stat
import sys
import threading
import unicodedata
from collections.abc import Callable, Iterator
from typing import TextIO

from relay_terminal.words import _

# Whoever read the output has seen enough: a pipe, a terminal, and Windows' word for a pipe.
READER_GONE = (errno.EPIPE, errno.EIO, errno.EINVAL)
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
# Given to a reader that is slow, or stopped: then a line is lost, and those that follow at once.
STALL_S = 0.1
# What a stream's encoding may lack, and what is written instead.
INSTEAD = {"→": "->", "…": "...", "×": "x", "–": "-", "—": "-", "’": "'", "•": "*", "─": "-"}
_SUBSTITUTING = "relay-substituting"  # the name that codecs know `_substituted` by
_AT_ONCE = 4_096  # bytes that a pipe takes without waiting, where it takes any (PIPE_BUF)


@contextlib.contextmanager
def standard_streams() -> Iterator[None]:
    """Around all that a program does: its status is its own, though its output may be lost.

    Raises:
        SystemExit: What was run raised it; or with 1, the output could not be written.
    """
    _open_missing()
    for stream in (sys.stdout, sys.stderr):
        # An old code page cannot write every name; other letters are better than an end.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_SUBSTITUTING)
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


class Lines:
    """The lines of a program that goes on, whatever becomes of those who read them.

    A line that cannot be written at once is lost: the disk is full, a pipe's reader is stopped, a
    terminal is held. To who writes it is a stream.

    Args:
        stream: Where they go.
        again: Told how many were lost, once one was written again; it may write.

    Attributes:
        trouble: Why the last line was lost; None when it was written.
        lost_ever: How many were lost.
    """

    def __init__(self, stream: TextIO, again: Callable[[int], None] = lambda _: None) -> None:
        self.trouble: OSError | None = None
        self.lost_ever = 0
        self._stream = stream
        self._again = again
        self._lock = threading.RLock()  # `again` may write
        self._lost = 0  # since the last that was written
        self._is_torn = False  # a part of a line was written
        self._number = -1  # of the stream, when it was written last
        self._has_room: Callable[[float], bool]  # there

    def write(self, text: str) -> int:
        """Write lines, with the newline at their end."""
        with self._lock:
            try:
                self._put(text)
            except OSError as exc:
                count = text.count("\n")
                self.trouble = exc
                self.lost_ever += count
                self._lost += count
                return 0
            self.trouble, lost, self._lost = None, self._lost, 0
            if lost:
                self._again(lost)
        return len(text)

    def flush(self) -> None:
        """Part of a stream: all is written already."""

    def _put(self, text: str) -> None:
        number = _descriptor(self._stream)
        if number is None:
            self._stream.write(text)
            self._stream.flush()
            return
        if number != self._number:
            self._number, self._has_room = number, _room_at(number)
        # Past the buffers of Python, which keep what could not be written, and try it once more.
        rest = text.encode(self._stream.encoding, _SUBSTITUTING)
        if self._is_torn:
            rest = b"\n" + rest
        while rest:
            if not self._has_room(0.0 if self._lost else STALL_S):
                raise BlockingIOError(errno.EAGAIN, _("nobody reads it"))
            rest = rest[os.write(number, rest[:_AT_ONCE]) :]
            self._is_torn = bool(rest)


def _substituted(error: UnicodeError) -> tuple[str, int]:
    """What an encoding lacks, in letters that it has; a question mark where nothing is like it."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = ""
    for char in error.object[error.start : error.end]:
        plain = unicodedata.normalize("NFKD", char).encode("ascii", "ignore").decode()
        text += INSTEAD.get(char) or plain or "?"
    return text, error.end


codecs.register_error(_SUBSTITUTING, _substituted)


def _judge(lost: OSError | None) -> None:
    """End with 1 where output was lost that somebody wanted."""
    if lost is not None and lost.errno not in READER_GONE:
        tell(_("The output cannot be written: {strerror}").format(strerror=lost.strerror))
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


if sys.platform == "win32":  # its consoles take text, and its poll() nothing but sockets

    def _descriptor(stream: TextIO) -> int | None:
        return None

    def _room_at(number: int) -> Callable[[float], bool]:
        return lambda within_s: True

else:

    def _descriptor(stream: TextIO) -> int | None:
        """The number of a stream that is a process' own."""
        try:
            return stream.fileno()
        except (OSError, ValueError, AttributeError):
            return None

    def _room_at(number: int) -> Callable[[float], bool]:
        """Give a function that is true once a write takes something, within so many seconds."""
        if stat.S_ISREG(os.fstat(number).st_mode):
            return lambda within_s: True
        poll = select.poll()
        poll.register(number, select.POLLOUT)
        return lambda within_s: bool(poll.poll(within_s * 1_000))
