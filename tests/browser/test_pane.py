"""The event beside the list, on wide windows: opened, stepped through, sent again, left."""

from __future__ import annotations

import pytest_asyncio
from playwright.async_api import Locator, Page, expect

from tests.browser.test_live import open_list, send
from tests.support.browsing import becomes_live, event_ids
from tests.support.relay import Relay
from tests.support.target import Target


@pytest_asyncio.fixture(loop_scope="session")
async def ids(relay: Relay, page: Page) -> list[str]:
    """Three events on a live list, the newest first."""
    found = [await send(relay, number) for number in range(3)]
    await open_list(relay, page)
    await page.evaluate("window.same = true")
    return found[::-1]


def pane(page: Page) -> Locator:
    return page.locator("[data-pane=event]")


async def test_a_row_opens_beside_the_list_and_the_history_follows(
    relay: Relay, page: Page, ids: list[str]
) -> None:
    home = page.url
    for event in ids[:2]:
        await page.locator(f"[data-event-id={event}] .row-link").click()
        await page.wait_for_url(f"{relay.url}/events/{event}")
        await expect(pane(page)).to_have_attribute("data-event", event)
    assert len(await event_ids(page)) == 3
    await page.go_back()
    await expect(pane(page)).to_have_attribute("data-event", ids[0])
    await page.go_back()
    await expect(pane(page)).to_have_count(0)
    assert page.url == home
    await page.go_forward()
    await expect(pane(page)).to_have_attribute("data-event", ids[0])
    assert await page.evaluate("window.same")
    await page.reload()
    await expect(pane(page)).to_have_attribute("data-event", ids[0])
    await becomes_live(page)
    assert len(await event_ids(page)) == 3, "the list is there again"
    await page.keyboard.press("Escape")
    await expect(page.locator(f"[data-event-id={ids[0]}] .row-link")).to_be_focused()
    assert page.url == home


async def test_keys_step_through_the_list_and_lead_back_to_the_row(
    relay: Relay, page: Page, ids: list[str]
) -> None:
    await page.keyboard.press("j")
    await expect(pane(page)).to_have_count(0)
    await page.keyboard.press("Enter")
    await expect(pane(page)).to_have_attribute("data-event", ids[0])
    await page.keyboard.press("j")
    await page.keyboard.press("j")
    await expect(pane(page)).to_have_attribute("data-event", ids[2])
    await page.keyboard.press("3")
    await expect(pane(page).locator(".headers")).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(pane(page)).to_have_count(0)
    await expect(page.locator(f"[data-event-id={ids[2]}] .row-link")).to_be_focused()
    assert page.url == f"{relay.url}/channels/chatwoot"
    assert await page.evaluate("window.same")


async def test_what_is_sent_again_shows_beside_the_list(
    relay: Relay, page: Page, target: Target, token: str, ids: list[str]
) -> None:
    await relay.connect(token, "--to", target.address)
    await page.locator(f"[data-event-id={ids[0]}] .row-link").click()
    await pane(page).get_by_role("button", name="Replay to me").click()
    await expect(pane(page).locator("#answers")).to_contain_text("delivered · 200")
    await target.received(1)
    await send(relay, 9)
    await expect(page.locator("[data-new-count]")).to_have_attribute("data-new-count", "1")
    assert await event_ids(page) == ids, "what one looks at stays put"
    assert await page.evaluate("window.same")


async def test_an_event_that_cannot_be_loaded_leaves_the_list(page: Page, ids: list[str]) -> None:
    await page.route("**/events/*", lambda route: route.abort())
    await page.locator(f"[data-event-id={ids[0]}] .row-link").click()
    await expect(page.locator("[data-side] .problem")).to_contain_text("could not be loaded")
    await page.unroute("**/events/*")
    await page.get_by_role("link", name="Try again").click()
    await expect(pane(page)).to_have_attribute("data-event", ids[0])
    assert await page.evaluate("window.same")


async def test_on_a_narrow_window_an_event_is_a_page(
    relay: Relay, page: Page, ids: list[str]
) -> None:
    await page.set_viewport_size({"width": 390, "height": 800})
    await page.locator(f"[data-event-id={ids[0]}] .row-link").click()
    await page.wait_for_url(f"{relay.url}/events/{ids[0]}")
    await expect(page.locator(".listed")).to_have_count(0)
