"""What was finished is known again: after a restart, a crash, beside another client."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw
import pytest

from relay_client.journal import MAX_BATCH, MAX_WAITING, UNUSED_DAYS, Journal
from relay_client.journal_file import DAMAGED_SUFFIX, FILE_NAME, TRIM_EACH
from relay_protocol.finished import REMEMBERED_RESULTS
from relay_protocol.messages import Granted
from relay_protocol.values import Response
from tests.support.events import delivery
from tests.support.waiting import until

ROOT = Path(__file__).parents[3]
URL = "https://relay.example.com"
OK = Response(201, ((b"a", b"b"),), b"body", elapsed_ms=7)
KNOWN = Response(201, elapsed_ms=7)
NOW = 1.8e9
DAY_S = 86_400

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
    warn: Callable[[str], None] = pytest.fail,
    wall: Callable[[], float] = lambda: NOW,
) -> Iterator[Journal]:
    """A journal of a client that was welcomed; closed at the end."""
    journal = Journal(folder, url, warn, wall=wall)
    journal.open(subscriptions or (granted(),))
    try:
        yield journal
    finally:
        journal.close()


def fill(folder: Path, *numbers: int, url: str = URL, subscription: Granted | None = None) -> None:
    """What a client did that ended well."""
    mine = subscription or granted()
    with opened(folder, mine, url=url) as journal:
        for number in numbers:
            journal.add(delivery(number, channel=mine.channel), OK)


def find(journal: Journal, number: int, attempt: int = 1) -> Response | None:
    one = delivery(number)
    return journal.find(one.id, one.event.id, attempt)


def start_child(folder: Path, first: int, count: int, end: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", CHILD, str(folder), str(first), str(count), end]
    return subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def added(child: subprocess.Popen[str]) -> None:
    assert child.stdout is not None
    assert child.stdout.readline() == "added\n"


def end(child: subprocess.Popen[str]) -> None:
    assert child.stdin is not None
    child.stdin.close()
    assert child.wait(10) == 0
    assert child.stdout is not None
    child.stdout.close()


def rows(folder: Path) -> int:
    """How many there are on disk."""
    connection = apsw.Connection(str(folder / FILE_NAME))
    connection.set_busy_timeout(5_000)
    [(count,)] = connection.execute("SELECT count(*) FROM finished").fetchall()
    connection.close()
    return count  # type: ignore[return-value]


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


def test_folder_and_files_are_the_owners_alone(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "state"
    with opened(folder) as journal:
        journal.add(delivery(1), OK)
        assert folder.stat().st_mode & 0o777 == 0o700
        modes = {file.name: file.stat().st_mode & 0o777 for file in folder.iterdir()}

    assert modes[FILE_NAME] == 0o600
    assert set(modes.values()) == {0o600}


# A crash, and another client


async def test_a_killed_client_is_outlived_by_what_it_noted(tmp_path: Path) -> None:
    child = start_child(tmp_path, 1, 3, "wait")
    added(child)
    await until(lambda: rows(tmp_path) == 3)
    child.send_signal(signal.SIGKILL)
    child.communicate()

    with opened(tmp_path) as journal:
        assert [find(journal, number) for number in (1, 2, 3)] == [KNOWN] * 3


def test_two_clients_at_once_lose_nothing_and_know_of_each_other(tmp_path: Path) -> None:
    """Both begin on a folder that is not there yet."""
    folder = tmp_path / "state"
    children = [start_child(folder, first, 2_000, "close") for first in (1, 10_001)]
    for child in children:
        added(child)
        end(child)

    assert rows(folder) == 4_000


def test_what_another_client_finishes_meanwhile_is_found_for_a_later_attempt(
    tmp_path: Path,
) -> None:
    with opened(tmp_path) as journal:
        fill(tmp_path, 1)

        assert find(journal, 1, attempt=1) is None, "the first attempt: nobody can have had it"
        assert find(journal, 1, attempt=2) == KNOWN


def test_many_starts_at_once_use_one_file(tmp_path: Path) -> None:
    """Whoever comes first makes it."""
    for round_ in range(10):
        folder = tmp_path / str(round_)
        threads = [threading.Thread(target=fill, args=(folder, n)) for n in range(1, 5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert rows(folder) == 4


# Bounds


def test_the_last_ten_thousand_of_each_subscription_are_kept(tmp_path: Path) -> None:
    fill(tmp_path, 1, subscription=granted(name="joao"))
    with opened(tmp_path) as journal:
        for number in range(1, REMEMBERED_RESULTS + 3_001):
            journal.add(delivery(number), OK)
            if number % MAX_BATCH == 0:  # in several transactions, and never too many at once
                while journal._writer is not None and journal._writer._waiting:
                    threading.Event().wait(0.001)

    assert REMEMBERED_RESULTS < rows(tmp_path) <= REMEMBERED_RESULTS + TRIM_EACH + MAX_BATCH + 1
    with opened(tmp_path) as journal:
        assert find(journal, 500, attempt=2) is None
        assert find(journal, 3_001) == find(journal, REMEMBERED_RESULTS + 3_000) == KNOWN
    with opened(tmp_path, granted(name="joao")) as journal:
        assert find(journal, 1) == KNOWN


async def test_subscriptions_that_nobody_uses_are_forgotten(tmp_path: Path) -> None:
    fill(tmp_path, 1, 2)

    with opened(
        tmp_path, granted(name="joao"), wall=lambda: NOW + (UNUSED_DAYS - 1) * DAY_S
    ) as one:
        one.add(delivery(3), OK)
        await until(lambda: rows(tmp_path) == 3)
    with opened(tmp_path, granted(name="joao"), wall=lambda: NOW + (UNUSED_DAYS + 1) * DAY_S):
        await until(lambda: rows(tmp_path) == 1)


def test_a_disk_that_is_too_slow_is_told_once_and_costs_no_answer(tmp_path: Path) -> None:
    """Another client's transaction that does not end stands for it."""
    told: list[str] = []
    with opened(tmp_path, warn=told.append) as journal:
        blocker = apsw.Connection(str(tmp_path / FILE_NAME))
        blocker.set_busy_timeout(5_000)  # the journal looks for what is unused as it begins
        blocker.execute("BEGIN IMMEDIATE")
        count = MAX_BATCH + MAX_WAITING + 10
        for number in range(1, count + 1):
            journal.add(delivery(number), OK)
        assert find(journal, count) == KNOWN, "from memory"
        blocker.execute("ROLLBACK")
        blocker.close()

    assert len(told) == 1
    assert "too slow" in told[0]
    assert MAX_WAITING <= rows(tmp_path) < count


# A file that cannot be used


@pytest.mark.parametrize("damage", ["no database", "torn pages", "cut short"])
def test_a_damaged_file_is_set_aside_and_begun_anew(tmp_path: Path, damage: str) -> None:
    fill(tmp_path, *range(1, 2_001))
    file = tmp_path / FILE_NAME
    whole = file.read_bytes()
    middle = len(whole) // 2
    damaged = {
        "no database": b"x" * len(whole),
        "torn pages": whole[: middle - 5_000] + b"\xff" * 10_000 + whole[middle + 5_000 :],
        "cut short": whole[: middle + 10],
    }[damage]
    file.write_bytes(damaged)
    told: list[str] = []

    with opened(tmp_path, warn=told.append) as journal:
        assert find(journal, 1) is None
        journal.add(delivery(1), OK)

    assert len(told) == 1
    assert f"{FILE_NAME}{DAMAGED_SUFFIX}" in told[0]
    assert (tmp_path / f"{FILE_NAME}{DAMAGED_SUFFIX}").read_bytes()[:middle] == damaged[:middle]
    with opened(tmp_path) as journal:
        assert find(journal, 1) == KNOWN


def test_what_cannot_be_opened_is_told_and_does_not_stop_the_client(tmp_path: Path) -> None:
    no_folder = tmp_path / "file"
    no_folder.write_text("")
    newer = tmp_path / "newer"
    fill(newer, 1)
    connection = apsw.Connection(str(newer / FILE_NAME))
    connection.pragma("user_version", 2)
    connection.close()

    for folder, words in ((no_folder, "exists"), (newer, "version 2")):
        told: list[str] = []
        with opened(folder, warn=told.append) as journal:
            assert find(journal, 1, attempt=2) is None
            journal.add(delivery(5), OK)
            assert find(journal, 5) == KNOWN
        assert len(told) == 1
        assert words in told[0]


def test_a_full_disk_is_told_once_and_the_client_goes_on(tmp_path: Path) -> None:
    """A bound on the size of files stands for it, in a process of its own."""
    script = f"""
import resource, sys
from pathlib import Path
from tests.unit.client.test_journal import *
told = []
with opened(Path({str(tmp_path)!r}), warn=told.append) as journal:
    journal.add(delivery(1), OK)
    while not rows(Path({str(tmp_path)!r})):
        pass
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
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
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=30
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.count("cannot be written") == 1
    with opened(tmp_path) as journal:
        assert find(journal, 1) == find(journal, 5_000) == KNOWN
