"""Server and client are killed, at any moment and at exact system calls: before a page, an answer.

strace kills the process as it enters the so-manieth call of a kind, which then does not happen.
"""

from __future__ import annotations

import asyncio
import signal
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest

from tests.faults.conftest import Judged
from tests.support.processes import Running, ending
from tests.support.relay import Constant, Relay
from tests.support.seeds import short_or_deep
from tests.support.senders import request
from tests.support.systemcalls import KILL, Inject, under_strace
from tests.support.trial import Talk, Trial, busy, open_trial
from tests.support.waiting import until

KILLS = 10  # of each relay or client
READY_AFTER = 2.0  # times what its first start took, on an empty store, where nothing disturbs
CONCURRENCY = 32
REACHED_WITHIN_S = short_or_deep(60, 15)  # most come within one; where few are tried, none may miss
WINDOW = 32  # deliveries that may be under way to a client, and so come again when it is killed
RETENTION_DAYS = 1.5e-4  # 13 s: longer than a sender says again what was not answered
# A checkpoint every few webhooks, and a clean-up each second.
BUSY_HOUSE: tuple[Constant, ...] = (
    ("relay_server.store.sqlite.checkpointer", "CHECKPOINT_PAGES", 64),
    ("relay_server.app", "UPKEEP_S", 1.0),
)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(short_or_deep(1, 20)))
async def test_what_a_killed_server_had_answered_arrives_without_help(
    part: int, trial: Trial, rng: Random, judged: Judged
) -> None:
    """In order, and each once: the client lives on and knows what it has posted."""
    client = await trial.connect()
    async with trial.talking() as talk:
        for kill in range(KILLS):
            await talk.accepts(20)
            await asyncio.sleep(rng.uniform(0.0, 0.4))  # the moment is what is tested
            trial.relay.server.kill()
            await trial.relay.start()
            await client.said("reconnected", kill + 1)
    assert client.alive, client.errors
    judged(await trial.verdict(), "SIGKILL of the server", KILLS)
    first, *others = trial.relay.starts
    assert min(others) < READY_AFTER * first, trial.relay.starts


@pytest.mark.slow
@pytest.mark.parametrize("part", range(short_or_deep(1, 10)))
async def test_a_killed_client_loses_nothing_and_repeats_only_what_was_under_way(
    part: int, trial: Trial, rng: Random, judged: Judged
) -> None:
    trial.answer_with(busy(rng, 0.4))  # so that much is under way on a busy machine, too
    concurrency = ("--concurrency", str(CONCURRENCY))
    (await trial.connect(*concurrency)).kill()
    async with trial.talking(conversations=48, pause_s=0.8) as talk:
        for _ in range(KILLS):
            await talk.accepts(48)
            client = await trial.connect(*concurrency)
            await until(lambda: len(trial.target.under_way) >= CONCURRENCY // 2)
            await asyncio.sleep(rng.uniform(0.0, 0.15))  # the moment is what is tested
            client.kill()
        await trial.connect(*concurrency)
    judged(await trial.verdict(), "SIGKILL of the client", KILLS, duplicates=KILLS * CONCURRENCY)


@dataclass(frozen=True, slots=True)
class Moment:
    """When to kill.

    Attributes:
        call: The system call at whose beginning.
        last: Up to which of a thread's.
        first: From which on.
        files: Of these in the data dir or the client's state dir alone.
        during: What brings it about: `stop`, `backup`, `making the reserve`.
    """

    call: str
    last: int
    first: int = 1
    files: tuple[str, ...] = ()
    during: str = ""

    def draw(self, rng: Random, folder: Path) -> Inject:
        """One of them."""
        files = tuple(folder / name for name in self.files)
        return Inject(self.call, KILL, str(rng.randint(self.first, self.last)), files)


OBSTACLES = {"making the reserve": ("reserve",), "backup": ("backup.db",)}
LOG = ("relay.db-wal",)
DATABASE = ("relay.db",)
ALL = ("relay.db", "relay.db-wal", "relay.db-shm", "relay.lock", "relay.made", "reserve")
SERVER = (
    Moment("pwrite64", 600, files=LOG),
    Moment("fdatasync", 60, files=LOG),
    Moment("pwrite64", 60, files=DATABASE),
    Moment("fdatasync", 5, files=DATABASE),
    Moment("openat", 12, files=ALL),
    Moment("write", 500),
    Moment("read", 500, first=300),
    Moment("accept4", 120),
    Moment("epoll_pwait", 400),
    Moment("fallocate", 1, during="making the reserve"),
    Moment("pwrite64", 60, files=("backup.db",), during="backup"),
    Moment("unlink", 2, files=(*LOG, "relay.db-shm"), during="stop"),
    Moment("pwrite64", 20, files=DATABASE, during="stop"),
)
FIRST_START = (
    Moment("openat", 14, files=ALL),
    Moment("pwrite64", 5, files=("relay.db", "relay.db-journal")),
    Moment("pwrite64", 60, files=LOG),
    Moment("fdatasync", 5, files=LOG),
    Moment("fdatasync", 3, files=DATABASE),
    Moment("ftruncate", 2, files=("relay.db-shm", "relay.lock")),
    Moment("unlink", 1, files=("relay.db-journal",)),
    Moment("fsync", 1),
    Moment("fallocate", 1),
)
JOURNAL = ("journal-1.log",)
CLIENT = (
    Moment("write", 12, files=JOURNAL),
    Moment("fsync", 2, files=JOURNAL),
    Moment("openat", 2, files=JOURNAL),
    Moment("write", 400, first=20),
    Moment("read", 300, first=250),
    Moment("connect", 6),
    Moment("epoll_pwait", 300),
)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(short_or_deep(1, 6)))
async def test_a_server_killed_at_a_system_call_loses_nothing(
    part: int, tmp_path: Path, rng: Random, judged: Judged
) -> None:
    """In order, and each once: the client lives on and knows what it has posted."""
    moments = rng.sample(SERVER, short_or_deep(2, len(SERVER)))
    async with open_trial(tmp_path / "trial", rng, constants=BUSY_HOUSE) as trial:
        client = await trial.connect()
        await trial.relay.control("PATCH", "channels/chatwoot", {"retention_days": RETENTION_DAYS})
        async with trial.talking() as talk:
            missed = [moment for moment in moments if not await kill_server(trial, talk, moment)]
            trial.relay.server_prefix = []
            await trial.relay.start()
            await talk.accepts(20)
        assert client.alive, client.errors
        verdict = await trial.verdict()
    judged(verdict, "SIGKILL of the server at a system call", len(moments) - len(missed))
    assert len(missed) <= len(moments) // 3, f"never came: {missed}"


async def kill_server(trial: Trial, talk: Talk, moment: Moment) -> bool:
    """Start the server anew, to be killed at a moment; whether that came."""
    relay = trial.relay
    relay.server.kill()
    for name in OBSTACLES.get(moment.during, ()):
        (relay.data_dir / name).unlink(missing_ok=True)
    fault = moment.draw(trial.rng, relay.data_dir)
    relay.server_prefix = under_strace(relay.folder / f"calls-{len(relay.processes)}", [fault])
    relay.launch()
    if await relay.got_ready():
        doing = asyncio.create_task(bring_about(trial, talk, moment.during))
        killed = await is_killed(relay.server)
        relay.server.kill()
        await asyncio.gather(doing, return_exceptions=True)
        return killed
    return relay.server.process.returncode == -signal.SIGKILL


async def bring_about(trial: Trial, talk: Talk, what: str) -> None:
    await talk.accepts(5)
    if what == "backup":
        file = trial.relay.data_dir / "backup.db"
        await trial.relay.control("POST", "backup", {"file": str(file)})
    elif what == "stop":
        trial.relay.server.terminate()


async def is_killed(process: Running) -> bool:
    """Wait until it is, or the so-manieth call does not seem to come."""
    try:
        return await process.exit_status(REACHED_WITHIN_S) == -signal.SIGKILL
    except TimeoutError:
        return False


@pytest.mark.slow
async def test_a_first_start_killed_at_a_system_call_is_done_by_the_next(
    tmp_path: Path, rng: Random
) -> None:
    """Whatever was made of the store until then, the next start makes the rest."""
    for number in range(short_or_deep(1, 5)):
        relay = Relay(tmp_path / f"relay-{number}")
        relay.folder.mkdir()
        moments = rng.sample(FIRST_START, short_or_deep(2, len(FIRST_START)))
        with ending(relay.processes):
            for moment in moments:
                fault = moment.draw(rng, relay.data_dir)
                relay.server_prefix = under_strace(relay.folder / "calls", [fault])
                relay.launch()
                await relay.got_ready()
                relay.server.kill()
                assert relay.server.process.returncode == -signal.SIGKILL, (
                    f"{fault}: {relay.server.errors}"
                )
            relay.server_prefix = []
            await relay.start()
            await stores_a_webhook(relay)


async def stores_a_webhook(relay: Relay) -> None:
    token = await relay.make_token("sender", "send")
    answer = await relay.send(request(token=token))
    assert answer.status == 200
    assert [event["id"] for event in await relay.events()] == [answer.json["id"]]


@pytest.mark.slow
@pytest.mark.parametrize("part", range(short_or_deep(1, 3)))
async def test_a_client_killed_at_a_system_call_loses_nothing(
    part: int, trial: Trial, tmp_path: Path, rng: Random, judged: Judged
) -> None:
    """What was under way to it may come again: at most a window of deliveries for each kill."""
    moments = rng.sample(CLIENT, short_or_deep(2, len(CLIENT)))
    client = await trial.connect()
    async with trial.talking() as talk:
        missed = []
        for moment in moments:
            client.kill()
            fault = moment.draw(rng, trial.relay.folder / "state")
            record = tmp_path / f"calls-{len(trial.clients)}"
            trial.relay.client_prefix = under_strace(record, [fault])
            client = trial.begin_connect()
            if not await is_killed(client):
                missed.append(moment)
        client.kill()
        trial.relay.client_prefix = []
        await trial.connect()
        await talk.accepts(20)
    verdict = await trial.verdict()
    allowed = WINDOW * (len(moments) + 1)
    times = len(moments) - len(missed)
    judged(verdict, "SIGKILL of the client at a system call", times, duplicates=allowed)
    assert len(missed) <= len(moments) // 3, f"never came: {missed}"
