"""Disks that fail, are slow, full or read-only, under load; and the kernel's other refusals.

strace lets system calls fail that would have worked; a full tmpfs, and an ext4 that the kernel gave
up, are the real thing. strace cannot make a *short* write: it can only have the kernel write
nothing and say that it wrote some, which is a disk that lies.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest

from tests.faults.conftest import Judged
from tests.support.disks import MIB, dying_disk, small_disk
from tests.support.processes import Running
from tests.support.relay import Constant
from tests.support.seeds import short_or_deep
from tests.support.senders import Answer
from tests.support.systemcalls import Inject, afflicted, injected, under_strace
from tests.support.trial import Trial, open_trial, sentence
from tests.support.waiting import LONG_S, Stopwatch, until

WINDOW = 32  # deliveries that may be under way to a client
BESIDE = 9_999  # the conversation of webhooks that are sent one by one
ANSWERED_WITHIN_S = 4.0  # 2.5 is promised, and senders wait for 5
EARLY_CHECKPOINTS: tuple[Constant, ...] = (
    ("relay_server.store.sqlite.checkpointer", "CHECKPOINT_PAGES", 64),
)
DEEP = pytest.mark.deep


@dataclass(frozen=True, slots=True)
class Trouble:
    """What a system call answers on one file of the store.

    Attributes:
        when: Which calls of each thread.
    """

    call: str
    error: str
    file: str
    when: str = "1+"

    def __str__(self) -> str:
        return f"{self.call} of {self.file}: {self.error}"

    def faults(self, data_dir: Path) -> list[Inject]:
        return [Inject(self.call, f"error={self.error}", self.when, (data_dir / self.file,))]


FATAL = (
    Trouble("fdatasync", "EIO", "relay.db-wal"),
    Trouble("fdatasync", "ENOSPC", "relay.db-wal"),
    Trouble("fdatasync", "EIO", "relay.db"),
    Trouble("pwrite64", "EIO", "relay.db-wal"),
    Trouble("pwrite64", "EIO", "relay.db"),
    Trouble("pwrite64", "EIO", "relay.db-wal", when="37"),
)


@pytest.mark.slow
@pytest.mark.parametrize(
    "trouble", [FATAL[0], *(pytest.param(one, marks=DEEP) for one in FATAL[1:])], ids=str
)
async def test_a_failed_disk_stops_the_server_and_nothing_answered_is_missing(
    trouble: Trouble, tmp_path: Path, rng: Random, judged: Judged
) -> None:
    """Never a shrug: what was written before may be gone, so nothing is promised any more."""
    async with open_trial(tmp_path / "trial", rng, constants=EARLY_CHECKPOINTS) as trial:
        relay, record = trial.relay, tmp_path / "calls"
        client = await trial.connect()
        async with trial.talking() as talk:
            await talk.accepts(rng.randrange(20, 60))
            async with afflicted(relay.server, record, trouble.faults(relay.data_dir)):
                assert await relay.server.exit_status() == 1, relay.server.errors
            assert injected(record)
            assert "the store failed: stopped" in relay.server.errors
            assert str(relay.data_dir / "relay.db") in relay.server.errors
            await relay.start()
            await talk.accepts(20)
        assert client.alive, client.errors
        judged(await trial.verdict(), "the store's disk fails", 1)


REFUSED = (
    Trouble("pwrite64", "ENOSPC", "relay.db-wal"),
    Trouble("pwrite64", "EDQUOT", "relay.db-wal"),
    Trouble("pwrite64", "EROFS", "relay.db-wal"),
)


@pytest.mark.slow
@pytest.mark.parametrize("trouble", [pytest.param(one, marks=DEEP) for one in REFUSED], ids=str)
async def test_a_disk_that_takes_nothing_has_webhooks_refused_until_it_does_again(
    trouble: Trouble, trial: Trial, tmp_path: Path, judged: Judged
) -> None:
    relay, record = trial.relay, tmp_path / "calls"
    await trial.connect()
    async with trial.talking() as talk:
        await talk.accepts(20)
        async with afflicted(relay.server, record, trouble.faults(relay.data_dir)):
            await until(lambda: "webhooks are refused" in relay.server.errors)
            assert await is_refused(trial) in ("store_full", "store_read_only")
            assert await relay.is_ready(), "readers are served"
        assert injected(record)
        await talk.accepts(20)
    assert relay.server.alive, relay.server.errors
    judged(await trial.verdict(), "the store's disk takes nothing", 1)


async def say_one(trial: Trial) -> Answer:
    """A webhook beside the conversations; its answer must come in time."""
    numbers = sum(said.key == str(BESIDE) for said in trial.ledger.said)
    said, raw = sentence(trial.relay.send_token, BESIDE, numbers + 1, trial.rng)
    trial.ledger.say(said)
    watch = Stopwatch()
    answer = await trial.relay.send(raw)
    assert watch.elapsed_s < ANSWERED_WITHIN_S
    taken = answer.status == 200
    trial.ledger.answered(said, answer.status, answer.json["id"] if taken else None)
    return answer


async def is_refused(trial: Trial) -> str:
    """Why a webhook is refused, as Chatwoot is told."""
    answer = await say_one(trial)
    assert answer.status == 429
    assert ("Retry-After", "3") in answer.headers
    return str(answer.json["error"]["code"])


@pytest.mark.slow
@pytest.mark.parametrize(
    "delay_s", [pytest.param(0.05, marks=DEEP), pytest.param(0.5, marks=DEEP), 3.0]
)
async def test_a_slow_disk_is_waited_for_only_as_long_as_senders_wait(
    delay_s: float, trial: Trial, tmp_path: Path, judged: Judged
) -> None:
    """What is refused meanwhile may be stored all the same: then its repeat is known by its id."""
    data_dir = trial.relay.data_dir
    await trial.connect()
    slow = f"delay_enter={round(delay_s * 1_000_000)}"
    fault = Inject("fdatasync", slow, files=(data_dir / "relay.db-wal",))
    async with trial.talking() as talk:
        await talk.accepts(20)
        async with afflicted(trial.relay.server, tmp_path / "calls", [fault]):
            for _ in range(short_or_deep(1, 6)):
                if delay_s > 1:
                    assert await is_refused(trial) == "store_timeout"
                else:
                    assert (await say_one(trial)).status == 200
        await talk.accepts(20)
    assert trial.relay.server.alive, trial.relay.server.errors
    judged(await trial.verdict(), "slow disk", 1)


@pytest.mark.slow
@pytest.mark.deep
async def test_a_disk_that_fills_up_under_load_and_has_room_again(
    tmp_path: Path, rng: Random, judged: Judged
) -> None:
    times = 5
    folder = tmp_path / "trial"
    with small_disk(folder / "data", 80 * MIB) as disk:
        async with open_trial(folder, rng) as trial:
            await trial.connect()
            async with trial.talking() as talk:
                for _ in range(times):
                    await talk.accepts(20)
                    disk.fill()
                    await until_refused(trial)
                    await asyncio.sleep(rng.uniform(0, 1))  # the moment is what is tested
                    disk.clear()
                    await talk.accepts(20)
            verdict = await trial.verdict()
            assert trial.relay.server.alive, trial.relay.server.errors
    judged(verdict, "full disk", times)


async def until_refused(trial: Trial) -> None:
    async with asyncio.timeout(LONG_S):
        while (await say_one(trial)).status == 200:  # noqa: ASYNC110
            await asyncio.sleep(0.02)  # the pace of a sender


@pytest.mark.slow
@pytest.mark.deep
async def test_a_disk_that_the_kernel_gave_up_has_all_that_was_answered(
    tmp_path: Path, rng: Random, judged: Judged
) -> None:
    """It is read-only at once, in the midst of the load; repaired and mounted again it is whole."""
    times = 3
    folder = tmp_path / "trial"
    with dying_disk(folder / "data", tmp_path / "image", 96 * MIB) as disk:
        async with open_trial(folder, rng) as trial:
            await trial.connect()
            async with trial.talking() as talk:
                for _ in range(times):
                    await talk.accepts(rng.randrange(20, 60))
                    disk.abort()
                    await stops_or_refuses(trial)
                    trial.relay.server.kill()
                    disk.repair()
                    await trial.relay.start()
                    await talk.accepts(20)
            verdict = await trial.verdict()
            trial.relay.server.end()
    judged(verdict, "disk given up by the kernel", times)


async def stops_or_refuses(trial: Trial) -> None:
    """No webhook is answered 2xx any more."""
    server = trial.relay.server
    await until(lambda: not server.alive or "webhooks are refused" in server.errors)
    try:
        await is_refused(trial)
    except (OSError, asyncio.IncompleteReadError):
        assert await server.exit_status() == 1


@pytest.mark.slow
@pytest.mark.deep
async def test_a_server_that_may_open_no_more_files_goes_on_when_it_may(
    trial: Trial, tmp_path: Path, judged: Judged
) -> None:
    """Connections wait, or are refused; what is connected already is served."""
    await trial.connect()
    for error in ("EMFILE", "ENFILE"):
        fault = Inject("accept4", f"error={error}")
        async with trial.talking() as talk:
            await talk.accepts(20)
            async with afflicted(trial.relay.server, tmp_path / error, [fault]):
                await until(lambda error=error: injected(tmp_path / error) > 3)  # type: ignore[misc]
            await talk.accepts(20)
    judged(await trial.verdict(), "no more files", 2)


AT_START = (
    Trouble("openat", "EMFILE", "relay.db"),
    Trouble("openat", "ENFILE", "relay.db-wal"),
    Trouble("openat", "EMFILE", "relay.lock"),
    Trouble("ftruncate", "EIO", "relay.db-shm"),
    Trouble("pread64", "EIO", "relay.db"),
    Trouble("unlink", "EPERM", "control.sock"),
)


@pytest.mark.slow
@pytest.mark.deep
async def test_a_start_that_the_system_refuses_says_so_and_the_next_one_works(
    trial: Trial, tmp_path: Path, judged: Judged
) -> None:
    relay = trial.relay
    async with trial.talking() as talk:
        await talk.accepts(20)
    for number, trouble in enumerate(AT_START):
        relay.server.kill()
        faults = trouble.faults(relay.data_dir)
        relay.server_prefix = under_strace(tmp_path / f"calls-{number}", faults)
        relay.launch()
        assert not await relay.got_ready(), trouble
        assert relay.server.process.returncode == 1, f"{trouble}: {relay.server.errors}"
        assert str(relay.data_dir) in relay.server.errors, f"{trouble}: {relay.server.errors}"
        assert "Traceback" not in relay.server.errors, f"{trouble}: {relay.server.errors}"
    relay.server_prefix = []
    await relay.start()
    await trial.connect("--since", "1h")
    judged(await trial.verdict(), "starts refused by the system", len(AT_START))


HARMLESS = (
    Trouble("fallocate", "ENOSPC", "reserve"),
    Trouble("fallocate", "EOPNOTSUPP", "reserve"),
    Trouble("unlink", "EPERM", "relay.db-wal"),
    Trouble("unlink", "EPERM", "relay.db-shm"),
    Trouble("unlink", "EPERM", "control.sock", when="2"),  # at its end
)


@pytest.mark.slow
@pytest.mark.deep
@pytest.mark.parametrize("trouble", HARMLESS, ids=str)
async def test_what_a_server_can_do_without_does_not_stop_it(
    trouble: Trouble, trial: Trial, tmp_path: Path, judged: Judged
) -> None:
    """It starts, takes webhooks, ends in peace, and the next one finds everything."""
    relay = trial.relay
    await trial.connect()
    relay.server.end()
    (relay.data_dir / "reserve").unlink()
    relay.server_prefix = under_strace(tmp_path / "calls", trouble.faults(relay.data_dir))
    await relay.start()
    async with trial.talking() as talk:
        await talk.accepts(20)
    relay.server.terminate()
    assert await relay.server.exit_status() == 0, relay.server.errors
    relay.server_prefix = []
    await relay.start()
    assert injected(tmp_path / "calls")
    judged(await trial.verdict(), "small refusals of the system", 1)


JOURNAL = (
    Trouble("write", "EIO", "journal-1.log"),
    Trouble("write", "ENOSPC", "journal-1.log"),
    Trouble("fsync", "EIO", "journal-1.log"),
    Trouble("write", "EROFS", "journal-1.log"),
)


@pytest.mark.slow
@pytest.mark.parametrize(
    "trouble", [JOURNAL[0], *(pytest.param(one, marks=DEEP) for one in JOURNAL[1:])], ids=str
)
async def test_a_client_whose_journal_fails_goes_on_and_says_so(
    trouble: Trouble, trial: Trial, tmp_path: Path, judged: Judged
) -> None:
    """As long as it runs nothing comes twice; when it is killed, what was under way may."""
    client = await trial.connect()
    faults = trouble.faults(trial.relay.folder / "state")
    async with trial.talking() as talk:
        await talk.accepts(20)
        async with afflicted(client, tmp_path / "calls", faults):
            await talk.accepts(20)
            await says_so(client)
            trial.relay.server.kill()
            await trial.relay.start()
            await client.said("reconnected")
            await talk.accepts(20)
    # Until then the client alone knows what the server had not written down: 0.2 s of results.
    await trial.settle()
    async with trial.talking() as talk:
        await talk.accepts(20)
        assert client.alive, client.errors
        client.kill()
        await trial.connect()
    judged(await trial.verdict(), "the client's journal fails", 1, duplicates=WINDOW)


async def says_so(client: Running) -> None:
    await until(lambda: "remembered in memory alone" in client.errors + client.output)


@pytest.mark.slow
@pytest.mark.deep
@pytest.mark.parametrize("how", ["full", "read-only", "full later"])
async def test_a_client_works_without_a_disk_for_its_journal(
    how: str, tmp_path: Path, rng: Random, judged: Judged
) -> None:
    """A state folder on a tmpfs that is full, or that nothing can be written to."""
    folder = tmp_path / "trial"
    with small_disk(folder / "state", 4 * MIB) as disk:
        if how == "full":
            disk.fill()
        if how == "read-only":
            disk.make_read_only()
        async with open_trial(folder, rng) as trial:
            client = await trial.connect()
            async with trial.talking() as talk:
                await talk.accepts(20)
                if how == "full later":
                    disk.fill()
                await says_so(client)
                trial.relay.server.kill()
                await trial.relay.start()
                await talk.accepts(20)
            await trial.settle()  # as above
            async with trial.talking() as talk:
                await talk.accepts(20)
                client.kill()
                await trial.connect()
            verdict = await trial.verdict()
            for one in trial.clients:
                one.end()
    judged(verdict, "no disk for the client's journal", 1, duplicates=WINDOW)
