"""Pages whose feed a proxy cuts, or swallows while all seems well: they say so, and lack none."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio
from playwright.async_api import Page, expect

from tests.browser.test_live import open_list, send
from tests.support.browsing import Seen, becomes_live, event_ids, lists
from tests.support.processes import free_port
from tests.support.proxy import Link, Proxy, open_proxy
from tests.support.relay import Relay, open_relay
from tests.support.waiting import until_true

AWAY = 30  # events that come meanwhile
SILENT_MS = 20_000  # within which a page says that it is not live
FIRST_MS = 4_000  # that a new feed may be silent
STEP_MS = 500


@pytest_asyncio.fixture(loop_scope="session")
async def proxy() -> AsyncIterator[Proxy]:
    async with open_proxy(free_port()) as proxy:
        yield proxy


@pytest_asyncio.fixture(loop_scope="session")
async def relay(tmp_path: Path, proxy: Proxy) -> AsyncIterator[Relay]:
    """A server that browsers reach through the proxy, and senders without it."""
    [port] = proxy.server_ports
    async with open_relay(tmp_path / "relay", port=str(port), public_url=proxy.url) as relay:
        yield relay


async def come_meanwhile(relay: Relay, page: Page, ids: list[str]) -> list[str]:
    """So many more, of which the page shows none."""
    more = [await send(relay, number) for number in range(AWAY)]
    assert await event_ids(page) == ids
    return [*more[::-1], *ids]


async def stops_its_clock(page: Page) -> None:
    """No time passes on the page from now on, but by `run_for`."""
    await page.clock.pause_at(await page.evaluate("Date.now() / 1_000 + 1"))


async def tries_again(page: Page, seen: Seen) -> None:
    """Let time pass until the page asks for its feed once more."""
    before = feeds(seen)

    async def has_tried() -> bool:
        await page.clock.run_for(STEP_MS)
        return feeds(seen) > before

    await until_true(has_tried)


def feeds(seen: Seen) -> int:
    return sum("/feed?" in url for url in seen.requests)


async def test_a_page_that_a_proxy_cut_off_says_so_and_gets_exactly_what_came_in_order(
    relay: Relay, proxy: Proxy, page: Page, seen: Seen
) -> None:
    await page.clock.install()
    ids = [await send(relay, 0)]
    await open_list(relay, page)
    await proxy.stop()
    await expect(page.locator("[data-feed-text]")).to_contain_text("not live since")
    await stops_its_clock(page)
    ids = await come_meanwhile(relay, page, ids)
    await page.clock.run_for(SILENT_MS)
    await proxy.start()
    await tries_again(page, seen)
    await page.clock.resume()
    await becomes_live(page)
    await lists(page, ids)


async def test_a_page_whose_feed_a_proxy_swallows_says_so_within_20_s_and_gets_exactly_what_came(
    relay: Relay, proxy: Proxy, page: Page, seen: Seen
) -> None:
    await page.clock.install()
    ids = [await send(relay, 0)]
    await open_list(relay, page)
    proxy.on_link = swallow
    for link in proxy.links:
        swallow(link)
    await stops_its_clock(page)
    ids = await come_meanwhile(relay, page, ids)
    assert await page.get_attribute("body", "data-feed") == "live"
    await page.clock.run_for(SILENT_MS)
    assert await page.get_attribute("body", "data-feed") == "lost"
    await expect(page.locator("[data-feed-text]")).to_contain_text("not live since")
    # It tries again, hears nothing, and asks whether the server is there: it hears nothing of that.
    await tries_again(page, seen)
    async with page.expect_request("**/health/live"):
        await page.clock.run_for(FIRST_MS)
    async with page.expect_event("requestfailed"):  # it waits for that answer no longer
        await page.clock.run_for(FIRST_MS)
    proxy.on_link = lambda _: None
    await tries_again(page, seen)
    await page.clock.resume()
    await becomes_live(page)
    await lists(page, ids)


def swallow(link: Link) -> None:
    link.down.swallow()
