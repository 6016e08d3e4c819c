"""What was given up: all of a reason at once, or what is chosen; and the replay that brings it."""

from __future__ import annotations

import asyncio

import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Page, expect

from tests.browser.test_doing import log_in
from tests.support.browsing import close
from tests.support.chatwoot import message
from tests.support.relay import Relay
from tests.support.target import BROKEN, OK, Arrival, Target, always

MANY = 101
GONE = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"


@pytest_asyncio.fixture(loop_scope="session")
async def dead(relay: Relay, target: Target, token: str) -> list[str]:
    """Deliveries of Ana's that were given up: many for a 500, one for a 404."""

    async def answered(arrival: Arrival) -> bytes:
        return GONE if b'"id": 0' in arrival.body else BROKEN

    target.answer = answered
    await relay.connect(token, "--to", target.address)
    await relay.said("subscription", "set", "chatwoot", "ana", "--retry-delays", "none")
    await relay.control(
        "PATCH", "channels/chatwoot/subscriptions/ana", {"policy": {"other_tries": 1}}
    )
    sent = [message(relay.send_token, number + 1, number) for number in range(MANY + 1)]
    answers = await asyncio.gather(*map(relay.send, sent))
    await relay.becomes("channels/chatwoot/subscriptions/ana", dead=MANY + 1)
    return [str(answer.json["id"]) for answer in answers]


async def test_all_of_a_reason_are_discarded_once_their_number_is_typed(
    relay: Relay, context: BrowserContext, dead: list[str]
) -> None:
    page = await log_in(relay, context, await relay.make_token("boss", "admin"), "/dead")
    groups = page.locator(".dead-group")
    assert [one.split()[0] for one in await groups.locator("h2").all_inner_texts()] == [
        str(MANY),
        "1",
    ]
    await groups.first.get_by_role("button", name="Discard…").click()
    await expect(page.get_by_role("heading")).to_have_text(f"Discard {MANY} deliveries?")
    sure = page.get_by_role("button", name="Discard", exact=True)
    field = page.get_by_label(f"Type {MANY} to be sure")
    await field.evaluate("field => { field.pattern = '.*' }")  # as where it was another number then
    await field.fill(str(MANY - 1))
    await sure.click()
    await expect(page.get_by_role("alert")).to_contain_text(f"there are {MANY} now")
    await field.fill(str(MANY))
    await sure.click()
    await page.wait_for_url(f"{relay.url}/dead")
    await expect(groups).to_have_count(1)
    await expect(groups).to_contain_text("1 × the target answered 404")


async def test_what_is_chosen_is_replayed_and_its_replay_told_of_live(
    relay: Relay, page: Page, target: Target, dead: list[str]
) -> None:
    target.answer = always(OK)
    await page.goto(f"{relay.url}/dead")
    group = page.locator(".dead-group").first
    await group.get_by_text("Events").click()
    await expect(group.get_by_role("checkbox")).to_have_count(50)
    for box in (0, 1):
        await group.get_by_role("checkbox").nth(box).check()
    await expect(group.get_by_role("button", name="Discard")).to_have_count(0)  # Ana's
    await group.get_by_role("button", name="Replay what is chosen").click()
    await target.received(MANY + 3)
    replay = page.locator(".replay")
    await expect(replay).to_contain_text("done · 2 delivered")
    await expect(page.locator("h2").first).to_contain_text(f"{MANY - 2} ×")


async def test_keys_choose_replay_and_discard_what_is_dead(
    relay: Relay, context: BrowserContext, target: Target, dead: list[str]
) -> None:
    target.answer = always(OK)
    page = await log_in(relay, context, await relay.make_token("boss", "admin"), "/dead")
    group, boxes = page.locator(".dead-group").first, page.get_by_role("checkbox", checked=True)
    for key in ("j", "o", "j", "x", "j"):
        await page.keyboard.press(key)
    await expect(group.get_by_role("link").nth(1)).to_be_focused()
    await expect(boxes).to_have_count(1)
    await page.keyboard.press("r")
    await target.received(MANY + 2)
    await expect(page.locator(".replay")).to_contain_text("done · 1 delivered")
    await expect(group.locator("h2")).to_contain_text(f"{MANY - 1} ×")

    await page.keyboard.press("j")
    await page.keyboard.press("a")
    await expect(page.get_by_text(f"All {MANY - 1} are chosen.")).to_be_visible()
    await page.keyboard.press("a")
    await expect(boxes).to_have_count(0)
    await page.keyboard.press("a")
    await page.keyboard.press("Shift+#")
    await expect(page.get_by_role("heading")).to_have_text(f"Discard {MANY - 1} deliveries?")
    await page.get_by_role("button", name="Discard", exact=True).click()
    await expect(page.locator(".dead-group")).to_have_count(1)


async def test_a_long_group_goes_on_and_a_large_replay_asks_without_a_script(
    relay: Relay, browser: Browser, token: str, dead: list[str]
) -> None:
    context = await browser.new_context(java_script_enabled=False)
    page = await log_in(relay, context, token, "/dead")
    await page.get_by_text("Events").first.click()
    await page.get_by_role("link", name="Go on").click()
    await page.get_by_role("link", name="Go on").click()
    assert await page.locator("li a").count() == 1
    await page.get_by_role("button", name=f"Replay all {MANY}").click()
    await expect(page.get_by_role("heading")).to_have_text(f"Replay {MANY} deliveries?")
    await page.get_by_label("Type").fill(str(MANY))
    await page.get_by_role("button", name="Replay", exact=True).click()
    await expect(page.locator(".replay")).to_contain_text("Replay 1 to ana of chatwoot")
    await close(context)
