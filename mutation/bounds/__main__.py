"""Take each bound away in turn, and see that each of its tests fails.

`python -m mutation.bounds [WORD …]` works on a copy of this tree, and tries the bounds whose name
has one of the words in it; see README.md beside this file.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from mutation.bounds.table import Entry, read, without
from mutation.copies import copied_tree

TEST_TIMEOUT_S = 20  # a test that waits for ever has noticed, too
RUN_TIMEOUT_S = 300
TESTS_AT_ONCE = 20  # those of one run, so that even a busy machine is done with them in that time


def main(words: Sequence[str]) -> int:
    """Try all that is wanted; 0 if each bound has a test and each test noticed."""
    wanted = {
        bound: entry
        for bound, entry in read().items()
        if not words or any(word in bound for word in words)
    }
    tried = {bound: entry for bound, entry in wanted.items() if entry.tests}
    unwritten = [bound for bound, entry in wanted.items() if entry.open]
    with copied_tree("bounds") as root:
        if failed := fail_anyway(root, sorted({t for e in tried.values() for t in e.tests})):
            say(f"these fail with every bound in its place: {failed}")
            return 1
        unheeded = [bound for bound, entry in tried.items() if not noticed(root, bound, entry)]
    for bound in unwritten:
        say(f"{bound}: OPEN: {wanted[bound].open}")
    say(
        f"{len(wanted)} bounds: {len(tried) - len(unheeded)} noticed, {len(unheeded)} not,"
        f" {len(unwritten)} open, {len(wanted) - len(tried) - len(unwritten)} with a reason"
    )
    return 1 if unheeded or unwritten or not wanted else 0


def fail_anyway(root: Path, tests: Sequence[str]) -> list[str]:
    """Those of some tests that prove nothing, since they fail whatever is done to bounds."""
    parts = [tests[at : at + TESTS_AT_ONCE] for at in range(0, len(tests), TESTS_AT_ONCE)]
    doubted = [test for part in parts if not passes(root, part) for test in part]
    return [test for test in doubted if not passes(root, [test])]


def noticed(root: Path, bound: str, entry: Entry) -> bool:
    """Whether every test of a bound fails without it."""
    began, changed = time.monotonic(), without(root, bound, entry)
    right = {path: path.read_text("utf-8") for path in changed}
    write(changed)
    passed = [test for test in entry.tests if passes(root, [test])]
    write(right)
    word = f"STILL PASS: {', '.join(passed)}" if passed else "noticed"
    say(f"{bound}: {word} ({time.monotonic() - began:.1f} s)")
    return not passed


def passes(root: Path, tests: Sequence[str]) -> bool:
    """Whether some tests pass: one that never ends does not. What cannot be run proves nothing."""
    # By a thread, which ends the process: a signal's exception gets lost in some event loops.
    options = ["-q", "-x", "--tb=no", "-p", "no:cacheprovider", "-p", "no:xdist"]
    options += [f"--timeout={TEST_TIMEOUT_S}", "--timeout-method=thread"]
    command = [sys.executable, "-m", "pytest", *options, f"--basetemp={root / 'tmp'}", *tests]
    with tempfile.TemporaryDirectory(dir=root, ignore_cleanup_errors=True) as scratch:
        status, output = run(command, root, Path(scratch))
    if status > 1:
        say(output)
    return status == 0 or status > 1


def run(command: Sequence[str], root: Path, scratch: Path) -> tuple[int, str]:
    """Run something, and end what it leaves behind; its status and output."""
    environment = {"PYTHONPATH": str(root), "CI": "true", "TMPDIR": str(scratch)}
    with (
        (scratch / "output").open("w+", encoding="utf-8", errors="replace") as output,
        subprocess.Popen(
            command,
            cwd=root,
            env={**os.environ, **environment},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as running,
    ):
        try:
            running.wait(RUN_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            running.kill()
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(running.pid, signal.SIGKILL)
        status = running.wait()
        output.seek(0)
        return status, output.read()


def write(files: dict[Path, str]) -> None:
    """Write sources so that no compiled file is taken for theirs: each has a time of its own."""
    for path, text in files.items():
        at = path.stat().st_mtime_ns + 2_000_000_000
        path.write_text(text, "utf-8")
        os.utime(path, ns=(at, at))


def say(text: str) -> None:
    """Tell whoever waits."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
