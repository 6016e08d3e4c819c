"""Lists while much comes: nothing moves for who reads, and what is too much is counted.

How long a page's tasks take depends on the machine, and `bench.dashboard` measures it. What a page
does does not: how often it draws, and how many elements it makes.
"""

from __future__ import annotations

import asyncio
import time

from playwright.async_api import Page, Route, expect

from relay_server.store.opening import open_store
from tests.browser.test_live import open_list, send
from tests.support.browsing import Seen, becomes_live, becomes_true, event_ids
from tests.support.events import new_event
from tests.support.relay import Relay
from tests.support.target import Target, gated

MANY, AT_ONCE = 5_000, 500
FEW = 8  # that a client has under way at once
RATE_PER_S, SECONDS = 50, 3
DRAW_MS = 120  # between two drawings of a list, at least
PAGES = 2  # that may be asked for, and drawn, after a gap: the newest events, and their states
# Where a row is in each frame, what moved by itself, how often the list was drawn, and how many
# elements were put into the page.
WATCH = """id => {
  window.seen = {tops: [], shifts: 0, drawn: 0, made: 0, began: performance.now()};
  const row = document.querySelector(`[data-event-id="${id}"]`);
  const look = () => {
    seen.tops.push(row.getBoundingClientRect().top);
    requestAnimationFrame(look);
  };
  new PerformanceObserver((list) => {
    for (const {value} of list.getEntries()) seen.shifts += value;
  }).observe({type: "layout-shift"});
  document.querySelector("[data-rows]").addEventListener("drawn", () => { seen.drawn += 1; });
  const made = new Set();  // each once: what is told of may have grown by then
  new MutationObserver((changes) => {
    for (const {addedNodes} of changes) for (const node of addedNodes)
      if (node.nodeType === 1) [node, ...node.querySelectorAll("*")].forEach((e) => made.add(e));
    seen.made = made.size;
  }).observe(document.body, {childList: true, subtree: true});
  look();
}"""
SEEN = "({...seen, lasted: performance.now() - seen.began})"
ELEMENTS = "document.querySelectorAll('*').length"
OF_ROWS = """id => [...document.querySelectorAll(`[data-event-id]:not([data-event-id="${id}"])`)]
  .reduce((sum, row) => sum + 1 + row.querySelectorAll("*").length, 0)"""


async def test_nothing_that_one_reads_moves_at_fifty_webhooks_a_second(
    relay: Relay, page: Page
) -> None:
    ids = [await send(relay, number) for number in range(40)][::-1]
    await open_list(relay, page)
    await page.mouse.wheel(0, 400)
    await becomes_true(page, "scrollY > 40")
    await page.evaluate(WATCH, ids[20])
    began = time.monotonic()
    for number in range(RATE_PER_S * SECONDS):
        await asyncio.sleep(max(0.0, began + number / RATE_PER_S - time.monotonic()))
        await send(relay, number)
    pill = page.locator("[data-new-count]")
    await expect(pill).to_have_attribute("data-new-count", f"{RATE_PER_S * SECONDS}")
    seen = await page.evaluate(SEEN)
    assert len(set(seen["tops"])) == 1
    assert seen["shifts"] == 0
    assert 0 < seen["drawn"] <= seen["lasted"] / DRAW_MS + 1
    assert seen["made"] == 0, "what comes is counted, and no more"
    assert await event_ids(page) == ids


async def test_a_list_that_follows_makes_its_rows_and_nothing_else(
    relay: Relay, page: Page, target: Target, token: str
) -> None:
    """What becomes of their deliveries changes what there is."""
    may_answer = gated(target)
    await relay.connect(token, "--to", target.address)
    first = await send(relay, 0)
    await open_list(relay, page)
    under_way, delivered = (page.get_by_label(f"ana: {s}") for s in ("under way", "delivered"))
    await expect(under_way).to_have_count(1)  # the page may be older than that
    await page.evaluate(WATCH, first)
    for number in range(1, FEW):
        await send(relay, number, conversation=number)
    await expect(under_way).to_have_count(FEW)
    may_answer.set()
    await expect(delivered).to_have_count(FEW)
    seen = await page.evaluate(SEEN)
    assert seen["made"] == await page.evaluate(OF_ROWS, first)


async def test_the_pill_says_how_much_comes_while_it_is_much(relay: Relay, page: Page) -> None:
    await send(relay, 0)
    await open_list(relay, page)
    await page.keyboard.press("j")
    pill = page.locator("[data-new-count]")
    said = asyncio.create_task(expect(pill).to_contain_text("a second"))
    await asyncio.gather(*(send(relay, number) for number in range(60)))
    await said
    await expect(pill).to_have_text("60 new · show (.)")


async def miss_many(relay: Relay, page: Page) -> None:
    """Have much come while a page's server is away."""
    relay.server.kill()
    await page.wait_for_selector("body[data-feed=lost]")
    store = await open_store("sqlite", relay.data_dir)
    [channel] = [one for one in store.catalog.channels.values() if one.name == "chatwoot"]
    for _ in range(MANY // AT_ONCE):
        await asyncio.gather(*(store.append(channel.number, new_event()) for _ in range(AT_ONCE)))
    await store.close()
    await relay.start()


async def test_what_the_page_was_quicker_with_than_its_feed_counts_once(
    relay: Relay, page: Page
) -> None:
    await send(relay, 0)
    await open_list(relay, page)
    await page.keyboard.press("j")
    flows = asyncio.Event()

    async def held(route: Route) -> None:
        await flows.wait()
        await route.continue_()

    await page.route("**/feed?*", held)
    await miss_many(relay, page)
    pill = page.locator("[data-new-count]")
    await page.locator("[data-failed] button").dispatch_event("click")
    await expect(pill).to_have_attribute("data-new-count", "50")
    flows.set()
    await becomes_live(page)
    await expect(pill).to_have_attribute("data-new-count", f"{MANY}")


async def test_five_thousand_that_came_meanwhile_are_counted_and_a_link_leads_back(
    relay: Relay, page: Page, seen: Seen
) -> None:
    ids = [await send(relay, number) for number in range(3)][::-1]
    await open_list(relay, page)
    await page.keyboard.press("j")
    await page.evaluate(WATCH, ids[0])
    seen.requests.clear()
    await miss_many(relay, page)
    await becomes_live(page)
    await expect(page.locator("[data-new-count]")).to_have_attribute("data-new-count", f"{MANY}")
    assert await event_ids(page) == ids, "nothing moves"
    await page.keyboard.press(".")
    await expect(page.locator("[data-event-id]")).to_have_count(50)
    await expect(page.locator(".away")).to_contain_text(f"{MANY} while you were away")
    did = await page.evaluate(SEEN)
    assert did["made"] <= PAGES * await page.evaluate(ELEMENTS)
    assert len([url for url in seen.requests if url == page.url]) <= PAGES
    older = page.get_by_role("link", name="Older")
    await expect(older).to_have_attribute("href", f"{page.url}?before={MANY - 46}")
    await page.get_by_role("link", name="go to where you were").click()
    await expect(page.locator("[data-event-id]").first).to_have_attribute("data-event-id", ids[0])
