"""Measures the dashboard in a real Chromium: its first page, and a list at 50 webhooks a second.

`python -m bench.dashboard`. Each size has a server of its own, on which so many events are stored.
The browser is Debian's, without a window, on the same cores.
"""

import shutil
import statistics
import sys
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from playwright.sync_api import Browser, BrowserContext, CDPSession, Page, sync_playwright

from bench import bounds, report
from bench.bounds import Bound
from bench.errors import BenchError
from bench.feeds import watched
from bench.livepage import HEAP_GROWTH, LIST, lived, url
from bench.run import exit_status, say
from bench.scale import fill, wait_until_at_rest
from bench.scenarios import Figures, Target, target_running, warm_up
from bench.strains import Size
from bench.ways import RelayWay, relay
from tests.support.texts import HARD_QUESTIONS

NAMES = ("pages", "viewers")
SIZES, QUICK = (1_000, 100_000, 1_000_000), (1_000,)
ASKED = 20  # times each page, after one to warm up
ASKED_HARD = 5  # times each hard question, the same
MOST_ASKED = 2_000  # characters that the field takes
SEARCH = "search of a word, ms"
HARD_SEARCH = "the slowest of hard searches, ms"
ASKED_FOR = {
    "a page of 50, ms": LIST,
    "the oldest page, ms": f"{LIST}?before=51",
    SEARCH: "/search?q=bolo",
}
VIEWERS = {  # figures of `bench.feeds`
    "quiet_answer_p99_ms": "answer p99, ms",
    "watched_answer_p99_ms": "answer p99 with five viewers, ms",
    "watched_answer_p99_ratio": "answer p99, watched / not",
    "viewer_cpu_percent": "server's CPU for a viewer, %",
    "viewer_mib": "server's memory for a viewer, MiB",
}
FEED_KINDS = ("EventSource", "Fetch")  # requests that are no part of a page
FIRST_PAINT = """() => new Promise((found) => new PerformanceObserver((list) => {
  const [paint] = list.getEntriesByName("first-contentful-paint");
  if (paint) found(paint.startTime);
}).observe({type: "paint", buffered: true}))"""


def pages(target: Target, way: RelayWay, browser: Browser, *, quick: bool) -> Figures:
    """The first page, others, and a list that lives."""
    with _logged_in(browser, way) as context:
        return _first(context, way) | lived(target, way, context, quick=quick)


def viewers(target: Target, way: RelayWay, *, quick: bool) -> Figures:
    """What five feeds and a search a second cost senders and the server."""
    size = Size(quiet_s=5.0, slow_s=10.0) if quick else Size()
    return {VIEWERS[name]: value for name, value in watched(target, way, size).items()}


@contextmanager
def _stored(target: Target, folder: Path, number: int) -> Iterator[RelayWay]:
    """A server on which so many events are stored, and indexed."""
    fill(target, {folder: number})
    with relay(folder, target.port) as way:
        wait_until_at_rest(way.processes["server"])
        warm_up(target, way)
        yield way


@contextmanager
def _logged_in(browser: Browser, way: RelayWay) -> Iterator[BrowserContext]:
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{url(way)}/login")
    page.fill("#k", way.subscribe_token)
    page.keyboard.press("Enter")
    page.wait_for_url(f"{url(way)}/")
    page.close()
    yield context
    context.close()


def _first(context: BrowserContext, way: RelayWay) -> Figures:
    """A list of fifty: cold, then as often as the first row is waited for."""
    page = context.new_page()
    network, kinds, sizes = _network(context, page)
    network.send("Network.clearBrowserCache")
    page.goto(f"{url(way)}{LIST}")
    figures = {"first page, KB": sum(sizes) / 1e3, "first page, requests": float(len(kinds))}
    painted, again, took = list[float](), list[float](), {name: list[float]() for name in ASKED_FOR}
    for _ in range(ASKED + 1):
        sizes.clear()
        page.goto(f"{url(way)}{LIST}")
        painted.append(page.evaluate(FIRST_PAINT))
        again.append(sum(sizes) / 1e3)
        for name, path in ASKED_FOR.items():
            took[name].append(_page_ms(context, way, path))
    page.close()
    figures["first row, ms"] = statistics.median(painted[1:])
    figures["the page again, KB"] = statistics.median(again[1:])
    figures[HARD_SEARCH] = max(_hard_ms(context, way, asked) for asked in HARD_QUESTIONS)
    return figures | {name: statistics.median(each[1:]) for name, each in took.items()}


def _hard_ms(context: BrowserContext, way: RelayWay, asked: str) -> float:
    """The median of a question that nobody should ask."""
    path = f"/search?{urlencode({'q': asked[:MOST_ASKED]})}"
    took = [_page_ms(context, way, path) for _ in range(ASKED_HARD + 1)]
    return statistics.median(took[1:])


def _page_ms(context: BrowserContext, way: RelayWay, path: str) -> float:
    """From asking for a page to its last byte, without a browser; it may say what is wrong."""
    cookies = "; ".join(f"{one['name']}={one['value']}" for one in context.cookies())
    connection, began = HTTPConnection("127.0.0.1", way.port, timeout=30), time.perf_counter()
    with closing(connection):
        connection.request("GET", path, headers={"Cookie": cookies})
        if (answer := connection.getresponse()).status not in (200, 422):
            raise BenchError(f"{path} was answered {answer.status}.")
        answer.read()
    return 1e3 * (time.perf_counter() - began)


def _network(context: BrowserContext, page: Page) -> tuple[CDPSession, set[str], list[int]]:
    """What a page asks for, but for its feed, and how many bytes come."""
    network, urls, sizes = context.new_cdp_session(page), set[str](), list[int]()

    def asked(sent: dict[str, Any]) -> None:
        if sent["type"] not in FEED_KINDS:
            urls.add(sent["request"]["url"])

    network.send("Network.enable")
    network.on("Network.requestWillBeSent", asked)
    network.on("Network.loadingFinished", lambda done: sizes.append(done["encodedDataLength"]))
    return network, urls, sizes


MOST = {
    "first page, KB": (50, "KB"),
    "first page, requests": (4, "requests"),
    "the page again, KB": (14, "KB"),
    "first row, ms": (300, "ms"),
    "a page of 50, ms": (30, "ms"),
    "the oldest page, ms": (30, "ms"),
    SEARCH: (50, "ms"),
    HARD_SEARCH: (200, "ms"),
    "row p95, ms": (300, "ms"),
    "latest row, ms": (1_000, "ms"),
    "longest task, ms": (50, "ms"),
    "longest task's CPU, ms": (50, "ms of CPU"),
    "script and layout a drawing, ms": (2, "ms of CPU"),
    "page's share of a core, %": (10, "%"),
    "elements": (8_000, "elements"),
    HEAP_GROWTH: (10, "MB"),
    "unseen page's share of a core, %": (0.1, "%"),
    "answer p99, watched / not": (1.3, "x"),
    "server's CPU for a viewer, %": (3, "%"),
    "server's memory for a viewer, MiB": (1, "MiB"),
}
LARGE = 1_000_000  # events, among which a word may be searched for longer
LARGE_SEARCH_MS = 150


def _bounds(sizes: Sequence[int], figures: Collection[str]) -> list[Bound]:
    made = [
        Bound(f"{number:,}: {name}", f"{number}", name, most, unit)
        for number in sizes
        for name, (most, unit) in MOST.items()
        if name in figures
    ]
    return [
        replace(bound, most=LARGE_SEARCH_MS)
        if bound.figure == SEARCH and int(bound.measured) >= LARGE
        else bound
        for bound in made
    ]


def main() -> int:
    parser = bounds.parser("bench.dashboard", __doc__, NAMES)
    parser.add_argument("--events", type=int, nargs="+", help="how many are stored, for each size")
    args = parser.parse_args()

    def measure_all(folder: Path) -> None:
        only = bounds.chosen(args, NAMES)
        program = shutil.which("chromium")
        if program is None:
            raise BenchError("There is no Chromium here; on Debian: apt install chromium.")
        sizes = args.events or (QUICK if args.quick else SIZES)
        facts, found = report.machine(folder), dict[str, list[Figures]]()
        with target_running(folder, args.fixtures) as target, sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
            for number in sizes:
                say(f"{number:,} events")
                with _stored(target, folder / str(number), number) as way:
                    figures = found.setdefault(str(number), [{}])[0]
                    if "pages" in only:
                        figures |= pages(target, way, browser, quick=args.quick)
                    if "viewers" in only:
                        figures |= viewers(target, way, quick=args.quick)
            browser.close()
            held = _bounds(sizes, found[str(sizes[0])][0])
            bounds.show(facts, [], held, found, target.faults)
            if args.json:
                bounds.save(args.json, {"sizes": sizes}, facts, held, found, target.faults)

    return exit_status(measure_all, args.work_dir, args.limit_s)


if __name__ == "__main__":
    sys.exit(main())
