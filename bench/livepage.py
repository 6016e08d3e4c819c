"""A list in a browser while webhooks come: how late rows are, and what the page takes."""

import json
import statistics
import threading
import time

from playwright.sync_api import BrowserContext, CDPSession, Page

from bench.errors import BenchError
from bench.load import LoadResult
from bench.scenarios import Figures, Target, post
from bench.strains import LIVE_RATE, arrived, at
from bench.ways import RelayWay
from tests.support.browsing import SHOW

LIST = "/channels/chatwoot"
LIVE_S, QUICK_LIVE_S = 60.0, 10.0
MANY, QUICK_MANY = 100_000, 10_000  # events after which the heap is looked at once more
HIDDEN_S = 31.0  # then a page that nobody sees has let go of its feed
UNSEEN_S = 10.0
TRACED_S = 10.0
# Tasks of the page's main thread above 50 ms, how often the list was drawn, and when each row was
# there: beside when its webhook came, which is before its answer, by the clock of the same machine.
# One event, as the feed tells it, is kept.
WATCH = """() => {
  Object.assign(window, { tasks: [], late: [], drawn: 0, sample: "" });
  const list = document.querySelector("[data-rows]");
  new PerformanceObserver((list) => tasks.push(...list.getEntries().map((one) => one.duration)))
    .observe({ entryTypes: ["longtask"] });
  new MutationObserver((changes) => {
    for (const { addedNodes } of changes) for (const row of addedNodes) {
      const time = row.querySelector?.("time");
      if (time) late.push(Date.now() - Date.parse(time.dateTime));
    }
  }).observe(list, { childList: true });
  list.addEventListener("drawn", () => { drawn += 1; });
  const bus = new BroadcastChannel("relay-feed /");
  bus.onmessage = ({ data }) => {
    sample = data.messages?.find(({ name }) => name === "event")?.data ?? "";
    if (sample) bus.close();
  };
}"""
TOLD = "() => ({ tasks, late, drawn, nodes: document.querySelectorAll('*').length })"
# As another tab that leads would pass them on: so many events like the one that was kept, and what
# became of each, in pieces of which each is drawn.
GROW = """async (number) => {
  const PIECE = 250;
  const bus = new BroadcastChannel("relay-feed /"), like = JSON.parse(sample);
  const list = document.querySelector("[data-rows]");
  const drawn = () => new Promise((go) => list.addEventListener("drawn", go, { once: true }));
  const message = (name, said) => ({ name, position: "", data: JSON.stringify(said) });
  window.at ??= like.sequence;
  for (let told = 0; told < number; told += PIECE) {
    const messages = Array.from({ length: PIECE }, () => {
      const event = { ...like, id: `evt_${++at}`, sequence: at };
      const delivery = { ...like.deliveries[0], event: event.id, channel: like.channel };
      return [message("event", event), message("delivery", { ...delivery, state: "delivered" })];
    });
    bus.postMessage({ kind: "messages", messages: messages.flat() });
    await drawn();
  }
  bus.close();
}"""
HEAP_GROWTH = "heap grown by, MB"
HEAP = ("usedSize", "embedderHeapUsedSize", "backingStorageSize")  # JavaScript's and the DOM's
WORK = ("ScriptDuration", "LayoutDuration", "RecalcStyleDuration")


def url(way: RelayWay) -> str:
    return f"http://127.0.0.1:{way.port}"


def lived(target: Target, way: RelayWay, context: BrowserContext, *, quick: bool) -> Figures:
    """A list at its top, at 50 webhooks a second; its heap after many more; unseen."""
    page = context.new_page()
    page.goto(url(way) + LIST)
    page.wait_for_selector("body[data-feed=live]")
    devtools = context.new_cdp_session(page)
    devtools.send("Performance.enable", {"timeDomain": "threadTicks"})
    page.evaluate(WATCH)
    figures = _live(target, way, page, devtools, QUICK_LIVE_S if quick else LIVE_S)
    figures |= _traced(target, way, page)
    figures |= _grown(page, devtools, QUICK_MANY if quick else MANY)
    figures |= _unseen(target, way, page, devtools)
    page.close()
    return figures


def _live(
    target: Target, way: RelayWay, page: Page, devtools: CDPSession, seconds: float
) -> Figures:
    before = _metrics(devtools)
    took_s = _posted(target, way, page, seconds)
    after = _metrics(devtools)
    page.wait_for_timeout(1_000)
    told = page.evaluate(TOLD)
    if len(told["late"]) < 0.9 * LIVE_RATE * seconds:
        raise BenchError(f"The list showed {len(told['late'])} rows of {LIVE_RATE * seconds:.0f}.")
    work_s = sum(after[name] - before[name] for name in WORK)
    return {
        "row p95, ms": statistics.quantiles(told["late"], n=20)[-1],
        "latest row, ms": max(told["late"]),
        "longest task, ms": max(told["tasks"], default=0.0),
        "script and layout a drawing, ms": 1e3 * work_s / told["drawn"],
        "page's share of a core, %": 100 * (after[BUSY] - before[BUSY]) / took_s,
        "elements": told["nodes"],
    }


def _traced(target: Target, way: RelayWay, page: Page) -> Figures:
    """The most CPU that a task takes, whatever else the cores do; tracing is a part of it."""
    browser = page.context.browser
    assert browser is not None
    browser.start_tracing(page=page, categories=["-*", "toplevel"])
    _posted(target, way, page, TRACED_S)
    traced = json.loads(browser.stop_tracing())["traceEvents"]
    threads = {
        (one["pid"], one["tid"])
        for one in traced
        if one["name"] == "thread_name" and one["args"]["name"] == "CrRendererMain"
    }
    took_us = [
        one.get("tdur", 0)
        for one in traced
        if (one["pid"], one["tid"]) in threads and one["name"].endswith("RunTask")
    ]
    return {"longest task's CPU, ms": max(took_us) / 1e3}


def _grown(page: Page, devtools: CDPSession, number: int) -> Figures:
    """By how much the heap has grown after so many events, with as many rows as before."""
    page.evaluate(GROW, 1_000)
    before = _heap_mb(devtools)
    page.evaluate(GROW, number)
    return {HEAP_GROWTH: _heap_mb(devtools) - before}


def _unseen(target: Target, way: RelayWay, page: Page, devtools: CDPSession) -> Figures:
    page.evaluate(SHOW, False)
    page.wait_for_timeout(1e3 * HIDDEN_S)
    before = _metrics(devtools)[BUSY]
    took_s = _posted(target, way, page, UNSEEN_S)
    share = (_metrics(devtools)[BUSY] - before) / took_s
    return {"unseen page's share of a core, %": 100 * share}


def _posted(target: Target, way: RelayWay, page: Page, seconds: float) -> float:
    """Post for so long; how long it took."""
    loads, flags = list[LoadResult](), at(LIVE_RATE, seconds)
    run, began = target.reset(), time.monotonic()
    posting = threading.Thread(target=lambda: loads.append(post(target, way, run, flags)))
    posting.start()
    while posting.is_alive():
        page.wait_for_timeout(200)
    took_s = time.monotonic() - began
    if not loads:
        raise BenchError("The load generator failed.")
    arrived(target, loads[0])
    return took_s


BUSY = "TaskDuration"  # seconds of CPU that the page's main thread has taken


def _metrics(devtools: CDPSession) -> dict[str, float]:
    metrics = devtools.send("Performance.getMetrics")["metrics"]
    return {one["name"]: one["value"] for one in metrics}


def _heap_mb(devtools: CDPSession) -> float:
    devtools.send("HeapProfiler.collectGarbage")
    used = devtools.send("Runtime.getHeapUsage")
    return float(sum(used.get(name, 0) for name in HEAP)) / 1e6
