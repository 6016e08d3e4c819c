"""What was finished is known again: after a restart, a crash, beside another client."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from relay_client import journal as journal_module
from relay_client.journal import MAX_WAITING, SEGMENT_BYTES, Journal, Log, Record, read_on
from relay_protocol.messages import Granted
from relay_protocol.values import Response
from tests.support.events import delivery
from tests.support.waiting import until

ROOT = Path(__file__).parents[3]
URL = "https://relay.example.com"
OK = Response(201, ((b"a", b"b"),), b"body", elapsed_ms=7)
KNOWN = Response(201, elapsed_ms=7)

# Adds deliveries with these numbers, says "added", and waits to be ended.
CHILD = """
import sys
from pathlib import Path
from relay_client.journal import Journal
from relay_protocol.messages import Granted
from relay_protocol.values import Response
from tests.support.events import delivery

folder, first, count, end = sys.argv[1:]
journal = Journal(Path(folder), "https://relay.example.com", lambda text: sys.exit(text))
journal.open([Granted(1, "chatwoot", "ana", False, 0)])
for number in range(int(first), int(first) + int(count)):
    journal.add(delivery(number), Response(201, elapsed_ms=7))
if end == "close":
    journal.close()
print("added", flush=True)
sys.stdin.read()
"""


def granted(channel: str = "chatwoot", name: str = "ana") -> Granted:
    return Granted(1, channel, name, False, 0)


@contextmanager
def opened(
    folder: Path,
    *subscriptions: Granted,
    url: str = URL,
    warn: Callable[[str], object] = pytest.fail,
) -> Iterator[Journal]:
    """A journal of a client that was welcomed; closed at the end."""
    journal = Journal(folder, url, warn)
    journal.open(subscriptions or (granted(),))
    try:
        yield journal
    finally:
        journal.close()


def fill(folder: Path, *numbers: int, subscription: Granted | None = None) -> None:
    """What a client did that ended well."""
    mine = subscription or granted()
    with opened(folder, mine) as journal:
        for number in numbers:
            journal.add(delivery(number, channel=mine.channel), OK)


def find(journal: Journal, number: int, attempt: int = 1) -> Response | None:
    one = delivery(number)
    return journal.find(one.id, one.event.id, attempt)


def records(folder: Path) -> list[Record]:
    """All that are on disk and would be read."""
    return list(read_on(folder, {}))


def segments(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("journal-*"))


def start_child(folder: Path, first: int, count: int, end: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", CHILD, str(folder), str(first), str(count), end]
    return subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def added(child: subprocess.Popen[str]) -> None:
    assert child.stdout is not None
    assert child.stdout.readline() == "added\n"


# A client that comes later


def test_what_was_added_is_known_after_a_restart(tmp_path: Path) -> None:
    """Status and duration, without headers and body."""
    fill(tmp_path, 1, 2)

    with opened(tmp_path) as journal:
        assert find(journal, 1) == find(journal, 2) == KNOWN
        assert find(journal, 3) is None
        assert journal.find(delivery(1).id, "evt_other", 2) is None, "another event of this id"


def test_relays_channels_and_subscriptions_are_apart(tmp_path: Path) -> None:
    fill(tmp_path, 1)
    others = [
        (URL, granted("github")),
        (URL, granted(name="joao")),
        ("https://other.example.com", granted()),
    ]

    for url, subscription in others:
        with opened(tmp_path, subscription, url=url) as journal:
            assert find(journal, 1) is None
            assert find(journal, 1, attempt=2) is None
    with opened(tmp_path, granted("github"), granted()) as journal:
        assert find(journal, 1) == KNOWN, "one of several"


def test_a_subscription_that_comes_with_a_later_welcome_is_loaded_too(tmp_path: Path) -> None:
    fill(tmp_path, 1, subscription=granted(name="renamed"))

    with opened(tmp_path) as journal:
        journal.add(delivery(2), OK)
        journal.open([granted(name="renamed")])
        assert find(journal, 1) == find(journal, 2) == KNOWN


def test_folder_and_file_are_the_owners_alone_and_name_nobody(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "state"
    fill(folder, 1)
    [file] = folder.iterdir()

    assert (folder.stat().st_mode & 0o777, file.stat().st_mode & 0o777) == (0o700, 0o600)
    for name in (b"example", b"chatwoot", b"ana"):
        assert name not in file.read_bytes()


def test_the_journal_of_an_earlier_version_is_left_alone(tmp_path: Path) -> None:
    """It was a database; what it held is not known any more."""
    (tmp_path / "journal.db").write_bytes(b"SQLite format 3\0")
    fill(tmp_path, 1)

    assert (tmp_path / "journal.db").read_bytes() == b"SQLite format 3\0"
    assert segments(tmp_path) == ["journal-1.log"]


# A crash, and another client


async def test_a_killed_client_is_outlived_by_what_it_noted(tmp_path: Path) -> None:
    child = start_child(tmp_path, 1, 3, "wait")
    added(child)
    await until(lambda: len(records(tmp_path)) == 3)
    child.send_signal(signal.SIGKILL)
    child.communicate()

    with opened(tmp_path) as journal:
        assert [find(journal, number) for number in (1, 2, 3)] == [KNOWN] * 3


def test_two_clients_at_once_lose_nothing(tmp_path: Path) -> None:
    """Both begin on a folder that is not there yet."""
    folder = tmp_path / "state"
    children = [start_child(folder, first, 2_000, "close") for first in (1, 10_001)]
    for child in children:
        added(child)
        child.communicate("")
        assert child.returncode == 0

    assert len({record.delivery for record in records(folder)}) == 4_000


def test_what_another_client_finishes_meanwhile_is_found_for_a_later_attempt(
    tmp_path: Path,
) -> None:
    with opened(tmp_path) as journal:
        for number in (1, 2):  # what is read on is read from where the last look ended
            fill(tmp_path, number)

            assert find(journal, number, attempt=1) is None, "nobody can have had it"
            assert find(journal, number, attempt=2) == KNOWN


# Bounds


def test_the_last_of_all_are_kept_in_two_segments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many clients write, and whichever of them finds a segment full."""
    monkeypatch.setattr(journal_module, "SEGMENT_BYTES", 10_000)
    many = [Record("s", f"1.{number}", f"evt_{number}", 200, 1) for number in range(10_000)]

    def write(first: int) -> None:
        log = Log(tmp_path)
        for at in range(first, len(many), 200):
            log.append(many[at : at + 50])
        log.close()

    threads = [threading.Thread(target=write, args=(first,)) for first in (0, 50, 100, 150)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    last = [Record("s", f"2.{number}", f"evt_{number}", 200, 1) for number in range(250)]
    log = Log(tmp_path)
    for record in last:
        log.append([record])
    log.close()

    kept = records(tmp_path)
    assert len(segments(tmp_path)) == 2
    assert kept[-250:] == last, "as many as a segment has room for"
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) < 40_000


def test_a_segment_has_room_for_more_than_a_client_remembers() -> None:
    """Of ids as relays give them."""
    one = Record("0" * 32, "1000.1000000", "evt_" + "0" * 36, 200, 30_000)
    line = journal_module._encoder.encode(one) + b"\n"

    assert SEGMENT_BYTES // len(line) > 10_000


def test_a_disk_that_is_too_slow_is_told_once_and_costs_no_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it has no room for is remembered in memory; what waits is written in one batch."""
    told: list[str] = []
    batches: list[int] = []
    begun, free = threading.Event(), threading.Event()

    append = Log.append

    def slow(log: Log, batch: Sequence[Record]) -> None:
        begun.set()
        free.wait(60)
        append(log, batch)
        batches.append(len(batch))

    monkeypatch.setattr(Log, "append", slow)
    with opened(tmp_path, warn=told.append) as journal:
        journal.add(delivery(1), OK)
        begun.wait(60)
        for number in range(2, MAX_WAITING + 10):
            journal.add(delivery(number), OK)
        assert find(journal, MAX_WAITING + 9) == KNOWN
        free.set()

    assert len(told) == 1
    assert "too slow" in told[0]
    assert batches == [1, MAX_WAITING]


def test_a_stop_does_not_wait_for_the_disk_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "CLOSE_S", 0.05)
    free = threading.Event()
    monkeypatch.setattr(Log, "append", lambda log, batch: free.wait(60))
    told: list[str] = []

    with opened(tmp_path, warn=told.append) as journal:
        journal.add(delivery(1), OK)
    free.set()
    journal._thread.join(60)

    assert len(told) == 1
    assert "of the stop" in told[0]


def test_what_is_appended_survives_the_machine_a_second_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing more is added, too; and at once when the client is stopped."""
    monkeypatch.setattr(journal_module, "SYNC_S", 0.05)
    synced: list[int] = []
    told = threading.Event()

    def fsync(file: int) -> None:
        synced.append(os.fstat(file).st_size)
        told.set()

    monkeypatch.setattr(os, "fsync", fsync)
    with opened(tmp_path) as journal:
        journal.add(delivery(1), OK)
        assert told.wait(10)
        told.clear()
        journal.add(delivery(2), OK)
        assert told.wait(10)
        journal.add(delivery(3), OK)

    assert synced[-1] == (tmp_path / "journal-1.log").stat().st_size


# A file that is damaged, strange, or cannot be used


@pytest.mark.parametrize(("torn", "second"), [(1, KNOWN), (2, None), (60, None)])
def test_a_torn_end_costs_no_record_but_its_own(
    tmp_path: Path, torn: int, second: Response | None
) -> None:
    """Neither those before it nor those that are appended later."""
    fill(tmp_path, 1, 2)
    file = tmp_path / "journal-1.log"
    file.write_bytes(file.read_bytes()[:-torn])

    fill(tmp_path, 3)

    with opened(tmp_path) as journal:
        assert [find(journal, number) for number in (1, 2, 3)] == [KNOWN, second, KNOWN]


@pytest.mark.parametrize(
    "content",
    [
        b"\xff\x00" * 1_000,
        b"[" * 100_000,
        b"\n" * 100_000,
        b"x" * 3 * SEGMENT_BYTES,
        b'["mine","1.1","evt_000000000001",500,7]',
        b'["mine","1.1","evt_000000000001",201,-7]',
        b'["mine","1.1","evt_000000000001",201,9e99]',
        b'["mine","1.1",null,201,7]',
        b'["mine","1.1","%b",201,7]' % (b"x" * 1_000_000),
        b'{"a": 1}',
    ],
    ids=lambda content: repr(content[:40]),
)
def test_what_is_no_record_is_passed_over(tmp_path: Path, content: bytes) -> None:
    """Nothing of it is answered to a relay, which would refuse it, or fills the memory."""
    mine = journal_module.digest(URL, "chatwoot", "ana").encode()
    (tmp_path / "journal-7.log").write_bytes(content.replace(b"mine", mine) + b"\n")
    (tmp_path / "journal-9.log").mkdir()
    (tmp_path / "journal-007.log").write_bytes(b"")
    with opened(tmp_path) as journal:
        assert find(journal, 1, attempt=2) is None
        journal.add(delivery(2), OK)

    with opened(tmp_path) as journal:
        assert find(journal, 2) == KNOWN


def test_a_segment_that_is_taken_away_does_no_harm(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        fill(tmp_path, 1)
        assert find(journal, 1, attempt=2) == KNOWN
        (tmp_path / "journal-1.log").unlink()
        fill(tmp_path, 2)
        journal.add(delivery(3), OK)
        assert [find(journal, number, attempt=2) for number in (1, 3)] == [KNOWN, KNOWN]


def test_what_cannot_be_opened_is_told_once_and_does_not_stop_the_client(tmp_path: Path) -> None:
    folder = tmp_path / "file"
    folder.write_text("")
    told: list[str] = []

    with opened(folder, warn=told.append) as journal:
        assert find(journal, 1, attempt=2) is None
        journal.add(delivery(5), OK)
        assert find(journal, 5) == KNOWN

    assert len(told) == 1
    assert "exists" in told[0]
    assert "remembered in memory alone" in told[0]


def test_a_full_disk_is_told_once_and_the_client_goes_on(tmp_path: Path) -> None:
    """A bound on the size of files stands for it, in a process of its own."""
    script = f"""
import resource
from tests.unit.client.test_journal import *
told = []
folder = Path({str(tmp_path)!r})
with opened(folder, warn=told.append) as journal:
    journal.add(delivery(1), OK)
    while not records(folder):
        pass
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, resource.RLIM_INFINITY))
    for number in range(2, 3_000):
        journal.add(delivery(number), OK)
    while not told:
        pass
    assert find(journal, 2_999) == KNOWN
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    journal.add(delivery(5_000), OK)
print(told)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=200
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.count("cannot be written") == 1
    with opened(tmp_path) as journal:
        assert find(journal, 1) == find(journal, 5_000) == KNOWN
