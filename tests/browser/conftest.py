"""A real Chromium on a real server's pages.

One browser is started in each process of tests; each test has a context of its own in it, which
shares nothing with others. A browser belongs to the event loop that it was started on: all tests
and async fixtures here run on the session's.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from inspect import iscoroutinefunction
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Page, async_playwright, expect

from tests.support.browsing import Seen, close, opened
from tests.support.needs import need_program
from tests.support.relay import Relay, open_relay
from tests.support.target import Target, open_target
from tests.support.waiting import LONG_S

HERE = Path(__file__).parent

expect.set_options(timeout=LONG_S * 1_000)  # a page waits for a server, and both for the machine


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    on_one_loop = pytest.mark.asyncio(loop_scope="session")
    for item in items:
        if item.path.is_relative_to(HERE) and iscoroutinefunction(getattr(item, "obj", None)):
            item.add_marker(on_one_loop, append=False)


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def browser() -> AsyncIterator[Browser]:
    """Debian's own Chromium, without a window."""
    path = need_program("chromium", "chromium")
    async with async_playwright() as playwright:
        started = await playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield started
        await started.close()


@pytest_asyncio.fixture(loop_scope="session")
async def relay(tmp_path: Path) -> AsyncIterator[Relay]:
    """A server process with the channel `chatwoot`, which may forward to this machine."""
    async with open_relay(tmp_path / "relay", forward_allow="127.0.0.1") as relay:
        yield relay


@pytest_asyncio.fixture(loop_scope="session")
async def target() -> AsyncIterator[Target]:
    """An HTTP server that takes everything."""
    async with open_target() as target:
        yield target


@pytest_asyncio.fixture(loop_scope="session")
async def token(relay: Relay) -> str:
    """Ana's, who may see the channel `chatwoot`."""
    return await relay.make_token("ana", "subscribe", "chatwoot")


@pytest_asyncio.fixture(loop_scope="session")
async def context(browser: Browser) -> AsyncIterator[BrowserContext]:
    """A browser that has seen nothing yet."""
    context = await browser.new_context(locale="en-GB", timezone_id="America/Sao_Paulo")
    yield context
    await close(context)


@pytest.fixture
def seen(context: BrowserContext) -> Seen:
    """What goes wrong in its pages, and where they send requests."""
    return opened(context)


@pytest_asyncio.fixture(loop_scope="session")
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


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path
