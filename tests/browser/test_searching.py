"""Searching: what is found is marked and counted, and it is said how far was looked."""

from __future__ import annotations

from playwright.async_api import Page, expect

from tests.browser.test_pages import send
from tests.support.chatwoot import fixture
from tests.support.relay import Relay


async def test_found_words_are_marked_and_the_page_says_how_far_it_looked(
    relay: Relay, page: Page
) -> None:
    for name in ("message_created_incoming", "conversation_created", "contact_created"):
        await send(relay, fixture(name))
    await page.goto(f"{relay.url}/search?q=JOAO+bol*+kind:message_created")
    await expect(page.locator("[data-event-id]")).to_have_count(1)
    assert await page.locator("mark").all_inner_texts() == ["João", "bolo"]
    truth = page.locator(".truth")
    await expect(truth).to_contain_text("1 found · all of the channel was searched")
    await truth.get_by_role("link", name="Watch what comes").click()
    await expect(page.get_by_label("Filter", exact=True)).to_have_value(
        "JOAO bol* kind:message_created"
    )


async def test_an_address_of_a_chatwoot_leads_to_the_conversation(relay: Relay, page: Page) -> None:
    await send(relay, fixture("message_created_incoming"))
    await page.goto(relay.url)
    for address in ("conversations/318", "inbox/3/conversations/318?messageId=7"):
        search = page.get_by_role("searchbox")
        await search.fill(f"https://chat.example.com/app/accounts/2/{address}")
        await search.press("Enter")
        await page.wait_for_url(f"{relay.url}/conversations/chatwoot/2/318")
