"""One press is one replay: held keys, double clicks, a slow server, and a page loaded again."""

from __future__ import annotations

import asyncio

import pytest
from playwright.async_api import Page, Request, Route, expect

from tests.browser.test_pages import send
from tests.support.browsing import becomes_live
from tests.support.relay import Relay
from tests.support.target import Target

HELD = 90  # times that a key which is held for three seconds is said to be down
REPEATS = 30  # of one that is held for a second
REPLAY = "Replay to me"
PRESSED_TWICE = "button => { button.click(); button.click(); }"


async def replays(relay: Relay) -> int:
    return len((await relay.control("GET", "replays"))["replays"])


async def held(page: Page, key: str) -> None:
    """Hold a key: until its press has done something, and then as long again."""
    await page.keyboard.down(key)
    for _ in range(HELD):
        await page.keyboard.down(key)
    await expect(page.get_by_text("It is sent again.")).to_be_visible()
    for _ in range(HELD):
        await page.keyboard.down(key)
    await page.keyboard.up(key)


async def tapped(page: Page, key: str) -> None:
    """Hold a key for a second, whatever comes of it."""
    for _ in range(REPEATS):
        await page.keyboard.down(key)
    await page.keyboard.up(key)


@pytest.fixture(params=["page", "beside the list"])
def place(request: pytest.FixtureRequest) -> str:
    """Where the event is open."""
    return str(request.param)


async def open_event(relay: Relay, page: Page, place: str) -> str:
    event = await send(relay, b'{"event": "a"}')
    if place == "page":
        await page.goto(f"{relay.url}/events/{event}")
    else:
        await page.goto(f"{relay.url}/channels/chatwoot")
        await becomes_live(page)
        await page.keyboard.press("j")
        await page.keyboard.press("Enter")
    await expect(page.get_by_role("button", name=REPLAY)).to_be_visible()
    return event


async def test_one_press_is_one_replay(
    place: str, relay: Relay, page: Page, target: Target, token: str
) -> None:
    await relay.connect(token, "--to", target.address)
    await open_event(relay, page, place)
    await target.received(1)
    button = page.get_by_role("button", name=REPLAY)

    await held(page, "r")
    assert await replays(relay) == 1
    await target.received(2)
    # The focus is on the new attempt, so that it is read out.
    focused = page.locator("#answers .delivery summary").last
    if place == "page":
        await expect(page.locator("#answers .attempts li")).to_have_count(2)
        await expect(focused).to_be_focused()

    await button.focus()
    await held(page, "Enter")
    assert await replays(relay) == 2
    await button.dblclick()
    await target.received(4)
    assert await replays(relay) == 3
    await expect(page.locator("#answers .delivery")).to_have_count(4)

    await page.keyboard.press("Control+r")
    await page.keyboard.press("Meta+r")
    await page.reload()
    await expect(button).to_be_visible()
    assert await replays(relay) == 3


async def test_the_focus_is_on_an_attempt_that_begins_after_its_page_is_there(
    relay: Relay, page: Page, target: Target, token: str
) -> None:
    await relay.connect(token, "--to", target.address)
    event = await send(relay, b'{"event": "a"}')
    await target.received(1)
    await page.goto(f"{relay.url}/events/{event}?told=replayed")
    attempts = page.locator("#answers .delivery summary")
    await expect(attempts.last).to_be_focused()
    await becomes_live(page)

    replay = {"subscription": "ana", "selection": {"events": [event]}}
    await relay.control("POST", "replays", replay)

    await expect(attempts).to_have_count(2)
    await expect(attempts.last).to_be_focused()


async def test_presses_while_the_server_takes_its_time_are_one(
    place: str, relay: Relay, page: Page, target: Target, token: str
) -> None:
    await relay.connect(token, "--to", target.address)
    await open_event(relay, page, place)
    begun, released = asyncio.Event(), asyncio.Event()
    asked = list[Request]()

    async def slow(route: Route) -> None:
        asked.append(route.request)
        begun.set()
        await released.wait()
        await route.continue_()

    await page.route("**/replay", slow)
    box = await page.get_by_role("button", name=REPLAY).bounding_box()
    assert box is not None
    await page.keyboard.press("r")
    await begun.wait()
    for key in ("r", "r"):
        await page.keyboard.press(key)
    await page.mouse.dblclick(box["x"] + 5, box["y"] + 5)
    released.set()
    await expect(page.get_by_text("It is sent again.")).to_be_visible()
    await target.received(2)
    assert (len(asked), await replays(relay)) == (1, 1)
    await expect(page.get_by_role("button", name=REPLAY)).to_be_enabled()


async def test_one_press_is_one_replay_though_keys_are_held_and_the_server_is_slow(
    place: str, relay: Relay, page: Page, target: Target, token: str
) -> None:
    await relay.connect(token, "--to", target.address)
    event = await send(relay, b'{"event": "a"}')
    await target.received(1)
    goes_on, asked = asyncio.Event(), list[str]()

    async def wait(route: Route) -> None:
        asked.append(route.request.url)
        await goes_on.wait()
        await route.continue_()

    await page.route("**/events/*/replay", wait)
    if place == "page":
        await page.goto(f"{relay.url}/events/{event}")
    else:
        await page.goto(f"{relay.url}/channels/chatwoot")
        await becomes_live(page)
        await page.locator(".row-link").click()
    button = page.get_by_role("button", name=REPLAY)
    await button.focus()
    await button.evaluate(PRESSED_TWICE)
    await tapped(page, "Enter")
    await tapped(page, "r")
    await page.keyboard.press("Control+r")
    goes_on.set()
    await target.received(2)
    answers = page.locator("#answers")
    await expect(answers.locator(".attempts li")).to_have_count(2)
    if place != "page":
        await expect(answers.locator("summary").last).to_be_focused()
    assert len(asked) == 1
    await becomes_live(page)
    # One more press is meant; a page that is loaded again sends nothing again.
    await tapped(page, "r")
    await target.received(3)
    await expect(answers.locator(".attempts li")).to_have_count(3)
    await page.reload()
    await expect(answers.locator(".attempts li")).to_have_count(3)
    assert len((await relay.control("GET", "replays"))["replays"]) == len(asked) == 2
    assert target.event_ids == [event] * 3
