"""The dashboard of a relay that stands below a path of a host."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio
from playwright.async_api import BrowserContext, Page, expect

from tests.support.browsing import Seen, becomes_live, lists
from tests.support.processes import free_port
from tests.support.relay import Relay, open_relay
from tests.support.senders import request


@pytest_asyncio.fixture(loop_scope="session")
async def relay(tmp_path: Path) -> AsyncIterator[Relay]:
    port = free_port()
    url = f"http://127.0.0.1:{port}/dev/relay"
    async with open_relay(tmp_path / "relay", port=str(port), public_url=url) as relay:
        yield relay


async def test_everything_is_there_and_nothing_leads_out(
    relay: Relay, page: Page, seen: Seen, context: BrowserContext
) -> None:
    """`page` has seen to it that no request left the path."""
    await page.get_by_role("link", name="chatwoot").first.click()
    await becomes_live(page)
    await relay.send(request("/dev/relay/webhook", b'{"event":"a"}', token=relay.send_token))
    [event] = await relay.events()
    await lists(page, [event["id"]])
    await page.locator(".row-link").click()
    await page.get_by_text("Copy as").click()
    await page.get_by_role("link", name="curl").click()
    await expect(page.locator("main")).to_contain_text("curl")
    await page.get_by_role("button", name="Português").click()
    await page.wait_for_url(f"{relay.url}/events/**")
    await page.goto(f"{relay.url}/search?q={event['id']}")
    await page.wait_for_url(f"{relay.url}/events/{event['id']}")
    assert {cookie["path"] for cookie in await context.cookies()} == {"/dev/relay"}
    await page.get_by_role("button", name="Sair").click()
    await page.wait_for_url(f"{relay.url}/login")
    assert any(request.startswith(f"{relay.url}/feed?") for request in seen.requests)
