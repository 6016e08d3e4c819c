"""The list of conversations, live: it follows at its top, and holds still for who reads."""

from __future__ import annotations

from playwright.async_api import Page, expect

from tests.browser.test_pages import send
from tests.browser.test_talks import said
from tests.support.browsing import becomes_live
from tests.support.relay import Relay
from tests.support.waiting import until_true

LIST = "/channels/chatwoot/conversations"


async def say(relay: Relay, talk: int, number: int, content: str) -> None:
    """Have the customer of a conversation say something."""
    await send(relay, said(number, content).replace(b'"id": 318', b'"id": %d' % talk))


async def shows(page: Page, talks: list[int]) -> None:
    """Wait until the list has these conversations, in this order and no others."""

    async def is_so() -> bool:
        return await page.locator(".talks a").all_inner_texts() == list(map(str, talks))

    await until_true(is_so)


async def test_a_list_of_conversations_moves_for_who_follows_and_for_nobody_who_reads(
    relay: Relay, page: Page
) -> None:
    for number, talk in enumerate((7, 8), 1):
        await say(relay, talk, number, "bom dia")
    await page.goto(relay.url + LIST)
    await becomes_live(page)
    await shows(page, [8, 7])
    await say(relay, 9, 3, "oi")
    await shows(page, [9, 8, 7])
    await say(relay, 7, 4, "alguém?")
    await shows(page, [7, 9, 8])

    await page.keyboard.press("j")
    await page.keyboard.press("j")
    await expect(page.get_by_role("link", name="9")).to_be_focused()
    await say(relay, 8, 5, "tem bolo?")
    await say(relay, 10, 6, "olá")
    pill = page.locator(".pill")
    await expect(pill).to_have_text("2 new · show (.)")
    await shows(page, [7, 9, 8])
    await expect(page.locator("[data-talk='2/8']")).to_contain_text("tem bolo?")
    await expect(page.get_by_role("link", name="9")).to_be_focused()
    await page.keyboard.press(".")
    await shows(page, [10, 8, 7, 9])
    await expect(page.get_by_role("link", name="10")).to_be_focused()
    await expect(pill).to_be_hidden()


async def test_a_paused_list_of_conversations_stands_still_until_it_goes_on(
    relay: Relay, page: Page
) -> None:
    await say(relay, 7, 1, "bom dia")
    await page.goto(relay.url + LIST)
    await becomes_live(page)
    pause = page.get_by_role("button", name="Hold still")
    await pause.click()
    await expect(pause).to_have_attribute("aria-pressed", "true")
    await say(relay, 8, 2, "oi")
    other = await page.context.new_page()  # what it shows, the other one has been told of, too
    await other.goto(relay.url + LIST)
    await shows(other, [8, 7])
    await shows(page, [7])
    await pause.click()
    await shows(page, [8, 7])
