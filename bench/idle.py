"""What Relay costs while nothing happens: CPU, memory, and the memory of each client that waits."""

import resource
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from bench.processes import resident_mib
from bench.reader import RawReader
from bench.scenarios import Figures, Target
from bench.strains import Size
from bench.usage import usage
from bench.ways import relay, relay_server

SETTLE_S = 2.0  # after the last that happened; the first look at anything costs more than the next
FIRST_READERS = 10  # of them, which nobody counts: they make what all share
OPEN_FILES = 2_048  # of this process: a reader is one


def idle(target: Target, folder: Path, size: Size) -> Figures:
    """Server and client while no webhook comes, and another server with many readers that wait."""
    pair, many = folder / "pair", folder / "many"
    return _at_rest(target, pair, size.idle_s) | _readers(target, many, size.idle_readers)


def _at_rest(target: Target, folder: Path, seconds: float) -> Figures:
    folder.mkdir()
    found = Figures()
    with relay(folder, target.port) as way:
        time.sleep(SETTLE_S)
        before = {name: usage(process) for name, process in way.processes.items()}
        time.sleep(seconds)
        for name, process in way.processes.items():
            used = usage(process).since(before[name])
            found[f"{name}_idle_cpu_percent"] = 100 * used.cpu_s / seconds
            found[f"{name}_idle_switches_per_s"] = used.switches / seconds
            found[f"{name}_idle_mib"] = resident_mib(process)
    return found


def _readers(target: Target, folder: Path, count: int) -> Figures:
    """How much the server grows by each subscription, over a connection of its own."""
    folder.mkdir()
    with _many_open_files(), ExitStack() as stack:
        way = stack.enter_context(relay_server(folder, target.port))
        server = way.processes["server"]

        def join(number: int) -> None:
            reader = RawReader(way.port, way.subscribe_token, f"reader-{number}")
            stack.enter_context(closing(reader)).welcomed()

        for number in range(FIRST_READERS):
            join(number)
        time.sleep(SETTLE_S)
        before = resident_mib(server)
        for number in range(FIRST_READERS, count):
            join(number)
        time.sleep(SETTLE_S)
        grown = resident_mib(server) - before
    return {"idle_reader_kb": grown * 1_048.576 / (count - FIRST_READERS)}


@contextmanager
def _many_open_files() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(OPEN_FILES, hard)), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
