"""Running chosen tests against a mutant: everything is imported once, each mutant has a fork."""

from __future__ import annotations

import itertools
import os
import resource
import select
import signal
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from mutation.copies import empty, size_below
from relay_server.store.sqlite import database, sql

TIMEOUT_S = 10.0  # and twice what the tests need by themselves
LOOK_EVERY_S = 0.5  # at what the tests have written meanwhile
MAX_FILES_BYTES = 1 << 30  # at once; each removes its own when it has passed
MAX_MEMORY_BYTES = 8 << 30  # of addresses: much that is mapped is never touched


class Runs:
    """How tests went in this process.

    Attributes:
        seconds: How long each took.
        failed: Those that failed.
        users: Which tests used each query, by its name.
        temporary: Where they leave their files; nothing else may lie there.
    """

    def __init__(self, temporary: Path) -> None:
        self.temporary = temporary
        self.seconds = defaultdict[str, float](float)
        self.failed: list[str] = []
        self.users = defaultdict[str, set[str]](set)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.seconds[report.nodeid] += report.duration
        if report.failed:
            self.failed.append(report.nodeid)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Note which test uses which query."""
        watched = _Watched(sql.queries(), self.users)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(database, "queries", lambda: watched)
            yield


class _Watched(dict[str, str]):
    """Queries that know who used them."""

    def __init__(self, queries: dict[str, str], users: defaultdict[str, set[str]]) -> None:
        super().__init__(queries)
        self._users = users

    def __getitem__(self, name: str) -> str:
        test = os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" ")[0]
        self._users[name].add(test)
        return super().__getitem__(name)


def run_items(items: Sequence[pytest.Item], runs: Runs) -> bool:
    """Run some of the collected tests until one fails; whether none did."""
    for item, following in itertools.zip_longest(items, items[1:]):
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        if runs.failed:
            return False
    return True


@dataclass(frozen=True, slots=True)
class Verdict:
    """How tests went in a fork.

    Attributes:
        failed: The first that failed, or what ended them all; empty if all passed.
    """

    failed: str

    @property
    def passed(self) -> bool:
        """Whether no test noticed anything."""
        return not self.failed


def judged(items: Sequence[pytest.Item], runs: Runs) -> Verdict:
    """Run tests in a fork that reads the SQL anew; nothing is left of their files."""

    def work() -> str:
        sql.queries.cache_clear()
        sql.migrations.cache_clear()
        runs.failed.clear()
        run_items(items, runs)
        return "".join(runs.failed[:1])

    timeout_s = TIMEOUT_S + 2 * sum(runs.seconds[item.nodeid] for item in items)
    try:
        return _forked(work, timeout_s, runs.temporary)
    finally:
        empty(runs.temporary)


def quickest(
    items: Iterable[pytest.Item],
    runs: Runs,
    names: Iterable[str],
    within_s: float = float("inf"),
) -> list[pytest.Item]:
    """The named tests, those that take least first, or as many of them as take so long."""
    wanted, left_s, chosen = set(names), within_s, []
    named = [item for item in items if item.nodeid in wanted]
    for item in sorted(named, key=lambda item: runs.seconds[item.nodeid]):
        left_s -= runs.seconds[item.nodeid]
        if left_s < 0:
            break
        chosen.append(item)
    return chosen


def _forked(work: Callable[[], str], timeout_s: float, temporary: Path) -> Verdict:
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        _in_child(work, write_end)
    os.close(write_end)
    answer = _answer(read_end, time.monotonic() + timeout_s, temporary)
    os.close(read_end)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return Verdict(answer.rstrip("\n") if answer else "the process died")


def _answer(read_end: int, deadline: float, temporary: Path) -> str:
    """What a child says, or why it may go on no longer."""
    while not select.select([read_end], [], [], LOOK_EVERY_S)[0]:
        if time.monotonic() > deadline:
            return "too slow"
        if size_below(temporary) > MAX_FILES_BYTES:
            return "too many files, or too large ones"
    return os.read(read_end, 4_096).decode()


def _in_child(work: Callable[[], str], write_end: int) -> None:
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
    try:
        os.write(write_end, f"{work()}\n".encode())
    finally:
        os._exit(0)
