"""Keys: the sheet that says them, the switch that turns them off, and where they do nothing."""

from __future__ import annotations

import pytest
from playwright.async_api import BrowserContext, Page, expect

from tests.browser.test_doing import log_in
from tests.browser.test_live import open_list, send
from tests.support.browsing import becomes_live
from tests.support.relay import Relay


async def test_the_sheet_says_every_key_and_turns_them_off_for_good(
    relay: Relay, page: Page
) -> None:
    await open_list(relay, page)
    await page.keyboard.press("?")
    sheet = page.get_by_role("dialog", name="Keys")
    await expect(sheet).to_be_visible()
    said = await sheet.locator("dt").all_inner_texts()
    assert {"j", "k", ".", "p", "/", "r", "R", "e", "?", "x", "a", "#", "c"} <= set(said)
    await page.keyboard.press("p")
    await expect(page.locator("body")).to_have_attribute("data-feed", "live")
    await sheet.get_by_role("checkbox").uncheck()
    await page.keyboard.press("Escape")
    await expect(sheet).to_be_hidden()

    await page.reload()
    await becomes_live(page)
    for key in ("p", "?", "g", "s"):
        await page.keyboard.press(key)
    await expect(page.locator("body")).to_have_attribute("data-feed", "live")
    assert page.url == f"{relay.url}/channels/chatwoot"
    await page.get_by_role("button", name="Keys").click()
    await sheet.get_by_role("checkbox").check()
    await sheet.get_by_role("button", name="Close").click()
    await page.keyboard.press("p")
    await expect(page.locator("body")).to_have_attribute("data-feed", "paused")


async def test_no_key_works_while_one_types_or_holds_another(relay: Relay, page: Page) -> None:
    await send(relay, 1)
    await open_list(relay, page)
    await page.get_by_label("Filter").fill("")
    await page.keyboard.type("p?gsjr.")
    assert await page.get_by_label("Filter").input_value() == "p?gsjr."
    await page.keyboard.press("Escape")
    await page.keyboard.press("Alt+p")
    typing = "new KeyboardEvent('keydown', {key: 'p', isComposing: true, bubbles: true})"
    await page.evaluate(f"document.body.dispatchEvent({typing})")
    await expect(page.locator("body")).to_have_attribute("data-feed", "live")


async def test_two_keys_lead_to_each_page(relay: Relay, page: Page) -> None:
    for key, path in (
        ("l", "/channels/chatwoot"),
        ("c", "/channels/chatwoot/conversations"),
        ("s", "/subscriptions"),
        ("d", "/dead"),
        ("r", "/refused"),
        ("u", "/setup"),
        ("o", "/"),
    ):
        await page.keyboard.press("g")
        await page.keyboard.press(key)
        await page.wait_for_url(f"{relay.url}{path}")


async def test_one_key_goes_from_channel_to_channel(
    relay: Relay, context: BrowserContext, token: str
) -> None:
    for name in ("a-first", "repo"):
        await relay.control("POST", "channels", {"name": name})
    page = await log_in(relay, context, await relay.make_token("boss", "admin"))
    await open_list(relay, page)
    for name in ("repo", "a-first", "chatwoot"):
        await page.keyboard.press("c")
        await expect(page.locator(".rail").get_by_role("link", name=name)).to_be_focused()
    await page.keyboard.press("c")
    await page.keyboard.press("Enter")
    await page.wait_for_url(f"{relay.url}/channels/repo")


@pytest.mark.parametrize("pauses", ["before", "while"])
async def test_a_pause_never_hides_that_the_feed_is_lost(
    pauses: str, relay: Relay, page: Page
) -> None:
    state, text = page.locator("body"), page.locator("[data-feed-text]")
    await open_list(relay, page)
    if pauses == "before":
        await page.keyboard.press("p")
        await expect(text).to_have_text("▮▮ paused by you")
    relay.server.kill()
    await expect(state).to_have_attribute("data-feed", "lost")
    if pauses == "while":
        await page.keyboard.press("p")
    await expect(state).to_have_attribute("data-feed", "lost")
    await expect(text).to_contain_text("retrying · ▮▮ paused by you")
    await relay.start()
    await expect(state).to_have_attribute("data-feed", "paused")
    await page.keyboard.press("p")
    await expect(text).to_have_text("● live")
    event = await send(relay, 1)
    await expect(page.locator(f"[data-event-id={event}]")).to_be_visible()


async def test_a_page_without_a_feed_is_not_paused(relay: Relay, page: Page) -> None:
    await page.goto(f"{relay.url}/setup")
    await page.keyboard.press("p")
    assert await page.locator("body").get_attribute("data-feed") is None
    await expect(page.locator("[data-feed-text]")).to_have_text("")
    await expect(page.get_by_role("button", name="Hold still")).to_be_hidden()


async def test_a_list_is_paused_with_the_mouse_and_goes_on(relay: Relay, page: Page) -> None:
    await open_list(relay, page)
    pause, state = page.get_by_role("button", name="Hold still"), page.locator("body")
    await pause.click()
    await expect(state).to_have_attribute("data-feed", "paused")
    await expect(pause).to_have_attribute("aria-pressed", "true")
    row = page.locator(f"[data-event-id={await send(relay, 1)}]")
    await expect(page.locator(".pill")).to_have_text("1 new · show (.)")
    await expect(row).to_have_count(0)
    await pause.click()
    await expect(state).to_have_attribute("data-feed", "live")
    await expect(row).to_be_visible()
