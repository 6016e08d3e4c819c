"""Take each bound away in turn, and see that each of its tests fails.

`python -m mutation.bounds [WORD …]` works on a copy of this tree, and tries the bounds whose name
has one of the words in it; see README.md beside this file.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from mutation.bounds.table import Entry, read, without
from mutation.copies import copied_tree, empty

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
            say(f"these fail with every bound in its place: {sorted(failed)}")
            return 1
        unheeded = [bound for bound, entry in tried.items() if not noticed(root, bound, entry)]
    for bound in unwritten:
        say(f"{bound}: OPEN: {wanted[bound].open}")
    say(
        f"{len(wanted)} bounds: {len(tried) - len(unheeded)} noticed, {len(unheeded)} not,"
        f" {len(unwritten)} open, {len(wanted) - len(tried) - len(unwritten)} with a reason"
    )
    return 1 if unheeded or unwritten or not wanted else 0


def fail_anyway(root: Path, tests: Sequence[str]) -> set[str]:
    """Those of some tests that prove nothing, since they fail whatever is done to bounds."""
    parts = [tests[at : at + TESTS_AT_ONCE] for at in range(0, len(tests), TESTS_AT_ONCE)]
    return {test for part in parts for test in failures(root, part)}


def noticed(root: Path, bound: str, entry: Entry) -> bool:
    """Whether every test of a bound fails without it."""
    began, changed = time.monotonic(), without(root, bound, entry)
    right = {path: path.read_text("utf-8") for path in changed}
    write(changed)
    failed = failures(root, entry.tests)
    write(right)
    passed = [test for test in entry.tests if test not in failed]
    word = f"STILL PASS: {', '.join(passed)}" if passed else "noticed"
    say(f"{bound}: {word} ({time.monotonic() - began:.1f} s)")
    return not passed


def failures(root: Path, tests: Iterable[str]) -> set[str]:
    """Those of some tests that fail; what never ends does."""
    tests, temporary = list(tests), root / "tmp"
    temporary.mkdir(exist_ok=True)
    environment = {**os.environ, "PYTHONPATH": str(root), "CI": "true", "TMPDIR": str(temporary)}
    options = ["-q", "-rfE", "--tb=no", "-p", "no:cacheprovider", "-p", "no:xdist"]
    options += [f"--timeout={TEST_TIMEOUT_S}", f"--basetemp={temporary / 'pytest'}"]
    options += ["-o", "tmp_path_retention_policy=failed"]
    command = [sys.executable, "-m", "pytest", *options, *tests]
    try:
        done = subprocess.run(
            command,
            cwd=root,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=RUN_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired:
        return set(tests)
    finally:
        empty(temporary)
    if done.returncode not in {0, 1}:
        say(done.stdout + done.stderr)
        return set(tests) if done.returncode < 0 else set()
    ids = re.findall(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.MULTILINE)
    return {test for test in tests for id_ in ids if f"{id_}[".startswith(f"{test}[")}


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
