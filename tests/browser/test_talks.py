"""Conversations: as they stood at a moment, sent again whole, saved as a test, and copied."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest_asyncio
from playwright.async_api import BrowserContext, Locator, Page, expect

from tests.browser.test_doing import log_in
from tests.browser.test_pages import plain, send
from tests.support.browsing import becomes_live, becomes_true
from tests.support.chatwoot import fixture
from tests.support.relay import Relay
from tests.support.target import BROKEN, OK, Arrival, Target, always
from tests.support.waiting import until_true

__all__ = ["plain"]
TALK = "/conversations/chatwoot/2/318"
BY_CUSTOMER, BY_BOT = "message_created_incoming", "message_created_outgoing_api_inbox"


def said(number: int, content: str, by: str = BY_CUSTOMER, **changes: Any) -> bytes:
    """A message of conversation 318."""
    body = json.loads(fixture(by)) | {"id": number, "content": content} | changes
    body["conversation"]["id"] = 318
    return json.dumps(body, ensure_ascii=False).encode()


async def fails_on_cake(arrival: Arrival) -> bytes:
    return BROKEN if b"cake" in arrival.body else OK


@pytest_asyncio.fixture(loop_scope="session")
async def story(relay: Relay, target: Target, token: str) -> list[str]:
    """A customer asks, the bot answers, the next question fails, and the last waits behind it."""
    target.answer = fails_on_cake
    await relay.connect(token, "--to", target.address)
    ids = [await send(relay, said(1, "bom dia")), await send(relay, said(2, "olá!", BY_BOT))]
    await target.received(2)
    ids += [await send(relay, said(3, "a cake?")), await send(relay, said(4, "alguém?"))]
    await target.received(3)
    return ids


def line(page: Page, event: str) -> Locator:
    return page.locator(f".line[data-event-id={event}]")


async def test_a_conversation_says_what_answers_what_and_what_waits_for_what(
    relay: Relay, page: Page, story: list[str]
) -> None:
    await page.goto(f"{relay.url}{TALK}")
    await becomes_live(page)
    asked, answered, fails, waits = [line(page, event) for event in story]
    await expect(asked.get_by_label("ana: delivered")).to_be_visible()
    await expect(answered).to_contain_text("reply after")
    await expect(answered).to_contain_text("caused by the message above (the next answer)")
    await expect(fails).to_contain_text("500")
    await expect(fails).to_contain_text("holds 1 event of this chat")
    await expect(waits).to_contain_text("waits behind the one above")
    await expect(waits).to_contain_text("no reply yet")

    step = page.locator("[data-step]")
    for key, at in (("j", 0), ("j", 1), ("k", 0)):
        await page.keyboard.press(key)
        await expect(step.nth(at)).to_be_focused()
    last = await send(relay, said(5, "a fifth"))  # comes though somebody is in a line
    await expect(line(page, last)).to_contain_text("a fifth")
    await expect(step.nth(0)).to_be_focused()

    await page.keyboard.press("w")
    await expect(page.locator(".why")).to_be_visible()


async def test_who_is_at_the_end_follows_and_nobody_else(
    relay: Relay, page: Page, story: list[str]
) -> None:
    await page.set_viewport_size({"width": 1280, "height": 300})
    await page.goto(f"{relay.url}{TALK}")
    await becomes_live(page)
    last = await send(relay, said(5, "a fifth"))
    await expect(line(page, last)).to_have_count(1)
    assert await page.evaluate("scrollY") == 0
    await page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
    last = await send(relay, said(6, "a sixth"))
    await expect(line(page, last)).to_have_count(1)
    end = "innerHeight + scrollY >= document.documentElement.scrollHeight - 1"
    await becomes_true(page, end)


async def test_a_slider_shows_the_conversation_as_it_stood(
    relay: Relay, page: Page, story: list[str]
) -> None:
    await page.goto(f"{relay.url}{TALK}")
    await becomes_live(page)
    slider = page.get_by_role("slider", name="As of")
    await slider.focus()
    await page.keyboard.press("Home")
    await expect(page.locator(".line[data-event-id]")).to_have_count(1)
    first = page.url
    assert "as_of=" in first
    await page.keyboard.press("ArrowRight")
    await becomes_true(page, f"location.href != {first!r}")
    await expect(slider).to_be_focused()
    await page.goto(first)
    await expect(page.locator(".said")).to_have_text("bom dia")
    await slider.focus()
    await page.keyboard.press("End")
    await expect(page.locator(".line[data-event-id]")).to_have_count(4)
    assert "as_of=" not in page.url


async def test_what_was_said_is_copied_by_one_press(
    relay: Relay, page: Page, context: BrowserContext, story: list[str]
) -> None:
    await context.grant_permissions(["clipboard-read", "clipboard-write"])
    await page.goto(f"{relay.url}{TALK}")
    await page.get_by_role("button", name="Copy as transcript").click()
    await becomes_true(page, "document.querySelector('[data-copy-from]').textContent == 'Copied'")
    copied = await page.evaluate("navigator.clipboard.readText()")
    lines = copied.splitlines()
    assert [one.partition(": ")[2] for one in lines] == ["bom dia", "olá!", "a cake?", "alguém?"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ João .*", lines[0])


async def test_the_whole_of_a_conversation_works_without_javascript(
    relay: Relay, plain: Page, target: Target, story: list[str]
) -> None:
    target.answer = always(OK)
    await plain.goto(f"{relay.url}{TALK}")
    for _ in range(20):
        if await plain.locator(".line[data-event-id]").count() == 1:
            break
        await plain.get_by_role("link", name="The moment before").click()
    await expect(plain.locator(".said")).to_have_text(["bom dia"])
    await plain.get_by_role("link", name="now").click()
    await expect(plain.locator(".said")).to_have_count(4)
    await plain.get_by_role("link", name="Only webhooks").click()
    await expect(plain.locator(".bubble")).to_have_count(0)

    async with plain.expect_download() as begun:
        await plain.get_by_role("button", name="Save as pytest fixture").click()
    file = await begun.value
    assert file.suggested_filename == "test_conversation_2_318.py"
    text = (await file.path()).read_text()
    assert [one in text for one in story] == [True] * 4
    assert "FIXTUREpubsub" not in text, "secrets are masked"
    compile(text, "test", "exec")

    await plain.get_by_role("button", name="Copy as transcript").click()
    await expect(plain.locator("pre")).to_contain_text("alguém?")
    await plain.go_back()
    came = len(target.arrivals)
    await plain.get_by_role("button", name="Replay the whole conversation to me").click()
    await expect(plain.get_by_text("The whole conversation is sent again")).to_be_visible()
    await target.received(came + 4)


async def test_a_conversation_is_replayed_whatever_it_is_called(
    relay: Relay, page: Page, target: Target, token: str
) -> None:
    await relay.connect(token, "--to", target.address)
    body = {"event": "message_created", "account": {"id": 2}, "conversation": {"id": "a\nb"}}
    event = await send(relay, json.dumps(body).encode())
    await target.received(1)
    await page.goto(f"{relay.url}/events/{event}")
    await page.get_by_role("link", name="conversation a").click()
    await page.get_by_role("button", name="Replay the whole conversation to me").click()
    await target.received(2)


async def test_what_hinders_an_answer_is_mended_where_it_is_said_without_a_script(
    relay: Relay, plain: Page, target: Target, token: str
) -> None:
    await relay.control("PATCH", "channels/chatwoot", {"policy": {"other_tries": 1}})
    refused = b"HTTP/1.1 404 No\r\nContent-Length: 10\r\n\r\nno contact"
    target.answer = always(refused)
    await relay.connect(token, "--to", target.address)
    await relay.control("POST", "channels/chatwoot/subscriptions/ana/pause")
    asked = await send(relay, said(1, "bom dia"))
    cause, why = plain.locator(".why h2"), plain.get_by_role("button", name="Why no answer?")
    await plain.goto(f"{relay.url}{TALK}?subscription=ana")
    await why.click()
    await expect(cause).to_have_text("ana is paused: paused by hand.")
    await expect(plain.locator(".why button")).to_have_count(1)
    await plain.get_by_role("button", name="Resume ana").click()
    await expect(plain.get_by_text("It goes on.")).to_be_visible()

    await until_true(lambda: is_dead(relay))
    target.answer = always(OK)
    await why.click()
    await expect(cause).to_contain_text("It was given up")
    await expect(plain.get_by_role("button", name="Discard…")).to_have_count(0)  # an admin's
    await plain.get_by_role("button", name="Replay it now").click()
    await expect(plain.get_by_text("It is sent again.")).to_be_visible()
    await target.received(2)
    assert target.event_ids == [asked, asked]
    await until_true(lambda: is_dead(relay, 0))
    await why.click()
    await expect(cause).to_have_text("No message of bot or agent came after it.")


async def test_what_holds_a_conversation_up_is_given_up_without_a_script(
    relay: Relay, plain: Page, target: Target, story: list[str]
) -> None:
    """From why there is no answer, or from the event: asked first, and then the next one goes."""
    fails = story[2]
    give_up = plain.get_by_role("button", name="Give up…")
    await plain.goto(f"{relay.url}{TALK}?subscription=ana&why=1")
    await expect(plain.locator(".why h2")).to_contain_text("behind an earlier event")
    await give_up.click()
    await expect(plain.get_by_role("heading", name="Give this delivery up?")).to_be_visible()
    await plain.get_by_role("link", name="Go on trying").click()
    await plain.goto(f"{relay.url}/events/{fails}")
    await give_up.click()
    await plain.get_by_role("button", name="Give it up").click()
    await expect(plain.get_by_text("It is given up, and can be replayed.")).to_be_visible()
    lane = plain.locator(".delivery[data-subscription=ana]")
    await expect(lane).to_contain_text("given up by ana")
    await expect(give_up).to_have_count(0)
    await target.received(4)
    assert target.event_ids == story
    await plain.goto(f"{relay.url}/dead")
    await expect(plain.get_by_role("heading", name="1 × given up by ana")).to_be_visible()


async def test_only_administrators_mend_a_forward_and_let_go_of_what_is_dead(
    relay: Relay, page: Page, context: BrowserContext, target: Target
) -> None:
    await relay.control("PATCH", "channels/chatwoot", {"policy": {"other_tries": 1}})
    target.answer = always(b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n")
    url = f"http://{target.address}/hook"
    await relay.control("POST", "forwards", {"name": "prod", "channel": "chatwoot", "url": url})
    await send(relay, said(1, "bom dia"))
    await until_true(lambda: is_dead(relay))
    await page.goto(f"{relay.url}{TALK}?subscription=prod&why=1")
    await expect(page.locator(".why h2")).to_contain_text("It was given up")
    await expect(page.locator(".why button")).to_have_count(0)
    boss = await relay.make_token("boss", "admin")
    page = await log_in(relay, context, boss)
    await page.goto(f"{relay.url}{TALK}?subscription=prod&why=1")
    await page.get_by_role("button", name="Discard…").click()
    await page.get_by_role("button", name="Discard", exact=True).click()
    await until_true(lambda: is_dead(relay, 0))


async def is_dead(relay: Relay, count: int = 1) -> bool:
    """Whether so many deliveries are."""
    return len((await relay.control("GET", "dead"))["dead"]) == count


async def test_keys_step_from_conversation_to_conversation(relay: Relay, page: Page) -> None:
    for key in (7, 8):
        body = {"event": "message_created", "account": {"id": 2}, "conversation": {"id": key}}
        await send(relay, json.dumps(body).encode())
    await page.goto(f"{relay.url}/conversations/chatwoot/2/8")
    await page.keyboard.press("[")
    await page.wait_for_url(f"{relay.url}/conversations/chatwoot/2/7")
    await page.keyboard.press("]")
    await page.wait_for_url(f"{relay.url}/conversations/chatwoot/2/8")
    await page.goto(f"{relay.url}/conversations/chatwoot/2/9")
    await expect(page.get_by_role("heading")).to_contain_text("no event that is kept is of")
