"""A slip's fork ends in time, leaves nothing, and is not called a success where nothing ran."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mutation.copies import empty, size_below
from mutation.sql import forking
from mutation.sql.forking import Runs, judged, run_items


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], None]], None]:
    """Have something else done where a fork would run tests."""

    def instead(do: Callable[[], None]) -> None:
        monkeypatch.setattr(forking, "run_items", lambda _items, _runs: do())

    return instead


def test_no_tests_notice_nothing(tmp_path: Path) -> None:
    assert run_items([], Runs(tmp_path))
    assert judged([], Runs(tmp_path)).passed


def test_what_a_test_left_is_removed(
    tmp_path: Path, work: Callable[[Callable[[], None]], None]
) -> None:
    def leave() -> None:
        (tmp_path / "folder" / "deep").mkdir(parents=True)
        (tmp_path / "folder" / "deep" / "file").write_bytes(b"x" * 9)
        (tmp_path / "link").symlink_to(tmp_path / "folder")

    work(leave)

    assert judged([], Runs(tmp_path)).passed
    assert list(tmp_path.iterdir()) == []


def test_what_takes_too_long_is_ended(
    tmp_path: Path,
    work: Callable[[Callable[[], None]], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(forking, "TIMEOUT_S", 0.0)
    monkeypatch.setattr(forking, "LOOK_EVERY_S", 0.01)
    work(lambda: time.sleep(60))

    assert judged([], Runs(tmp_path)).failed == "too slow"


def test_what_writes_too_much_is_ended(
    tmp_path: Path,
    work: Callable[[Callable[[], None]], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def write() -> None:
        (tmp_path / "file").write_bytes(b"x" * 100_000)
        time.sleep(60)

    monkeypatch.setattr(forking, "MAX_FILES_BYTES", 99_999)
    monkeypatch.setattr(forking, "LOOK_EVERY_S", 0.01)
    work(write)

    assert "too many files" in judged([], Runs(tmp_path)).failed
    assert list(tmp_path.iterdir()) == []


def test_what_dies_is_said_so(tmp_path: Path, work: Callable[[Callable[[], None]], None]) -> None:
    def die() -> None:
        raise MemoryError

    work(die)

    assert judged([], Runs(tmp_path)).failed == "the process died"


def test_a_folder_is_measured_and_emptied_and_may_be_missing(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "file").write_bytes(b"x" * 10_000)

    assert 10_000 <= size_below(tmp_path) < 100_000
    empty(tmp_path)
    empty(tmp_path / "missing")

    assert list(tmp_path.iterdir()) == []
    assert size_below(tmp_path / "missing") == 0
