"""One press is one replay: held, repeated, and pressed again while the server takes its time."""

from __future__ import annotations

import asyncio

import pytest
from playwright.async_api import Page, Route, expect

from tests.browser.test_live import open_list, send
from tests.support.browsing import becomes_live
from tests.support.relay import Relay
from tests.support.target import Target

PRESSED_TWICE = "button => { button.click(); button.click(); }"
REPEATS = 30  # of a key that is held for a second


async def hold(page: Page, key: str) -> None:
    for _ in range(REPEATS):
        await page.keyboard.down(key)
    await page.keyboard.up(key)


@pytest.mark.parametrize("where", ["page", "pane"])
async def test_one_press_is_one_replay_though_keys_are_held_and_the_server_is_slow(
    where: str, relay: Relay, page: Page, target: Target, token: str
) -> None:
    await relay.connect(token, "--to", target.address)
    event = await send(relay, 1)
    await target.received(1)
    goes_on, asked = asyncio.Event(), list[str]()

    async def wait(route: Route) -> None:
        asked.append(route.request.url)
        await goes_on.wait()
        await route.continue_()

    await page.route("**/events/*/replay", wait)
    if where == "page":
        await page.goto(f"{relay.url}/events/{event}")
    else:
        await open_list(relay, page)
        await page.locator(".row-link").click()
    button = page.get_by_role("button", name="Replay to me")
    await button.focus()
    await button.evaluate(PRESSED_TWICE)
    await hold(page, "Enter")
    await hold(page, "r")
    await page.keyboard.press("Control+r")
    goes_on.set()
    await target.received(2)
    answers = page.locator("#answers")
    await expect(answers.locator(".attempts li")).to_have_count(2)
    if where == "pane":
        await expect(answers.locator("summary").last).to_be_focused()
    assert len(asked) == 1
    await becomes_live(page)
    # One more press is meant; a page that is loaded again sends nothing again.
    await hold(page, "r")
    await target.received(3)
    await expect(answers.locator(".attempts li")).to_have_count(3)
    await page.reload()
    await expect(answers.locator(".attempts li")).to_have_count(3)
    assert len((await relay.control("GET", "replays"))["replays"]) == len(asked) == 2
    assert target.event_ids == [event] * 3
