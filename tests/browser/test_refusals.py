"""Requests that were refused, as somebody sees them who looks for why nothing comes."""

from __future__ import annotations

import json

from playwright.async_api import Page, expect

from tests.support.browsing import becomes_live, enter
from tests.support.relay import Relay
from tests.support.senders import request

SECRET = "rly_a-token-that-nobody-has-and-nobody-is-to-read"
PLACES = ("/", "/refused", "/channels/chatwoot", "/search?q=rly", "/setup")


async def test_a_wrong_token_shows_by_itself_with_its_reason_and_nowhere_itself(
    relay: Relay, page: Page
) -> None:
    await enter(page, relay.url, await relay.make_token("boss", "admin"))
    await becomes_live(page)
    sent = [
        request("/webhook", b"{}", token=SECRET),
        request(f"/webhook?token={SECRET}", b"{}"),
        request(f"/webhook/{SECRET}", b"{}"),
        request("/webhook", b"{}", [("X-Chatwoot-Signature", SECRET)]),
    ]
    for raw in sent:
        assert (await relay.send(raw)).status == 401
    await expect(page.locator(".sentences")).to_contain_text("4 requests were refused")
    await page.get_by_role("link", name="See why").click()
    await expect(page.locator("main")).to_contain_text("token")
    for path in PLACES:
        await page.goto(relay.url + path)
        answer = await page.request.get(relay.url + path)
        for text in (await page.content(), await answer.text()):
            assert SECRET not in text, path
    assert SECRET not in json.dumps(await relay.control("GET", "refused"))
