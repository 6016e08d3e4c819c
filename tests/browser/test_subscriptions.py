"""Subscriptions: who paused one and since when, and why what is tried again failed."""

from __future__ import annotations

import json

from playwright.async_api import Page, expect

from tests.browser.test_pages import send
from tests.browser.test_plain import plain
from tests.support.relay import Relay
from tests.support.target import BROKEN, Target, always

__all__ = ["plain"]


async def test_who_paused_one_is_said_and_why_what_waits_failed(
    relay: Relay, plain: Page, target: Target, token: str
) -> None:
    target.answer = always(BROKEN)
    await relay.connect(token, "--to", target.address)
    for number in range(2):
        body = {"event": "message_created", "account": {"id": 2}, "conversation": {"id": number}}
        await send(relay, json.dumps(body).encode())
    await relay.becomes("channels/chatwoot/subscriptions/ana", retrying=2)
    await plain.goto(f"{relay.url}/subscriptions")
    line = plain.get_by_role("row", name="ana")
    await expect(line).to_contain_text("2 × the target answered 500, since")

    await line.get_by_role("button", name="Pause").click()
    await expect(line).to_contain_text("paused by hand")
    await expect(line).to_contain_text("by boss, since")
    await line.get_by_role("button", name="Resume").click()
    await expect(line).not_to_contain_text("by boss")
