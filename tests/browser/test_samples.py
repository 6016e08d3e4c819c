"""A sample that a page sends is let in by the channel's rules, as any other webhook."""

from __future__ import annotations

import base64

import pytest_asyncio
from playwright.async_api import BrowserContext, Page, expect

from relay_server.signing import SCHEMES
from tests.browser.test_doing import log_in
from tests.support.relay import Relay

SECRET = "s" * 32
SECRETS = {"standard-webhooks": f"whsec_{base64.b64encode(SECRET.encode()).decode()}"}


@pytest_asyncio.fixture(loop_scope="session")
async def boss(relay: Relay, context: BrowserContext) -> Page:
    """An administrator's page."""
    return await log_in(relay, context, await relay.make_token("boss", "admin"))


async def send_sample(relay: Relay, boss: Page, channel: str) -> int:
    """Press the button, and give the status of the answer."""
    key = await boss.locator("[name=form_key]").first.input_value()
    answer = await boss.request.post(
        f"{relay.url}/channels/{channel}/sample",
        form={"form_key": key},
        headers={"Sec-Fetch-Site": "same-origin"},
    )
    return answer.status


async def test_it_is_signed_as_each_sender_does(relay: Relay, boss: Page) -> None:
    for sender in SCHEMES:
        secret = SECRETS.get(sender, SECRET)
        name, rules = f"of-{sender}", {"sender": sender, "hmac_secrets": [secret]}
        await relay.control("POST", "channels", rules | {"name": name})
        statuses = [await send_sample(relay, boss, name) for _ in range(2)]
        assert statuses == [200, 200], sender
        assert len(await relay.events(name)) == 2, sender
    assert (await relay.control("GET", "refused"))["groups"] == []


async def test_one_that_is_larger_than_its_channel_takes_is_refused(
    relay: Relay, boss: Page
) -> None:
    await relay.control("PATCH", "channels/chatwoot", {"max_body_bytes": 500})
    await boss.goto(f"{relay.url}/channels/chatwoot")
    await boss.get_by_role("button", name="Send a sample").click()
    await expect(boss.get_by_role("heading")).to_contain_text("larger than the 500 bytes")
    assert await relay.events() == []
