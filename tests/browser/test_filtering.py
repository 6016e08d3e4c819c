"""The menus above a list, which write its filter; and what is said where it finds nothing."""

from __future__ import annotations

import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from tests.browser.test_live import send
from tests.browser.test_pages import send as send_body
from tests.support.browsing import close, enter, lists
from tests.support.chatwoot import fixture
from tests.support.relay import Relay

KINDS = ("conversation_created", "message_created_incoming", "contact_created")


@pytest_asyncio.fixture(loop_scope="session")
async def ids(relay: Relay) -> dict[str, str]:
    """An event of each of three kinds, in the channel; and one of another channel that boss has."""
    await relay.control("POST", "channels", {"name": "secret", "sender": "chatwoot"})
    await send_body(relay, b'{"event": "hidden_kind", "inbox": {"id": 77}}', "/c/secret/x")
    return {name: await send_body(relay, fixture(name)) for name in KINDS}


async def test_menus_write_the_filter_by_keyboard_alone(
    relay: Relay, page: Page, ids: dict[str, str]
) -> None:
    await page.goto(f"{relay.url}/channels/chatwoot")
    kinds = page.locator("summary", has_text="all kinds")
    await kinds.focus()
    await page.keyboard.press("Enter")
    offered = await page.locator("details[open] a").all_inner_texts()
    assert offered == ["all kinds", "contact_created", "conversation_created", "message_created"]
    await page.keyboard.press("Tab")
    await page.keyboard.press("Escape")
    await expect(kinds).to_be_focused()
    await expect(page.locator("details[open]")).to_have_count(0)
    await page.keyboard.press("Enter")
    for _ in range(4):
        await page.keyboard.press("Tab")
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/channels/chatwoot?q=kind%3Amessage_created")
    await lists(page, [ids["message_created_incoming"]])
    await page.locator("summary", has_text="any inbox").click()
    await page.get_by_role("link", name="Site Pão Quente").click()
    field = page.get_by_label("Filter", exact=True)
    await expect(field).to_have_value("kind:message_created inbox:4")
    await expect(page.locator("summary", has_text="Site Pão Quente")).to_be_visible()


async def test_mine_only_is_what_goes_to_my_subscription(
    relay: Relay, page: Page, token: str
) -> None:
    await send(relay, 1)
    client = await relay.connect(token, "--to", "127.0.0.1:1")
    client.terminate()
    await client.exit_status()
    mine = await send(relay, 2)
    await page.goto(f"{relay.url}/channels/chatwoot")
    await page.get_by_role("link", name="Mine only").click()
    await lists(page, [mine])
    await page.locator('a[aria-current="true"]', has_text="Mine only").click()
    await expect(page.locator("[data-event-id]")).to_have_count(2)


async def test_a_phone_has_one_sheet_for_them_without_a_script(
    relay: Relay, browser: Browser, token: str, ids: dict[str, str]
) -> None:
    context = await browser.new_context(
        java_script_enabled=False, viewport={"width": 320, "height": 640}
    )
    page = await context.new_page()
    await enter(page, relay.url, token)
    await page.goto(f"{relay.url}/channels/chatwoot?q=from%3Acustomer")
    await expect(page.locator("summary").first).to_be_hidden()
    await page.get_by_role("button", name="Filters").click()
    await page.locator("summary", has_text="all kinds").click()
    await page.get_by_role("link", name="message_created").click()
    await page.wait_for_url("**/channels/chatwoot?q=from%3Acustomer%20kind%3Amessage_created")
    assert await page.locator("[data-event-id]").count() == 1
    await expect(page.get_by_role("button", name="Filters (1)")).to_be_in_viewport()
    await close(context)


async def test_where_nothing_is_found_each_term_can_be_taken_out(
    relay: Relay, page: Page, ids: dict[str, str]
) -> None:
    await page.goto(f"{relay.url}/channels/chatwoot?q=kind:message_created+is:dead+from:customer")
    found = page.locator(".empty li")
    assert [await one.inner_text() for one in await found.all()] == [
        "kind:message_created × 0 without it",
        "is:dead × 1 without it",
        "from:customer × 0 without it",
    ]
    await expect(page.get_by_role("link", name="3 without them")).to_be_visible()
    await page.get_by_role("link", name="Remove is:dead").click()
    await lists(page, [ids["message_created_incoming"]])
    await page.goto(f"{relay.url}/channels/chatwoot?q=nothing-like-it")
    await page.get_by_role("link", name="3 without it").click()
    await expect(page.locator("[data-event-id]")).to_have_count(3)


async def test_fields_offer_what_there_is_to_ask_for_without_a_script(
    relay: Relay, browser: Browser, token: str, ids: dict[str, str]
) -> None:
    context = await browser.new_context(java_script_enabled=False)
    page = await context.new_page()
    await enter(page, relay.url, token)
    for path in ("/channels/chatwoot", "/search?q="):
        await page.goto(relay.url + path)
        field = page.get_by_label("Filter", exact=True)
        offered = page.locator(f"#{await field.get_attribute('list')} option")
        texts = [await one.get_attribute("value") for one in await offered.all()]
        assert {"kind:contact_created", "is:failed", "inbox:4", "from:bot"} <= set(texts)
        assert "kind:hidden_kind" not in texts
        [inbox] = [one for one in await offered.all() if await one.get_attribute("label")]
        assert await inbox.get_attribute("label") == "Site Pão Quente"
    await page.goto(f"{relay.url}/channels/chatwoot?q=kind%3Amessage_created")
    offered = page.locator("#completions option")
    texts = [await one.get_attribute("value") for one in await offered.all()]
    assert "kind:message_created inbox:4" in texts
    assert "kind:message_created kind:contact_created" not in texts
    await close(context)
