"""What is seen at a glance, or under the pointer: where one is, and what a mark stands for."""

from __future__ import annotations

from playwright.async_api import BrowserContext, Page, expect

from tests.browser.test_doing import log_in
from tests.browser.test_pages import send
from tests.support.browsing import becomes_live
from tests.support.chatwoot import fixture
from tests.support.relay import Relay
from tests.support.target import Target

CHANNELS = 30


async def test_whatever_is_under_the_pointer_in_a_row_says_what_it_is(
    relay: Relay, page: Page, target: Target, token: str
) -> None:
    await relay.connect(token, "--to", target.address)
    await page.goto(f"{relay.url}/channels/chatwoot")
    await becomes_live(page)
    event = await send(relay, fixture("message_created_incoming"))
    row = page.locator(f"[data-event-id={event}]")
    mark, link = row.get_by_label("ana: delivered"), row.locator(".row-link")
    for place, said in [
        (mark, "ana: delivered"),
        (row.locator(".c-who"), "João Gonçalves da Conceição"),
        (row.locator("time"), str(await row.locator("time").get_attribute("datetime"))),
    ]:
        await place.hover(force=True)
        await expect(link).to_have_attribute("title", said)
    await relay.control("PUT", f"pins/{event}", {"name": "cake"})
    await page.reload()
    await expect(row.get_by_role("img", name="pinned: cake")).to_be_visible()
    await page.get_by_text("What the marks mean").click()
    await expect(page.locator(".legend")).to_contain_text("retrying")
    await mark.click(force=True)
    await expect(page.locator("[data-pane=event]")).to_contain_text("delivered")


async def test_all_pages_are_in_sight_however_many_channels_there_are(
    relay: Relay, context: BrowserContext
) -> None:
    for number in range(CHANNELS):
        await relay.control("POST", "channels", {"name": f"c-{number:02}"})
    page = await log_in(relay, context, await relay.make_token("boss", "admin"))
    await expect(page.locator(".steps")).to_have_count(1)
    await page.set_viewport_size({"width": 1280, "height": 720})
    await page.goto(f"{relay.url}/channels/c-{CHANNELS - 1}")
    rail = page.locator(".rail")
    for name in ("Overview", f"c-{CHANNELS - 1}", "Conversations", "Dead", "Setup"):
        await expect(rail.get_by_role("link", name=name)).to_be_in_viewport(ratio=0.9)
    await page.set_viewport_size({"width": 360, "height": 740})
    await page.reload()
    for name in (f"c-{CHANNELS - 1}", "Conversations", "Dead"):
        await expect(rail.get_by_role("link", name=name)).to_be_in_viewport()
