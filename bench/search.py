"""Measures how events are found where 100,000 and 1,000,000 are stored: pages, words, rare ones.

Every size has a server of its own. It indexes what is stored, which is what the index costs; then
one question after the other is asked of its API, each on a new connection, as a browser would.
"""

import http.client
import json
import shutil
import statistics
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from bench import bounds, report
from bench.bounds import Bound
from bench.errors import BenchError
from bench.run import exit_status, say
from bench.scale import control, fill, wait_until_at_rest
from bench.scenarios import Figures, Target, post, target_running, warm_up
from bench.strains import LIVE_RATE, arrived, at
from bench.usage import usage
from bench.ways import RelayWay, relay_server

SIZES, QUICK = (100_000, 1_000_000), (20_000,)
ASKED = 20  # times each question, after one to warm up
GUESSED = 200  # times a name, in turn with another
WALK_S = 10.0  # for a filter that fits no event, which is looked for in all of them
LEVEL_WITHIN_S = 1_500.0
LOOK_S = 2.0  # between two looks whether all is indexed: an answer costs what twenty events do
OFF_S = 5.0  # that a server without an index is looked at
QUESTIONS: dict[str, dict[str, str]] = {
    "page": {"limit": "50"},
    "page, half way down": {"limit": "50", "before": "half"},
    "page, at the end": {"limit": "50", "before": "60"},
    "a word in every second event": {"q": "bolo"},
    "a word that is nowhere": {"q": "nenhures"},
    "two words": {"q": "bom bolo"},
    "a phrase": {"q": '"bom dia"'},
    "a beginning": {"q": "entreg*"},
    "a conversation": {"q": "conv:1007"},
    "facts": {"q": "kind:message_created from:customer -is:private"},
    "what became of it": {"q": "is:waiting bolo"},
}
WALK = {"q": "path:/nowhere", "limit": "50"}


def found(target: Target, folder: Path, sizes: Sequence[int]) -> Figures:
    """What the index of each size costs, and how long each question takes."""
    fill(target, {folder / str(number): number for number in sizes})
    figures = Figures(_switched_off(target, folder / str(sizes[0]), sizes[0]))
    for number in sizes:
        with ExitStack() as stack:
            way = stack.enter_context(relay_server(folder / str(number), target.port))
            figures |= {
                f"{number}/{name}": value for name, value in _asked(target, way, number).items()
            }
    return figures


def _switched_off(target: Target, folder: Path, number: int) -> Figures:
    """What a server that is to have no index does on a store that another would index."""
    place = shutil.copytree(folder, folder.with_name("off"))
    with relay_server(place, target.port, RELAY_SERVER_SEARCH="off") as way:
        server = way.processes["server"]
        wait_until_at_rest(server)
        before = usage(server).cpu_s
        time.sleep(OFF_S)
        return {
            f"{number}/off: CPU an event, µs": 1e6 * (usage(server).cpu_s - before) / number,
            f"{number}/off: index, bytes": _size(way.folder / "data", "search.db"),
        }


def _asked(target: Target, way: RelayWay, number: int) -> Figures:
    server = way.processes["server"]
    before = usage(server).cpu_s
    say(f"  indexing {number:,} events")
    _wait_until_level(way, number)
    data = way.folder / "data"
    figures = {
        "index CPU an event, µs": 1e6 * (usage(server).cpu_s - before) / number,
        "index size to store": _size(data, "search.db") / _size(data, "relay.db"),
    }
    wait_until_at_rest(server)
    for name, query in QUESTIONS.items():
        asked = {k: str(number // 2) if v == "half" else v for k, v in query.items()}
        times = [_ask(way, urlencode(asked))[0] for _ in range(ASKED + 1)]
        figures[f"{name}, ms"] = statistics.median(times[1:])
    return figures | _walked(way) | _guessed(way) | _delivered_beside(target, way)


def _guessed(way: RelayWay) -> Figures:
    """How an answer of a channel of others differs in time from one of none at all."""
    control(way, "channels", {"name": "others"}, "POST")
    times = {"others": list[float](), "nowhere": list[float]()}
    for number in range(GUESSED):
        for name in sorted(times, reverse=number % 2 == 1):
            times[name].append(_timed(way, urlencode({"channel": name, "q": "bolo"}))[0])
    medians = sorted(statistics.median(took) for took in times.values())
    return {"a channel of others to none, x": medians[1] / medians[0]}


def _delivered_beside(target: Target, way: RelayWay) -> Figures:
    """How fast webhooks arrive while somebody follows a rare filter, and while nobody does."""
    way.start_client()
    warm_up(target, way)
    before, over = _end_to_end(target, way), threading.Event()

    def walk() -> None:
        query = urlencode(WALK)
        while not over.is_set():
            query = _ask(way, query)[1]["next"] or urlencode(WALK)

    walking = threading.Thread(target=walk)
    walking.start()
    try:
        during = _end_to_end(target, way)
    finally:
        over.set()
        walking.join()
    after = _end_to_end(target, way)
    return {"end to end p99 beside a rare filter, x": 2 * during / (before + after)}


def _end_to_end(target: Target, way: RelayWay) -> float:
    load = post(target, way, target.reset(), at(LIVE_RATE, WALK_S))
    return arrived(target, load)["end_to_end_ms"]["p99"]


def _walked(way: RelayWay) -> Figures:
    """Look for what no event has, as far as the time allows."""
    times, query, until = list[float](), urlencode(WALK), time.monotonic() + WALK_S
    newest = scanned_to = 0
    while query and time.monotonic() < until:
        took, page = _ask(way, query)
        times.append(took)
        query, scanned_to, newest = page["next"], page["scanned_to"], newest or page["newest"]
    return {
        "a rare filter, slowest answer, ms": max(times),
        "a rare filter, median answer, ms": statistics.median(times),
        "a rare filter, events an answer": (newest - scanned_to) / len(times),
    }


def _wait_until_level(way: RelayWay, number: int) -> None:
    deadline = time.monotonic() + LEVEL_WITHIN_S
    while _ask(way, "limit=1")[1]["indexed_to"] < number:
        if time.monotonic() > deadline:
            raise BenchError(f"{number:,} events were not indexed within {LEVEL_WITHIN_S:.0f} s.")
        time.sleep(LOOK_S)


def _ask(way: RelayWay, query: str) -> tuple[float, dict[str, Any]]:
    """Milliseconds until the whole answer is there, and the answer."""
    took_ms, status, body = _timed(way, query)
    if status != 200:
        raise BenchError(f"{query} was answered {status}: {body.decode()}")
    return took_ms, json.loads(body)


def _timed(way: RelayWay, query: str) -> tuple[float, int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", way.port, timeout=30)
    began = time.perf_counter()
    headers = {"Authorization": f"Bearer {way.subscribe_token}"}
    connection.request("GET", f"/api/v1/events?{query}", headers=headers)
    answer = connection.getresponse()
    body = answer.read()
    took_ms = 1e3 * (time.perf_counter() - began)
    connection.close()
    return took_ms, answer.status, body


def _size(folder: Path, name: str) -> int:
    return sum(file.stat().st_size for file in folder.glob(f"{name}*"))


def _bounds() -> list[Bound]:
    off = {"off: CPU an event, µs": (1, "µs"), "off: index, bytes": (0, "bytes")}
    made = [
        Bound(f"100,000: {name}", "search", f"100000/{name}", most, unit)
        for name, (most, unit) in off.items()
    ]
    asked = {"page, ms": 15, "page, half way down, ms": 15, "page, at the end, ms": 15}
    words = ("a word in every second event", "a word that is nowhere", "two words", "a phrase")
    asked |= {f"{name}, ms": 50 for name in words}
    for number, times in ((100_000, 1), (1_000_000, 2)):
        for name, most in asked.items():
            allowed = most * (3 if times > 1 and most == 50 else times)
            made.append(Bound(f"{number:,}: {name}", "search", f"{number}/{name}", allowed, "ms"))
        cpu, slowest = "index CPU an event, µs", "a rare filter, slowest answer, ms"
        made.append(Bound(f"{number:,}: {cpu}", "search", f"{number}/{cpu}", 90, "µs"))
        made.append(Bound(f"{number:,}: {slowest}", "search", f"{number}/{slowest}", 50, "ms"))
        beside = "end to end p99 beside a rare filter, x"
        made.append(Bound(f"{number:,}: {beside}", "search", f"{number}/{beside}", 1.3, "x"))
        guess = "a channel of others to none, x"
        made.append(Bound(f"{number:,}: {guess}", "search", f"{number}/{guess}", 1.1, "x"))
    return made


def told(figures: Figures, sizes: Sequence[int]) -> list[str]:
    names = dict.fromkeys(name.partition("/")[2] for name in figures)
    lines = [f"{'':42}" + "".join(f"{number:>12,}" for number in sizes)]
    for name in names:
        cells = [f"{figures.get(f'{number}/{name}', 0):12.2f}" for number in sizes]
        lines.append(f"{name:42}" + "".join(cells))
    return lines


def main() -> int:
    parser = bounds.parser("bench.search", __doc__, ["search"])
    parser.add_argument("--events", type=int, nargs="+", help="how many are stored, for each size")
    args = parser.parse_args()

    def measure_all(folder: Path) -> None:
        sizes = args.events or (QUICK if args.quick else SIZES)
        facts = report.machine(folder)
        with target_running(folder, args.fixtures) as target:
            figures = {"search": [found(target, folder, sizes)]}
        kept = [b for b in _bounds() if b.figure in figures["search"][0]]
        bounds.show(facts, told(figures["search"][0], sizes), kept, figures, target.faults)
        if args.json:
            bounds.save(args.json, {"sizes": sizes}, facts, kept, figures, target.faults)

    return exit_status(measure_all, args.work_dir, args.limit_s)


if __name__ == "__main__":
    sys.exit(main())
