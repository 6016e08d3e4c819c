"""Running chosen tests against a mutant: everything is imported once, each mutant has a fork."""

from __future__ import annotations

import os
import select
import signal
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from relay_server.store import database, sql

TIMEOUT_S = 20.0  # and four times what the tests need by themselves


class Runs:
    """How tests went in this process.

    Attributes:
        seconds: How long each took.
        failed: Those that failed.
        users: Which tests used each query, by its name.
    """

    def __init__(self) -> None:
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
        test = os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" ")[0]  # noqa: TID251
        self._users[name].add(test)
        return super().__getitem__(name)


def run_items(items: Sequence[pytest.Item], runs: Runs) -> bool:
    """Run some of the collected tests until one fails; whether none did."""
    for item, following in zip(items, [*items[1:], None], strict=True):
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        if runs.failed:
            return False
    return True


@dataclass(frozen=True, slots=True)
class Verdict:
    """How tests went in a fork.

    Attributes:
        failed: The first that failed, "too slow" if they did not end; empty if all passed.
    """

    failed: str

    @property
    def passed(self) -> bool:
        """Whether no test noticed anything."""
        return not self.failed


def judged(items: Sequence[pytest.Item], runs: Runs) -> Verdict:
    """Run tests in a fork that reads the SQL anew."""

    def work() -> str:
        sql.queries.cache_clear()
        sql.migrations.cache_clear()
        runs.failed.clear()
        run_items(items, runs)
        return "".join(runs.failed[:1])

    return _forked(work, TIMEOUT_S + 4 * sum(runs.seconds[item.nodeid] for item in items))


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


def _forked(work: Callable[[], str], timeout_s: float) -> Verdict:
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        _in_child(work, write_end)
    os.close(write_end)
    ready, _, _ = select.select([read_end], [], [], timeout_s)
    answer = os.read(read_end, 4_096).decode() if ready else "too slow\n"
    os.close(read_end)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return Verdict(answer.rstrip("\n") if answer else "the process died")


def _in_child(work: Callable[[], str], write_end: int) -> None:
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    try:
        os.write(write_end, f"{work()}\n".encode())
    finally:
        os._exit(0)
