"""Measures the dashboard in a real Chromium: its first page, and a list at 50 webhooks a second.

`python -m bench.dashboard`. Each size has a server of its own, on which so many events are stored.
The browser is Debian's, without a window, on the same cores.
"""

import shutil
import statistics
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, BrowserContext, CDPSession, Page, sync_playwright

from bench import bounds, report
from bench.bounds import Bound
from bench.errors import BenchError
from bench.feeds import watched
from bench.load import LoadResult
from bench.run import exit_status, say
from bench.scale import fill, wait_until_at_rest
from bench.scenarios import Figures, Target, post, target_running, warm_up
from bench.strains import LIVE_RATE, Size, arrived, at
from bench.ways import RelayWay, relay

NAMES = ("pages", "viewers")
SIZES, QUICK = (1_000, 100_000, 1_000_000), (1_000,)
ASKED = 20  # times each page, after one to warm up
LIVE_S, QUICK_LIVE_S = 60.0, 10.0
FEED_KINDS = ("EventSource", "Fetch")  # requests that are no part of a page
# Tasks of the page's main thread above 50 ms, and when each row was there: beside when its webhook
# came, which is before its answer, by the clock of the same machine.
WATCH = """() => {
  window.tasks = [];
  window.late = [];
  new PerformanceObserver((list) => tasks.push(...list.getEntries().map((one) => one.duration)))
    .observe({ entryTypes: ["longtask"] });
  new MutationObserver((changes) => {
    for (const { addedNodes } of changes) for (const row of addedNodes) {
      const time = row.querySelector?.("time");
      if (time) late.push(Date.now() - Date.parse(time.dateTime));
    }
  }).observe(document.querySelector("[data-rows]"), { childList: true });
}"""
TOLD = "() => ({ tasks, late, nodes: document.querySelectorAll('*').length })"
FIRST_PAINT = """() => new Promise((found) => new PerformanceObserver((list) => {
  const [paint] = list.getEntriesByName("first-contentful-paint");
  if (paint) found(paint.startTime);
}).observe({type: "paint", buffered: true}))"""


def pages(target: Target, folder: Path, browser: Browser, number: int, live_s: float) -> Figures:
    """The first page and a list that lives, on a server with so many events."""
    fill(target, {folder: number})
    with relay(folder, target.port) as way:
        wait_until_at_rest(way.processes["server"])
        warm_up(target, way)
        with _logged_in(browser, way) as context:
            return _first(context, way) | _live(target, way, context, live_s)


@contextmanager
def _logged_in(browser: Browser, way: RelayWay) -> Iterator[BrowserContext]:
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{_url(way)}/login")
    page.fill("#k", way.subscribe_token)
    page.keyboard.press("Enter")
    page.wait_for_url(f"{_url(way)}/")
    page.close()
    yield context
    context.close()


def _url(way: RelayWay) -> str:
    return f"http://127.0.0.1:{way.port}"


def _first(context: BrowserContext, way: RelayWay) -> Figures:
    """A list of fifty: cold, then as often as the first row is waited for."""
    page = context.new_page()
    network, kinds, sizes = _network(context, page)
    network.send("Network.clearBrowserCache")
    page.goto(f"{_url(way)}/channels/chatwoot")
    figures = {"first page, KB": sum(sizes) / 1e3, "first page, requests": float(len(kinds))}
    painted, took = list[float](), list[float]()
    for _ in range(ASKED + 1):
        page.goto(f"{_url(way)}/channels/chatwoot")
        painted.append(page.evaluate(FIRST_PAINT))
        took.append(_page_ms(context, way))
    page.close()
    figures["first row, ms"] = statistics.median(painted[1:])
    figures["a page of 50, ms"] = statistics.median(took[1:])
    return figures


def _page_ms(context: BrowserContext, way: RelayWay) -> float:
    """From asking for the list to its last byte, without a browser."""
    cookies = "; ".join(f"{one['name']}={one['value']}" for one in context.cookies())
    connection, began = HTTPConnection("127.0.0.1", way.port, timeout=30), time.perf_counter()
    with closing(connection):
        connection.request("GET", "/channels/chatwoot", headers={"Cookie": cookies})
        if (answer := connection.getresponse()).status != 200:
            raise BenchError(f"The list was answered {answer.status}.")
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


def _live(target: Target, way: RelayWay, context: BrowserContext, seconds: float) -> Figures:
    """A list at its top while webhooks come."""
    page = context.new_page()
    page.goto(f"{_url(way)}/channels/chatwoot")
    page.wait_for_selector("body[data-feed=live]")
    page.evaluate(WATCH)
    devtools = context.new_cdp_session(page)
    devtools.send("Performance.enable", {"timeDomain": "threadTicks"})
    loads = list[LoadResult]()
    flags = at(LIVE_RATE, seconds)
    posting = threading.Thread(
        target=lambda: loads.append(post(target, way, target.reset(), flags))
    )
    busy, began = _busy_s(devtools), time.monotonic()
    posting.start()
    while posting.is_alive():
        page.wait_for_timeout(200)
    share = (_busy_s(devtools) - busy) / (time.monotonic() - began)
    if not loads:
        raise BenchError("The load generator failed.")
    arrived(target, loads[0])
    page.wait_for_timeout(1_000)
    told = page.evaluate(TOLD)
    page.close()
    if len(told["late"]) < 0.9 * LIVE_RATE * seconds:
        raise BenchError(f"The list showed {len(told['late'])} rows of {LIVE_RATE * seconds:.0f}.")
    return {
        "row p95, ms": statistics.quantiles(told["late"], n=20)[-1],
        "longest task, ms": max(told["tasks"], default=0.0),
        "page's share of a core, %": 100 * share,
        "elements": told["nodes"],
    }


def _busy_s(devtools: CDPSession) -> float:
    """Seconds of CPU that the page's main thread has taken."""
    metrics = devtools.send("Performance.getMetrics")["metrics"]
    return float(next(one["value"] for one in metrics if one["name"] == "TaskDuration"))


MOST = {
    "first page, KB": (50, "KB"),
    "first page, requests": (4, "requests"),
    "first row, ms": (300, "ms"),
    "a page of 50, ms": (30, "ms"),
    "row p95, ms": (300, "ms"),
    "longest task, ms": (50, "ms"),
    "page's share of a core, %": (10, "%"),
    "elements": (8_000, "elements"),
}


def _bounds(sizes: Sequence[int]) -> list[Bound]:
    made = [
        Bound(f"{number:,}: {name}", f"{number}", name, most, unit)
        for number in sizes
        for name, (most, unit) in MOST.items()
    ]
    five = "answer p99 with five viewers"
    return [*made, Bound(five, "viewers", "watched_answer_p99_ratio", 1.3, "x quiet")]


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
            for number in sizes if "pages" in only else ():
                say(f"{number:,} events")
                live_s = QUICK_LIVE_S if args.quick else LIVE_S
                found[str(number)] = [pages(target, folder / str(number), browser, number, live_s)]
            browser.close()
            if "viewers" in only:
                say("five viewers")
                found["viewers"] = [watched(target, folder / "viewers", Size())]
            held = _bounds(sizes)
            bounds.show(facts, [], held, found, target.faults)
            if args.json:
                bounds.save(args.json, {"sizes": sizes}, facts, held, found, target.faults)

    return exit_status(measure_all, args.work_dir, args.limit_s)


if __name__ == "__main__":
    sys.exit(main())
