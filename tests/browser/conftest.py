"""A real Chromium on a real server's pages."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, BrowserContext, Page, async_playwright

from tests.support.browsing import Seen, opened
from tests.support.needs import need_program
from tests.support.relay import Relay


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    """Debian's own Chromium, without a window."""
    path = need_program("chromium", "chromium")
    async with async_playwright() as playwright:
        started = await playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield started
        await started.close()


@pytest.fixture
async def token(relay: Relay) -> str:
    """Ana's, who may see the channel `chatwoot`."""
    return await relay.make_token("ana", "subscribe", "chatwoot")


@pytest.fixture
async def context(browser: Browser) -> AsyncIterator[BrowserContext]:
    """A browser that has seen nothing yet."""
    context = await browser.new_context(locale="en-GB", timezone_id="America/Sao_Paulo")
    yield context
    await context.close()


@pytest.fixture
async def seen(context: BrowserContext) -> Seen:
    """What goes wrong in its pages, and where they send requests."""
    return opened(context)


@pytest.fixture
async def page(
    relay: Relay, context: BrowserContext, seen: Seen, token: str
) -> AsyncIterator[Page]:
    """A page of Ana's, logged in; at the end nothing was blocked, and nothing went elsewhere."""
    page = await context.new_page()
    await page.goto(f"{relay.url}/login")
    await page.fill("#k", token)
    await page.get_by_role("button", name="Log in").click()
    await page.wait_for_url(f"{relay.url}/")
    yield page
    assert seen.problems == []
    assert {url for url in seen.requests if not url.startswith(relay.url)} == set()
    del page


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path
