"""What is one's own comes first, and is marked, wherever that of several people is listed."""

from __future__ import annotations

from playwright.async_api import Locator, Page, expect

from tests.browser.test_doing import INCOMING
from tests.browser.test_pages import send
from tests.support.browsing import becomes_live
from tests.support.relay import Relay
from tests.support.target import Target, always
from tests.support.waiting import until_true

GONE = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
OTHERS = ("aa", "ab", "ac", "ad")  # before Ana by name, and as many as a row has marks


async def shows_mine(row: Locator) -> None:
    """Wait for a row whose first mark is of Ana's delivery; of the others there are too many."""
    states = row.locator(".state")
    await expect(states).to_have_count(4)
    await expect(states.first).to_have_attribute("data-subscription", "ana")
    await expect(row.locator(".state.mine")).to_have_count(1)
    await expect(row.locator(".c-states")).to_contain_text("+1")


async def test_what_is_one_s_own_comes_first_and_says_so(
    relay: Relay, page: Page, target: Target, token: str
) -> None:
    target.answer = always(GONE)
    await relay.control("PATCH", "channels/chatwoot", {"policy": {"other_tries": 1}})
    for name in OTHERS:
        forward = {"name": name, "channel": "chatwoot", "url": f"http://{target.address}/"}
        await relay.control("POST", "forwards", forward)
    await relay.connect(token, "--to", target.address)

    await page.goto(f"{relay.url}/channels/chatwoot")
    await becomes_live(page)
    await expect(page.locator(".reader").first).to_contain_text("ana yours")
    event = await send(relay, b'{"event": "a"}')
    row = page.locator(f'[data-event-id="{event}"]')
    await shows_mine(row)

    async def are_dead() -> bool:
        return len((await relay.control("GET", "dead"))["dead"]) == len(OTHERS) + 1

    await until_true(are_dead)
    await page.reload()
    await shows_mine(row)
    for path, listed in (
        ("/", page.locator(".reader")),
        ("/subscriptions", page.locator("tbody tr")),
        ("/dead", page.locator(".dead-group")),
        (f"/events/{event}", page.locator(".delivery")),
    ):
        await page.goto(relay.url + path)
        await expect(listed).to_have_count(len(OTHERS) + 1)
        await expect(listed.first).to_contain_text("ana yours")
        await expect(page.locator(".yours")).to_have_count(1)


async def test_where_one_chooses_a_subscription_one_s_own_come_first_and_say_so(
    relay: Relay, page: Page, token: str
) -> None:
    """Also one that has another name than its owner, and comes behind the other by its own."""
    nowhere = ("--to", "localhost:9")
    await relay.connect(await relay.make_token("aa", "subscribe", "chatwoot"), *nowhere)
    await relay.connect(token, "--as", "zoe", *nowhere)
    event = await send(relay, INCOMING)
    for path, chosen in (
        ("channels/chatwoot", "#chosen option"),
        (f"events/{event}", ".replay-to option"),
        ("conversations/chatwoot/2/318", "[data-goes] option"),
    ):
        await page.goto(f"{relay.url}/{path}")
        await expect(page.locator(chosen)).to_have_text(["zoe · yours", "aa"])
    await page.locator("[data-goes]").select_option("aa")
    await page.wait_for_url("**subscription=aa")
    await page.goto(f"{relay.url}/events/{event}/edit")
    radios = page.locator("label:has([name=subscription])")
    await expect(radios).to_have_text(["zoe yours", "aa"])
