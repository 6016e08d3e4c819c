"""What has no list to live: all of it works by links and forms, in a browser without JavaScript."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from tests.browser.test_pages import send
from tests.support.browsing import close, enter, event_ids
from tests.support.chatwoot import fixture
from tests.support.relay import Relay
from tests.support.target import Target, always
from tests.support.waiting import until_true

REFUSES = b"HTTP/1.1 404 Not Found\r\nContent-Length: 7\r\n\r\nno bolo"
PAGE = 50  # rows


@pytest_asyncio.fixture(loop_scope="session")
async def plain(browser: Browser, relay: Relay) -> AsyncIterator[Page]:
    """A page of an administrator's."""
    admin = await relay.make_token("boss", "admin")
    context = await browser.new_context(java_script_enabled=False)
    page = await context.new_page()
    await enter(page, relay.url, admin)
    yield page
    await close(context)


async def is_indexed(relay: Relay) -> bool:
    page = await relay.control("GET", "events?channel=chatwoot&limit=1&q=bolo")
    return bool(page["indexed_to"] == page["newest"])


async def is_settled(relay: Relay) -> bool:
    return await relay.backlog() == 0


async def shows(page: Page, ids: list[str]) -> None:
    """Wait for a page of these, which must be in this order and no others."""
    first = page.locator("[data-event-id]").first
    await expect(first).to_have_attribute("data-event-id", ids[0])
    assert await event_ids(page) == ids


async def test_pages_of_a_list_and_a_search_are_walked_through_without_javascript(
    relay: Relay, plain: Page
) -> None:
    ids = [await send(relay, b'{"event": "a", "content": "bolo"}') for _ in range(PAGE + 5)][::-1]
    await plain.goto(f"{relay.url}/channels/chatwoot")
    await shows(plain, ids[:PAGE])
    await plain.get_by_role("link", name="Older").click()
    await shows(plain, ids[PAGE:])
    await plain.get_by_role("link", name="Newest").click()
    await until_true(lambda: is_indexed(relay))
    await plain.get_by_label("Search events").fill("bolo")
    await plain.keyboard.press("Enter")
    await shows(plain, ids[:PAGE])
    await plain.get_by_role("link", name="Go on").click()
    await shows(plain, ids[PAGE:])


async def test_editing_what_is_dead_and_the_setup_work_without_javascript(
    relay: Relay, plain: Page, target: Target, token: str
) -> None:
    await relay.connect(token, "--to", target.address)
    await relay.said("subscription", "set", "chatwoot", "ana", "--retry-delays", "none")
    target.answer = always(REFUSES)
    await send(relay, fixture("message_created_incoming"))
    await target.received(1)

    await plain.goto(f"{relay.url}/channels/chatwoot")
    await plain.locator(".row-link").click()
    folded = plain.locator(".tree details:not([open])").first
    await folded.locator("summary").first.click()
    assert await plain.locator(".tree details[open] details").count() > 0
    await plain.get_by_role("button", name="Edit and send").click()
    await plain.get_by_label("Body", exact=True).fill('{"event": "torta"}')
    await plain.get_by_role("button", name="Send", exact=True).click()
    await expect(plain.get_by_text("It is sent, to this subscription alone.")).to_be_visible()
    await target.received(2)
    assert target.bodies[1] == b'{"event": "torta"}'
    await until_true(lambda: is_settled(relay))

    await plain.goto(f"{relay.url}/dead")
    await plain.get_by_role("button", name="Discard…").first.click()
    await plain.get_by_role("button", name="Discard", exact=True).click()
    await expect(plain.get_by_text("Nothing is dead.")).to_be_visible()

    await plain.goto(f"{relay.url}/setup")
    form = plain.locator("form[action='/setup/tokens']")
    await form.get_by_label("Name").fill("caio")
    await form.get_by_role("button").click()
    await expect(plain.locator(".once output")).to_contain_text("rly_")


async def test_keys_can_be_read_of_without_javascript_and_buttons_of_the_script_are_not_there(
    relay: Relay, plain: Page
) -> None:
    await plain.goto(f"{relay.url}/channels/chatwoot")
    for name in ("Theme", "Copy"):
        await expect(plain.get_by_role("button", name=name)).to_have_count(0)
    await plain.get_by_role("button", name="Keys").click()
    await plain.wait_for_url(f"{relay.url}/keys?")
    await expect(plain.get_by_text("choose this row and the next")).to_be_visible()
    for role in ("checkbox", "button"):
        await expect(plain.get_by_role("dialog").get_by_role(role)).to_have_count(0)
