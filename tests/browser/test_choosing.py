"""What one chooses in a list: rows to replay, a range of time, how close rows stand."""

from __future__ import annotations

import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from tests.browser.test_live import open_list, send
from tests.support.browsing import close, enter, lists
from tests.support.relay import Relay
from tests.support.target import Target


@pytest_asyncio.fixture(loop_scope="session")
async def ids(relay: Relay, page: Page, target: Target, token: str) -> list[str]:
    """Four events on a live list, the newest first, all delivered."""
    await relay.connect(token, "--to", target.address)
    found = [await send(relay, number) for number in range(4)]
    await target.received(4)
    await open_list(relay, page)
    return found[::-1]


async def test_chosen_rows_are_replayed_together_and_nothing_moves_meanwhile(
    relay: Relay, page: Page, target: Target, ids: list[str]
) -> None:
    button = page.get_by_role("button", name="Replay what is chosen")
    await expect(button).to_be_disabled()
    for key in ("j", "x", "J", "J", "k", "x"):
        await page.keyboard.press(key)
    await expect(button).to_have_text("Replay what is chosen (2)")
    await page.mouse.click(1, 1)  # out of the list
    await send(relay, 9)
    await expect(page.locator("[data-new-count]")).to_have_attribute("data-new-count", "1")
    await lists(page, ids)
    await button.click()
    await expect(page.get_by_text("2 events are sent again.")).to_be_visible()
    await target.received(7)
    assert {*target.event_ids[5:]} == {ids[0], ids[2]}


async def test_a_phone_has_a_bar_for_chosen_rows_once_there_are_some(
    page: Page, ids: list[str]
) -> None:
    await page.set_viewport_size({"width": 360, "height": 740})
    bar = page.locator("#chosen")
    await expect(bar).to_be_hidden()
    await page.locator(f"[data-event-id={ids[0]}]").get_by_role("checkbox").check()
    await expect(bar).to_be_in_viewport(ratio=1)
    box, rail = await bar.bounding_box(), await page.locator(".rail").bounding_box()
    assert box is not None
    assert rail is not None
    assert box["y"] + box["height"] <= rail["y"] + 1
    assert box["height"] < 64  # a line of controls that fingers reach


async def test_rows_are_chosen_and_replayed_without_javascript(
    relay: Relay, browser: Browser, token: str, target: Target, ids: list[str]
) -> None:
    context = await browser.new_context(java_script_enabled=False)
    page = await context.new_page()
    await enter(page, relay.url, token)
    await page.goto(f"{relay.url}/channels/chatwoot")
    await page.get_by_role("button", name="Replay what is chosen").click()
    await expect(page.locator("main")).to_contain_text("no row is chosen")
    await page.go_back()
    await page.locator(f"[data-event-id={ids[1]}]").get_by_role("checkbox").check()
    await page.get_by_role("button", name="Replay what is chosen").click()
    await expect(page.get_by_text("1 event is sent again.")).to_be_visible()
    await target.received(5)
    assert target.event_ids[-1] == ids[1]
    await close(context)


async def test_what_is_dragged_over_on_the_pulse_is_the_time_of_the_filter(
    page: Page, ids: list[str]
) -> None:
    pulse = await page.locator(".pulse").bounding_box()
    assert pulse is not None
    end, y = pulse["x"] + pulse["width"] - 1, pulse["y"] + 9
    for start, found in ((end - pulse["width"] / 3, ids), (pulse["x"], [])):
        await page.mouse.move(start, y)
        await page.mouse.down()
        await page.mouse.move(end if found else start + pulse["width"] / 3, y)
        await page.mouse.up()
        await page.wait_for_url("**q=after*before*")
        await lists(page, found)
        await page.goto(page.url.partition("?")[0])


async def test_rows_stand_closer_in_this_browser_from_the_first_sight_on(
    page: Page, ids: list[str]
) -> None:
    row = page.locator(f"[data-event-id={ids[0]}]")
    await expect(row).to_have_css("height", "32px")
    await page.keyboard.press("Shift+D")
    await expect(row).to_have_css("height", "26px")
    await page.reload()
    await expect(page.locator("html")).to_have_attribute("data-density", "compact")
    await page.keyboard.press("Shift+D")
    await expect(row).to_have_css("height", "32px")
