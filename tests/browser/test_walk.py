"""What somebody does who has never read the documentation, and who has no mouse."""

from __future__ import annotations

from playwright.async_api import BrowserContext, Locator, Page, expect

from tests.browser.test_login import link
from tests.browser.test_pages import send
from tests.support.browsing import becomes_live
from tests.support.chatwoot import fixture
from tests.support.relay import Relay
from tests.support.target import OK, Arrival, Target
from tests.support.waiting import Stopwatch

FAILS = b"HTTP/1.1 500 Broken\r\nContent-Length: 19\r\n\r\nKeyError: 'flavour'"
MOST_CLICKS = 8
WITHIN_S = 60.0


async def fails_on_cake(arrival: Arrival) -> bytes:
    return FAILS if b"bolo" in arrival.body else OK


async def test_why_an_event_had_no_answer_is_found_and_it_is_sent_again_edited(
    relay: Relay, context: BrowserContext, target: Target, token: str
) -> None:
    target.answer = fails_on_cake
    await relay.connect(token, "--to", target.address)
    event = await send(relay, fixture("message_created_incoming"))
    await target.received(1)
    page, url = await context.new_page(), await link(relay, token)
    watch, clicks = Stopwatch(), 0

    async def press(role: str, name: str) -> None:
        nonlocal clicks
        clicks += 1
        await page.locator("body").get_by_role(role, name=name).first.click()  # type: ignore[arg-type]

    await page.goto(url)
    await press("button", "Log in")
    await expect(page.locator("main")).to_contain_text("1 delivery failed, and is tried again")
    await press("link", "See which")
    row = page.locator(f"[data-event-id={event}]")
    await expect(row).to_contain_text("Vocês fazem bolo")
    await expect(row.get_by_label("ana: retrying")).to_be_visible()
    clicks += 1
    await row.get_by_role("link").first.click()
    await expect(page.locator("#answers")).to_contain_text("KeyError: 'flavour'")
    await press("link", "Why no answer?")
    await expect(page.locator(".why")).to_contain_text("failed: the target answered 500")
    await press("link", "event")
    await press("button", "Edit and send")
    await page.locator("[data-body]").fill('{"event": "message_created", "content": "torta"}')
    await expect(page.locator("[data-changes]")).to_contain_text("/content")
    await press("button", "Send")
    await expect(page.get_by_text("It is sent, to this subscription alone.")).to_be_visible()
    await expect(page.locator("#answers")).to_contain_text("delivered · 200")
    # The first one may have come once more since.
    assert any(b"torta" in arrival.body for arrival in target.arrivals)
    assert clicks <= MOST_CLICKS
    assert watch.elapsed_s < WITHIN_S


SHOWS_FOCUS = """() => {
  const at = document.activeElement;
  const isSeen = (part) => {
    const {outlineStyle, outlineWidth} = getComputedStyle(at, part);
    return outlineStyle !== "none" && parseFloat(outlineWidth) >= 2;
  };
  return at === document.body || isSeen() || isSeen("::after");
}"""
MOST_TABS = 60  # to anything on a page


async def reach(page: Page, wanted: Locator) -> None:
    """Tab to it, and see the focus at each step."""
    for _ in range(MOST_TABS):
        await page.keyboard.press("Tab")
        assert await page.evaluate(SHOWS_FOCUS)
        if await wanted.evaluate("one => one === document.activeElement"):
            return
    raise AssertionError(f"Tab does not lead to {wanted}")


async def test_all_of_it_is_done_by_keyboard_alone(
    relay: Relay, context: BrowserContext, target: Target, token: str
) -> None:
    await relay.connect(token, "--to", target.address)
    await relay.said("subscription", "set", "chatwoot", "ana", "--retry-delays", "none")
    found = [await send(relay, fixture("message_created_incoming")) for _ in range(30)]
    await target.received(30)
    page, admin = await context.new_page(), await relay.make_token("boss", "admin")
    keys = page.keyboard

    await page.goto(f"{relay.url}/login")
    await reach(page, page.locator("#k"))
    await keys.insert_text(admin)
    await keys.press("Enter")
    await page.wait_for_url(f"{relay.url}/")
    for key in ("g", "l"):
        await keys.press(key)
    await page.wait_for_url("**/channels/chatwoot")
    await becomes_live(page)

    for _ in range(26):
        await keys.press("j")
    row = page.locator(f"[data-event-id={found[4]}] .row-link")
    await expect(row).to_be_focused()
    scrolled = await page.evaluate("scrollY")
    assert scrolled > 0
    target.answer = fails_on_cake
    await keys.press("Enter")
    answers = page.locator("#answers")
    await expect(answers).to_contain_text("delivered · 200")
    await keys.press("r")
    await expect(answers).to_contain_text("dead · 500")
    await keys.press("Escape")
    await expect(row).to_be_focused()
    assert await page.evaluate("scrollY") == scrolled

    await reach(page, page.get_by_role("button", name="Log out"))  # Tab goes round
    await reach(page, page.get_by_label("Filter"))
    await keys.insert_text("conv:nobody's")
    await keys.press("Enter")
    await expect(page.get_by_text("No event is meant by this filter.")).to_be_visible()
    for key in ("g", "d"):
        await keys.press(key)
    await page.wait_for_url("**/dead")
    await reach(page, page.get_by_role("button", name="Discard…"))
    await keys.press("Enter")
    await expect(page.get_by_role("heading")).to_have_text("Discard 1 delivery?")
    await reach(page, page.get_by_role("button", name="Discard", exact=True))
    await keys.press("Enter")
    await expect(page.get_by_text("Nothing is dead.")).to_be_visible()
    await reach(page, page.get_by_role("button", name="Log out"))
    await keys.press("Enter")
    await page.wait_for_url(f"{relay.url}/login")
