"""How long the journal is waited for, and how much it does at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import apsw
import pytest

from relay_client import journal as journal_module
from relay_client import journal_file
from relay_client.journal import Journal
from relay_client.journal_file import FILE_NAME, Entry, JournalFile
from tests.support.events import delivery
from tests.support.waiting import until
from tests.unit.client.test_journal import NOW, OK, URL, fill, granted, rows


@contextmanager
def another_at_work(folder: Path) -> Iterator[None]:
    """Another client's transaction, which does not end."""
    blocker = apsw.Connection(str(folder / FILE_NAME))
    blocker.set_busy_timeout(5_000)  # the journal looks for what is unused as it begins
    blocker.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        blocker.execute("ROLLBACK")
        blocker.close()


def begun(folder: Path, told: list[str]) -> Journal:
    """The journal of a client that was welcomed."""
    journal = Journal(folder, URL, told.append, wall=lambda: NOW)
    journal.open([granted()])
    return journal


async def test_another_client_is_waited_for_so_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was to be written is remembered in memory alone, with a warning."""
    monkeypatch.setattr(journal_module, "WRITE_BUSY_S", 0.05)
    told: list[str] = []
    journal = begun(tmp_path, told)
    journal.add(delivery(1), OK)
    await until(lambda: rows(tmp_path) == 1)
    with another_at_work(tmp_path):
        journal.add(delivery(2), OK)
        await until(lambda: told)
    journal.close()

    assert "cannot be written" in told[0]
    assert rows(tmp_path) == 1


def test_a_stop_waits_so_long_for_the_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not until it gives up what it cannot write, which is told otherwise."""
    monkeypatch.setattr(journal_module, "CLOSE_S", 0.05)
    told: list[str] = []
    journal = begun(tmp_path, told)
    with another_at_work(tmp_path):
        journal.add(delivery(1), OK)
        journal.close()
        assert len(told) == 1
    assert journal._writer is not None
    journal._writer._thread.join(5)

    assert "of the stop" in told[0]
    assert rows(tmp_path) == 1, "late, but there"


def test_so_many_are_written_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest goes into the next transaction."""
    monkeypatch.setattr(journal_module, "MAX_BATCH", 10)
    sizes: list[int] = []
    add = JournalFile.add

    def counting(file: JournalFile, relay: str, entries: Sequence[Entry]) -> None:
        add(file, relay, entries)
        sizes.append(len(entries))

    monkeypatch.setattr(JournalFile, "add", counting)
    told: list[str] = []
    journal = begun(tmp_path, told)
    with another_at_work(tmp_path):
        for number in range(1, 36):
            journal.add(delivery(number), OK)
    journal.close()

    assert (max(sizes), sum(sizes), rows(tmp_path)) == (10, 35, 35)
    assert told == []


def test_so_many_old_rows_are_deleted_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of subscriptions that nobody uses, and of what is too old; the next time goes on."""
    monkeypatch.setattr(journal_file, "TRIMMED_AT_ONCE", 10)
    fill(tmp_path, *range(1, 36))
    file = JournalFile(tmp_path / FILE_NAME, 1.0)
    try:
        later = round(NOW * 1_000) + 1
        assert file.delete_unused(later)
        assert rows(tmp_path) == 25
        file.add(URL, [Entry("chatwoot", "ana", "dlv_99", "evt_99", 201, 7, later)], kept=5)
        assert rows(tmp_path) == 16
    finally:
        file.close()


def test_an_answer_does_not_wait_for_the_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The event loop asks it; what is not found soon is taken for new."""
    monkeypatch.setattr(journal_module, "READ_BUSY_S", 0.123)
    journal = begun(tmp_path, [])
    try:
        assert journal._file is not None
        assert journal._file._connection.pragma("busy_timeout") == 123
    finally:
        journal.close()
