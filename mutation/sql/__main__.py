"""Break each query of the SQLite store in turn, and say which slips no test notices.

`python -m mutation.sql [NAME …]` (or NAME@OFFSET) works on a copy of this tree; see README.md
beside this file.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest
from hypothesis import Phase, settings

from mutation.copies import copied_tree
from mutation.sql.forking import Runs, Verdict, judged, quickest, run_items
from mutation.sql.statements import Case, cases, changed

UNIT = Path("tests/unit/store")
TESTS = (  # not those of a disk that fails, of locks and threads: they ask nothing else
    "tests/contract",
    *(
        str(UNIT / f"test_{n}.py")
        for n in (
            "database",
            "integrity",
            "leftovers",
            "looks",
            "older_stores",
            "pending",
            "redeemed",
            "restore",
        )
    ),
)
TEMPORARY = Path("tmp")  # below the copy's root
IN_COPY = "RELAY_SQL_MUTANTS"
ENOUGH_S = 4.0  # of tests against a slip: of what every test uses, the quickest tell as much
EQUIVALENT = Path("mutation/sql/equivalent.toml")


def main(arguments: Sequence[str]) -> int:
    """Copy the tree, then go on in the copy; there, try every slip."""
    if os.environ.get(IN_COPY):
        return try_all(Path.cwd(), arguments)
    with copied_tree("sql-mutants") as copy:
        (copy / TEMPORARY).mkdir()
        environment = {
            **os.environ,
            IN_COPY: "1",
            "PYTHONPATH": str(copy),
            "TMPDIR": str(copy / TEMPORARY),
            "CI": "true",
        }
        command = [sys.executable, "-m", "mutation.sql", *arguments]
        quiet = subprocess.DEVNULL  # pytest's own words; ours go to stderr
        done = subprocess.run(command, cwd=copy, env=environment, stdout=quiet, check=False)
    return done.returncode


def try_all(root: Path, names: Sequence[str]) -> int:
    """Run the tests once as they are, then once for each slip."""
    trial = Trial(root, names)
    quiet = ("-q", "-s", "-p", "no:cacheprovider", "-p", "no:xdist")
    folders = ("-o", "tmp_path_retention_policy=failed", f"--basetemp={root / TEMPORARY}")
    pytest.main([*quiet, *folders, *TESTS], plugins=[trial, trial.runs])
    return trial.status


class Trial:
    """A run of pytest whose tests are run again and again.

    Attributes:
        status: 0 if every slip was noticed, or is known to change nothing.
    """

    def __init__(self, root: Path, names: Sequence[str]) -> None:
        self.runs = Runs(root / TEMPORARY)
        self.status = 1
        self._root = root
        self._names = names
        self._equivalent: dict[str, str] = tomllib.loads((root / EQUIVALENT).read_text("utf-8"))

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection(self) -> None:
        """That something fails is enough: to find the smallest example of it takes long."""
        phases = (Phase.explicit, Phase.generate)
        settings.register_profile("slips", settings.get_profile("ci"), phases=phases)
        settings.load_profile("slips")

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        items = [item for item in session.items if "[memory]" not in item.nodeid]
        with self.runs.watching():
            if not run_items(items, self.runs):
                say(f"without any slip these fail: {self.runs.failed}")
                return True
        found = self._wanted()
        if wrong := self._unsteady(found, items):
            say(f"these fail in a fork without any slip, or are too slow: {wrong}")
            return True
        survivors = [case for case in found if not self._noticed(case, items)]
        self._sum_up(found, survivors)
        return True

    def _wanted(self) -> list[Case]:
        """The slips to try, in the order of the names if there are any."""
        all_, names = cases(self._root), self._names
        if not names:
            return all_
        return [case for name in names for case in all_ if name in {case.asked_for, case.place}]

    def _unsteady(self, found: Sequence[Case], items: Sequence[pytest.Item]) -> list[str]:
        """The tests that a fork alone makes fail: they would notice anything."""
        names = set[str]().union(*(self._users(case) for case in found))
        chosen = quickest(items, self.runs, names)
        together = judged(chosen, self.runs)
        if together.passed:
            return []
        alone = [item.nodeid for item in chosen if not judged([item], self.runs).passed]
        return alone or [f"{together.failed}, behind others"]

    def _noticed(self, case: Case, items: Sequence[pytest.Item]) -> bool:
        file = self._root / case.statement.file
        right, began = file.read_text("utf-8"), time.monotonic()
        file.write_text(changed(self._root, case), "utf-8")
        verdict = judged(quickest(items, self.runs, self._users(case), ENOUGH_S), self.runs)
        file.write_text(right, "utf-8")
        return self._told(case, verdict, time.monotonic() - began)

    def _told(self, case: Case, verdict: Verdict, took_s: float) -> bool:
        """Say how it went; whether that is as it should be."""
        excused = case.key in self._equivalent
        words = {(True, False): "SURVIVED", (True, True): "equivalent", (False, False): "killed"}
        word = words.get((verdict.passed, excused), "KILLED THOUGH EXCUSED")
        why = f" by {verdict.failed}" if verdict.failed else ""
        say(f"{word:9} {case.statement.file}:{case.line} {case.key} ({took_s:.1f} s){why}")
        if word == "SURVIVED":
            say(f"          {' '.join(case.mutant.sql.split())}")
        return verdict.passed == excused

    def _users(self, case: Case) -> Iterable[str]:
        """The tests that a slip concerns."""
        statement, users = case.statement, self.runs.users
        if statement.name:
            return users[statement.name]
        view = re.search(r"CREATE VIEW (\w+)", statement.sql)
        if view is None:
            return set[str]().union(*users.values(), self._of_shape())
        text = (self._root / "relay_server/store/sqlite/queries.sql").read_text("utf-8")
        parts = re.split(r"^-- name: (\w+)\n", text, flags=re.MULTILINE)
        asking = [n for n, q in zip(parts[1::2], parts[2::2], strict=True) if view[1] in q]
        return set[str]().union(*(users[name] for name in asking))

    def _of_shape(self) -> Iterable[str]:
        """Tests that look at tables and indexes themselves."""
        return {name for name in self.runs.seconds if "older_stores" in name or "plan" in name}

    def _sum_up(self, found: Sequence[Case], survivors: Sequence[Case]) -> None:
        gone = {} if self._names else self._equivalent.keys() - {case.key for case in found}
        for key in sorted(gone):
            say(f"equivalent.toml names a slip that there is not: {key}")
        say(f"{len(found)} slips, {len(survivors)} not noticed or wrongly excused")
        self.status = 1 if survivors or gone or not found else 0


def say(text: str) -> None:
    """Tell whoever waits."""
    sys.stderr.write(f"{text}\n")


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
