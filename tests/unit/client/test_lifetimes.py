"""How long connections lasted, and what that says."""

from __future__ import annotations

from pathlib import Path

import pytest

from relay_client.lifetimes import ALIKE, FRESH_S, KEPT, LONGEST_S, MAX_FILE_BYTES, Lifetimes, told

URL = "https://relay.example.com"


def noted(folder: Path, *lasted_s: float, now: float = 1_000.0) -> Lifetimes:
    """What is known after connections that lasted so long."""
    known = Lifetimes(folder, URL, lambda: now)
    for one in lasted_s:
        known.cut(one)
    return known


@pytest.mark.parametrize(
    ("lasted_s", "steady_s"),
    [
        ((30.0, 30.2, 29.9), 30.0),
        ((600.0, 3.0, 30.0, 30.2, 29.9), 30.0),
        ((600.0, 640.0, 610.0), 617.0),
        ((0.3, 0.3, 0.3), 0.3),
        ((30.0, 30.0), None),
        ((30.0, 30.0, 12.0), None),
        ((30.0, 30.0, 30.0, 90.0), None),
        ((LONGEST_S + 1,) * 3, None),
    ],
)
def test_connections_that_last_equally_long_are_cut(
    tmp_path: Path, lasted_s: tuple[float, ...], steady_s: float | None
) -> None:
    found = noted(tmp_path, *lasted_s).steady()
    assert found == (None if steady_s is None else pytest.approx(steady_s, abs=0.5))


def test_it_is_remembered_for_each_relay_and_for_a_while(tmp_path: Path) -> None:
    noted(tmp_path, 30, 30, 30)
    assert Lifetimes(tmp_path, URL, lambda: 1_000.0).steady() == 30
    assert Lifetimes(tmp_path, "https://other.example.com", lambda: 1_000.0).steady() is None
    assert Lifetimes(tmp_path, URL, lambda: 1_001.0 + FRESH_S).steady() is None


def test_the_file_stays_small_and_may_be_anything(tmp_path: Path) -> None:
    noted(tmp_path, *[123_456.789] * (KEPT + 50))
    [file] = tmp_path.iterdir()
    assert file.stat().st_size < MAX_FILE_BYTES / 2
    for content in ("", "{}", "[1, 2]", '[["a", "b"]]', "[" * 100_000):
        file.write_text(content)
        assert noted(tmp_path).steady() is None
        assert noted(tmp_path, *[30] * ALIKE).steady() == 30


def test_a_folder_that_cannot_be_written_costs_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert noted(tmp_path / "file", 30, 30, 30).steady() is None


def test_what_is_said_of_it() -> None:
    assert told(30.04)[0] == "the connection lasts 30 s: a proxy in between cuts it"
    assert "0.3 s" in told(0.31)[0]
