"""Standard streams that are gone, as whoever starts a program may leave them."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from relay_terminal import streams
from relay_terminal.streams import Lines

NO_ROOM = "The output cannot be written: No space left on device"
ROOT = Path(__file__).parents[3]
PROGRAM = """
import os, sys
from relay_terminal.streams import standard_streams, tell
with standard_streams():
    print("x" * {size})
    tell("told")
    {then}
"""


def gone_pipe() -> int:
    """What a pipe's writer has once its reader ended."""
    reader, writer = os.pipe()
    os.close(reader)
    return writer


def gone_terminal() -> int:
    """What a program has once its terminal's window is closed."""
    master, slave = pty.openpty()
    os.close(master)
    return slave


def full_disk() -> int:
    return os.open("/dev/full", os.O_WRONLY)


def run(out: int, size: int, then: str) -> tuple[int, str]:
    """Run the program to its end: status, stderr."""
    try:
        ended = subprocess.run(
            [sys.executable, "-c", PROGRAM.format(size=size, then=then)],
            cwd=ROOT,
            stdout=out,
            stderr=subprocess.PIPE,
            text=True,
            timeout=200,
        )
    finally:
        os.close(out)
    return ended.returncode, ended.stderr


@pytest.mark.skipif(
    sys.platform == "win32", reason="has neither terminals like these nor /dev/full"
)
@pytest.mark.parametrize(
    ("output", "size", "status", "said"),
    [
        (gone_pipe, 1, 0, "told\n"),
        (gone_terminal, 1, 0, "told\n"),
        (full_disk, 1, 1, f"told\n{NO_ROOM}\n"),
        # More than is buffered fails in the program's midst.
        (gone_pipe, 100_000, 0, ""),
        (full_disk, 100_000, 1, f"{NO_ROOM}\n"),
    ],
)
def test_the_status_is_the_programs_own(
    output: Callable[[], int], size: int, status: int, said: str
) -> None:
    """Not 120, nor a traceback; a reader that has seen enough is no failure."""
    assert run(output(), size, "") == (status, said)


@pytest.mark.parametrize("output", [gone_pipe, gone_terminal])
def test_a_failure_stays_one(output: Callable[[], int]) -> None:
    assert run(output(), 1, "sys.exit(3)") == (3, "told\n")


def test_an_error_that_is_no_streams_is_not_hidden() -> None:
    status, errors = run(os.open(os.devnull, os.O_WRONLY), 1, "open('/nowhere/at/all')")

    assert status == 1
    assert "FileNotFoundError" in errors


def test_streams_that_were_never_opened_lead_nowhere(tmp_path: Path) -> None:
    """No file that is opened later becomes standard output."""
    program = PROGRAM.format(
        size=1,
        then=f"file = open({str(tmp_path / 'database')!r}, 'w'); sys.exit(file.fileno() < 3)",
    )
    line = 'exec "$0" -c "$1" <&- >&- 2>&-'

    ended = subprocess.run(["/bin/sh", "-c", line, sys.executable, program], cwd=ROOT, timeout=200)

    assert ended.returncode == 0
    assert (tmp_path / "database").read_text() == ""


@contextmanager
def filled_pipe() -> Iterator[tuple[int, io.TextIOWrapper]]:
    """A pipe that its reader lets fill up: the reading end, and a stream to the other."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with os.fdopen(writer, "w", encoding="utf-8") as stream:
        for size in (4_096, 1):
            try:
                while os.write(writer, b"." * size):
                    pass
            except BlockingIOError:
                pass
        os.set_blocking(writer, True)
        yield reader, stream
        os.close(reader)


@pytest.mark.skipif(sys.platform == "win32", reason="has no poll()")
def test_nothing_waits_for_a_reader_that_stands_still(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "STALL_S", 0.01)
    told: list[int] = []
    with filled_pipe() as (reader, stream):
        lines = Lines(stream, told.append)
        for _ in range(3):
            lines.write("lost\n")
        assert (lines.lost_ever, told) == (3, [])
        assert isinstance(lines.trouble, BlockingIOError)

        os.read(reader, 1_048_576)
        lines.write("written ☃\n")
        assert told == [3]
        assert os.read(reader, 100).decode() == "written ☃\n"


@pytest.mark.skipif(sys.platform == "win32", reason="has no poll()")
def test_a_line_that_was_torn_spoils_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "STALL_S", 0.01)
    reader, writer = os.pipe()
    with os.fdopen(writer, "w", encoding="utf-8") as stream:
        lines = Lines(stream)
        lines.write("x" * 1_048_576 + "\n")  # more than a pipe holds
        os.read(reader, 1_048_576)
        lines.write("whole\n")
        assert os.read(reader, 100) == b"\nwhole\n"
    os.close(reader)


@pytest.mark.skipif(sys.platform == "win32", reason="has no /dev/full")
def test_a_full_disk_keeps_nothing_back() -> None:
    """What Python would buffer of it is not written at the end either."""
    with Path("/dev/full").open("w", encoding="utf-8") as stream:
        lines = Lines(stream)
        lines.write("one\ntwo\n")
        assert lines.lost_ever == 2
    # closed without an error


def test_a_file_gets_lines_of_any_length_at_once(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w", encoding="utf-8") as stream:
        lines = Lines(stream)
        lines.write("x" * 1_048_576 + "\n")
        lines.write("ação\n")
        assert (tmp_path / "log").read_text("utf-8") == "x" * 1_048_576 + "\nação\n"


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-16"])
def test_what_a_terminal_cannot_show_ends_nothing(encoding: str) -> None:
    program = "from relay_terminal.streams import *\nwith standard_streams(): print('👋 José')"
    environment = {**os.environ, "PYTHONUTF8": "0", "PYTHONIOENCODING": encoding}

    ended = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, timeout=200
    )

    assert (ended.returncode, ended.stderr) == (0, b"")
    assert "Jos" in ended.stdout.decode(encoding)
