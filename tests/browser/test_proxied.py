"""The dashboard behind nginx, as docs/how-to/proxies.md has it set up, and set up wrong."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from playwright.async_api import Browser, BrowserContext, Page, expect

from tests.support.browsing import becomes_live, close, lists, opened
from tests.support.fronts import behind_nginx
from tests.support.relay import Relay, running
from tests.support.senders import request
from tests.support.waiting import until

BUFFERS = {
    "proxy_buffering off": "proxy_buffering on; proxy_ignore_headers X-Accel-Buffering",
}


@asynccontextmanager
async def visited(
    browser: Browser, folder: Path, changes: Mapping[str, str] | None = None
) -> AsyncIterator[tuple[Relay, BrowserContext, Page]]:
    """A relay behind nginx, and its list in a browser; nothing is blocked there."""
    async with behind_nginx(folder, changes=changes) as proxied:
        relay = proxied.relay
        token = await relay.make_token("ana", "subscribe", "chatwoot")
        context = await browser.new_context(ignore_https_errors=True)
        seen, page = opened(context), await context.new_page()
        await page.goto(f"{relay.url}/channels/chatwoot")
        await page.fill("#k", token)
        await page.get_by_role("button", name="Log in").click()
        await page.wait_for_url("**/channels/chatwoot")
        yield relay, context, page
        assert seen.problems == []
        await close(context)


async def send(relay: Relay) -> str:
    answer = await relay.send(request(body=b'{"event":"a"}', token=relay.send_token))
    return str(answer.json["id"])


async def test_eight_tabs_live_over_http_1(browser: Browser, tmp_path: Path) -> None:
    """A browser has six connections to an origin."""
    async with visited(browser, tmp_path) as (relay, context, first):
        tabs = [first, *[await context.new_page() for _ in range(7)]]
        for tab in tabs[1:]:
            await tab.goto(f"{relay.url}/channels/chatwoot")
            await becomes_live(tab)
        protocol = await first.evaluate("performance.getEntries()[0].nextHopProtocol")
        assert protocol == "http/1.1"
        sent = await send(relay)
        for tab in tabs:
            await lists(tab, [sent])


async def test_a_proxy_that_buffers_is_named_and_rows_come_all_the_same(
    browser: Browser, tmp_path: Path
) -> None:
    async with visited(browser, tmp_path, BUFFERS) as (relay, context, page):
        other = await context.new_page()
        await other.goto(f"{relay.url}/channels/chatwoot")
        for tab in (page, other):
            await expect(tab.locator("[data-feed-text]")).to_contain_text("held back by a proxy")
            assert await tab.get_attribute("body", "data-feed") == "lost"
        sent = [await send(relay)]
        for tab in (page, other):
            await lists(tab, sent)
        sent.insert(0, await send(relay))
        await lists(page, sent)


async def test_a_beat_that_comes_late_has_the_feed_opened_once_more(
    browser: Browser, tmp_path: Path
) -> None:
    """What came of it is stale; where only the clock jumped, the next one is as good as new."""
    relay = Relay(tmp_path)
    relay.constants.append(("relay_server.live.feeds", "BEAT_S", 0.5))
    async with running(relay):
        token = await relay.make_token("ana", "subscribe", "chatwoot")
        context = await browser.new_context()
        seen, page = opened(context), await context.new_page()
        await page.clock.install()
        await page.goto(f"{relay.url}/login?then=/channels/chatwoot")
        await page.fill("#k", token)
        await page.get_by_role("button", name="Log in").click()
        await becomes_live(page)
        await page.clock.fast_forward(6_000)
        await until(lambda: sum("/feed?" in url for url in seen.requests) == 2)
        await becomes_live(page)
        sent = await send(relay)
        await lists(page, [sent])
        assert sum("/feed?" in url for url in seen.requests) == 2
        await close(context)
