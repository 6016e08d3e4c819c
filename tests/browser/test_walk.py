"""What somebody does who has never read the documentation, from a login link alone."""

from __future__ import annotations

import time

from playwright.async_api import BrowserContext, expect

from tests.browser.test_login import link
from tests.browser.test_pages import send
from tests.support.chatwoot import fixture
from tests.support.relay import Relay
from tests.support.target import OK, Arrival, Target

FAILS = b"HTTP/1.1 500 Broken\r\nContent-Length: 19\r\n\r\nKeyError: 'flavour'"
MOST_CLICKS = 8
WITHIN_S = 60.0


async def fails_on_cake(arrival: Arrival) -> bytes:
    return FAILS if b"bolo" in arrival.body else OK


async def test_why_an_event_had_no_answer_is_found_and_it_is_sent_again_edited(
    relay: Relay, context: BrowserContext, target: Target, token: str
) -> None:
    target.answer = fails_on_cake
    await relay.connect(token, "--to", target.address)
    event = await send(relay, fixture("message_created_incoming"))
    await target.received(1)
    page, url = await context.new_page(), await link(relay, token)
    began, clicks = time.monotonic(), 0

    async def press(role: str, name: str) -> None:
        nonlocal clicks
        clicks += 1
        await page.locator("body").get_by_role(role, name=name).first.click()  # type: ignore[arg-type]

    await page.goto(url)
    await press("button", "Log in")
    await expect(page.locator("main")).to_contain_text("1 delivery failed, and is tried again")
    await press("link", "See which")
    row = page.locator(f"[data-event-id={event}]")
    await expect(row).to_contain_text("Vocês fazem bolo")
    await expect(row.get_by_label("ana: retrying")).to_be_visible()
    clicks += 1
    await row.get_by_role("link").first.click()
    await expect(page.locator("#answers")).to_contain_text("KeyError: 'flavour'")
    await press("link", "Why no answer?")
    await expect(page.locator(".why")).to_contain_text("failed: the target answered 500")
    await press("link", "event")
    await press("button", "Edit and send")
    await page.locator("[data-body]").fill('{"event": "message_created", "content": "torta"}')
    await expect(page.locator("[data-changes]")).to_contain_text("/content")
    await press("button", "Send")
    await expect(page.get_by_text("It is sent, to this subscription alone.")).to_be_visible()
    await expect(page.locator("#answers")).to_contain_text("delivered · 200")
    assert b"torta" in target.arrivals[-1].body
    assert clicks <= MOST_CLICKS
    assert time.monotonic() - began < WITHIN_S
