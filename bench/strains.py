"""What is measured under pressure: a slow target, a replay beside live traffic, stopped readers."""

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.errors import BenchError
from bench.load import LoadResult
from bench.processes import highest_resident_mib, resident_mib
from bench.reader import RawReader
from bench.replays import start_replay
from bench.scenarios import Figures, Target, note_faults, post, warm_up
from bench.target import TargetReport
from bench.ways import RelayWay, relay, relay_server
from bench.webhooks import load_bodies

SETTLE_S = 1.0  # memory is read at rest
SENDERS = ["--senders", "64"]
SLOW_MS = 2_000
SLOW_RATE = 100
LIVE_RATE = 50
REPLAY_RATE = 200
LIVE_SHARE = 0.8  # of the time that the replay must take: live traffic ends before it does
PATIENCE = 5.0  # times that long; then the replay counts as stuck
BIG_BODY_BYTES = 262_144  # sixteen of them fill the window of a connection
PADDED = b'{"padding":"%b",'
STEADILY = ["--senders", "4", "--keep", "--seconds", "120"]  # until the count is reached
NOBODY, SILENT, PINGING = WAITING = ("nobody", "silent", "pinging")
PING_S = 5.0
GIVE_UP_S = 90.0  # a reader that is not cut by then counts as never cut
POLL_S = 0.1


@dataclass(frozen=True)
class Size:
    """How much of each strain: seconds, events, bytes of bodies, and connections."""

    quiet_s: float = 15.0
    slow_s: float = 30.0
    replayed: int = 10_000
    waiting_bytes: int = 100_000_000
    idle_s: float = 60.0
    idle_readers: int = 1_000  # a channel has no more subscriptions


def slow_target(target: Target, folder: Path, size: Size) -> Figures:
    """A quick target, one that takes 2 s a request, and the quick one again, at 100 a second.

    The quiet p99 is the mean of the two around the slow phase.
    """
    with relay(folder, target.port) as way:
        warm_up(target, way)
        before = _answer_p99_ms(target, way, size.quiet_s)
        time.sleep(SETTLE_S)
        idle = resident_mib(way.processes["server"])
        target.delay(SLOW_MS)
        try:
            run = target.reset()
            with highest_resident_mib(way.processes["server"]) as highest:
                slow = post(target, way, run, at(SLOW_RATE, size.slow_s))
        finally:
            target.delay(0)
        arrived(target, slow)
        quiet = (before + _answer_p99_ms(target, way, size.quiet_s)) / 2
    return {
        "quiet_answer_p99_ms": quiet,
        "slow_answer_p99_ms": slow["answer_ms"]["p99"],
        "slow_answer_p99_ratio": slow["answer_ms"]["p99"] / quiet,
        "server_growth_mib": highest[0] - idle,
    }


def _answer_p99_ms(target: Target, way: RelayWay, seconds: float) -> float:
    load = post(target, way, target.reset(), at(SLOW_RATE, seconds))
    arrived(target, load)
    return load["answer_ms"]["p99"]


def replay_beside_live(target: Target, folder: Path, size: Size) -> Figures:
    """Live traffic at 50 a second: alone, beside a replay of all there is, and alone again.

    What is replayed arrives with the number of an earlier run, so the target counts it apart.
    """
    with relay(folder, target.port) as way:
        count = str(size.replayed)
        load = post(target, way, target.reset(), [*STEADILY, "--count", count])
        stored = load["answered"]
        arrived(target, load)
        before, more = _live(target, way, size.quiet_s)
        stored += more
        during, replayed_s = _live_beside_replay(target, way, stored)
        after, _ = _live(target, way, size.quiet_s)
    quiet = (before + after) / 2
    return {
        "quiet_end_to_end_p99_ms": quiet,
        "replay_end_to_end_p99_ms": during,
        "replay_end_to_end_p99_ratio": during / quiet,
        "replayed_per_s": stored / replayed_s,
    }


def _live(target: Target, way: RelayWay, seconds: float) -> tuple[float, int]:
    """The end-to-end p99 in ms, and how many there were."""
    load = post(target, way, target.reset(), at(LIVE_RATE, seconds))
    return arrived(target, load)["end_to_end_ms"]["p99"], load["answered"]


def _live_beside_replay(target: Target, way: RelayWay, stored: int) -> tuple[float, float]:
    """The end-to-end p99 in ms while all that is stored is replayed, and how long that took.

    Raises:
        BenchError: The replay was over too soon to say anything, or did not end.
    """
    least_s = stored / REPLAY_RATE
    run, started = target.reset(), time.monotonic()
    start_replay(way.folder / "data", REPLAY_RATE)
    load = post(target, way, run, at(LIVE_RATE, LIVE_SHARE * least_s))
    if target.report()["strays"] >= stored:
        raise BenchError("The replay ended before the live traffic beside it: it has no rate.")
    while (replayed := target.report()["strays"]) < stored:
        if time.monotonic() - started > PATIENCE * least_s:
            raise BenchError(f"The replay brought {replayed} of {stored} events, and no more.")
        time.sleep(POLL_S)
    replayed_s = time.monotonic() - started
    return arrived(target, load)["end_to_end_ms"]["p99"], replayed_s


def stopped_reader(target: Target, folder: Path, size: Size) -> Figures:
    """100 MB for a reader that reads nothing, for one that still pings, and for nobody at all.

    Each has a server of its own, and the bodies are the same. What a server grew by with a
    reader, less what it grew by without one, is what the reader cost.
    """
    bodies = _big_bodies(folder, target.fixtures)
    count = str(size.waiting_bytes // BIG_BODY_BYTES)
    cuts = dict[str, Future[float]]()
    with ExitStack() as stack:
        ways = {name: stack.enter_context(_reader_away(folder / name, target)) for name in WAITING}
        watchers = stack.enter_context(ThreadPoolExecutor())
        time.sleep(SETTLE_S)
        idle = {name: resident_mib(way.processes["server"]) for name, way in ways.items()}
        for name, way in ways.items():
            if name != NOBODY:
                reader = stack.enter_context(closing(RawReader(way.port, way.subscribe_token)))
                cuts[name] = watchers.submit(seconds_until_cut, reader, pings=name == PINGING)
            load = post(target, way, target.reset(), [*STEADILY, "--count", count], bodies)
            target.faults["not_answered_2xx"] += sum(load["failed"].values())
        cut_s = {name: cut.result() for name, cut in cuts.items()}
        highest = {n: resident_mib(way.processes["server"], "VmHWM") for n, way in ways.items()}
    return _costs({name: highest[name] - idle[name] for name in WAITING}, cut_s)


@contextmanager
def _reader_away(folder: Path, target: Target) -> Iterator[RelayWay]:
    """A server with a subscription that nobody reads just now."""
    folder.mkdir()
    with relay_server(folder, target.port) as way:
        with closing(RawReader(way.port, way.subscribe_token)) as reader:
            reader.welcomed()
        yield way


def seconds_until_cut(reader: RawReader, *, pings: bool) -> float:
    """Wait until the server lets go of a reader that reads nothing, or for 90 s."""
    started, pinged = time.monotonic(), 0
    while not reader.cut() and (elapsed := time.monotonic() - started) < GIVE_UP_S:
        if pings and elapsed >= PING_S * (pinged + 1):
            reader.ping()
            pinged += 1
        time.sleep(POLL_S)
    return time.monotonic() - started


def _big_bodies(folder: Path, fixtures: Path) -> Path:
    """A folder with one Chatwoot body, made as large as 16 of a window."""
    body, _ = load_bodies(fixtures)[0]
    padding = b"x" * (BIG_BODY_BYTES - len(body) - len(PADDED % b""))
    (folder / "bodies").mkdir()
    (folder / "bodies" / "big.json").write_bytes(body.replace(b"{", PADDED % padding, 1))
    return folder / "bodies"


def _costs(grown: Figures, cut_s: Figures) -> Figures:
    found = {"nobody_growth_mib": grown["nobody"]}
    for name, seconds in cut_s.items():
        found[f"{name}_growth_mib"] = grown[name]
        found[f"{name}_cost_mib"] = grown[name] - grown["nobody"]
        found[f"{name}_cut_s"] = seconds
    return found


def at(rate: float, seconds: float) -> list[str]:
    """What the generator is asked for."""
    return ["--rate", str(rate), "--seconds", str(seconds), *SENDERS]


def arrived(target: Target, load: LoadResult) -> TargetReport:
    """Wait for all of a load, and note what went wrong with it."""
    target.wait_for(load["answered"])
    report = target.report()
    note_faults(target.faults, load, report)
    return report
