"""Requests that were refused, as somebody sees them who looks for why nothing comes."""

from __future__ import annotations

import json

from playwright.async_api import Browser, Page, expect

from tests.support.browsing import becomes_live, close, enter
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


async def test_an_address_that_was_shut_out_is_let_in_by_an_administrator_who_is_sure(
    relay: Relay, page: Page, browser: Browser, token: str
) -> None:
    await relay.control("PATCH", "channels/chatwoot", {"allow_from": ["203.0.113.0/24"]})
    webhook = request("/webhook", b"{}", token=relay.send_token)
    assert (await relay.send(webhook)).status == 401
    assert (await relay.send(request("/webhook", b"{}"))).status == 401
    await enter(page, relay.url, token)
    await page.goto(f"{relay.url}/refused")
    await expect(page.locator("main")).to_contain_text("is in none of the channel's networks")
    await expect(page.get_by_role("button", name="Allow it")).to_have_count(0)
    context = await browser.new_context(java_script_enabled=False)
    admin = await context.new_page()
    await enter(admin, relay.url, await relay.make_token("boss", "admin"))
    await admin.goto(f"{relay.url}/refused")
    await admin.get_by_role("button", name="Allow it…").click()
    await expect(admin.locator("main")).to_contain_text("asks for is asked for still: token.")
    assert (await relay.send(webhook)).status == 401
    await admin.get_by_role("button", name="Allow it").click()
    await expect(admin.locator(".told")).to_have_text("It may send from now on.")
    await expect(admin.get_by_role("button", name="Allow it")).to_have_count(0)
    assert (await relay.send(webhook)).status == 200
    assert (await relay.send(request("/webhook", b"{}"))).status == 401
    allowed = (await relay.control("GET", "channels/chatwoot"))["allow_from"]
    assert allowed == ["203.0.113.0/24", "127.0.0.1"]
    [noted] = [
        one
        for one in (await relay.control("GET", "audit"))["entries"]
        if one["action"] == "channel.allow"
    ]
    assert (noted["made_by"], noted["what"]) == ("boss", "chatwoot/127.0.0.1")
    await close(context)
