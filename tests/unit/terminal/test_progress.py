"""A bar for who looks, nothing for who does not, and a clean screen at the end."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from relay_terminal.layout import width

ROOT = Path(__file__).parents[3]
CODES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
PROGRAM = """
import sys
from relay_terminal.progress import progress
with progress("Copying \x1b[2J", 12_000, "It goes on.") as reach:
    reach(6_000, "2 are retried, and {many}")
    {then}
print("rich.progress" in sys.modules)
"""


def run(then: str, columns: int) -> tuple[bytes, str]:
    """What is on the terminal at standard error, and on standard output."""
    master, slave = pty.openpty()
    environment = os.environ | {"COLUMNS": str(columns), "TERM": "xterm", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.replace("{then}", then).replace("{many}", "much else " * 9)],
        stderr=slave,
        stdout=subprocess.PIPE,
        env=environment,
        text=True,
    )
    os.close(slave)
    seen = b""
    try:
        while part := os.read(master, 65_536):
            seen += part
    except OSError:  # all of it was read
        pass
    finally:
        os.close(master)
    return seen, done.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="has no such terminals")
@pytest.mark.parametrize("columns", [60, 80])
def test_a_bar_says_how_far_it_is(columns: int) -> None:
    seen, out = run("pass", columns)
    assert "6,000/12,000" in seen.decode()
    assert "2 are retried" in seen.decode()
    lines = CODES.sub("", seen.decode().replace("\r", "\n")).splitlines()
    assert max(map(width, lines)) <= columns - len("^C")
    assert b"\x1b[2J" not in seen, "what it is of steers no terminal"
    assert out == "True\n"


@pytest.mark.skipif(sys.platform == "win32", reason="has no such terminals")
@pytest.mark.parametrize(("error", "says"), [("KeyboardInterrupt", True), ("OSError", False)])
def test_an_interrupted_one_leaves_the_cursor_and_says_what_stays(error: str, says: bool) -> None:
    seen, _ = run(f"raise {error}", 80)
    assert b"\x1b[?25h" in seen
    assert (b"It goes on." in seen.split(b"Traceback")[0]) is says


def test_where_nobody_looks_there_is_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.replace("{then}", "pass")],
        capture_output=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        text=True,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("False\n", "")
