"""Pages that live: what comes shows by itself, and nothing that somebody looks at moves."""

from __future__ import annotations

import asyncio
from itertools import pairwise

from playwright.async_api import BrowserContext, Page, Route, expect

from tests.support.browsing import Seen, becomes_live, becomes_true, event_ids, lists
from tests.support.chatwoot import message
from tests.support.relay import Relay
from tests.support.target import BROKEN, Target, always

MOST_ROWS = 100  # that a list holds
MOST_STATES = 4  # that a row shows
MAX_NODES = 8_000  # of a page, whatever comes
# What rows say and where they stand, but for how wide that is written.
ROWS = """list => [...list.children].map(row => [row.dataset.sequence, "edited" in row.dataset,
  row.innerText, ...[...row.querySelectorAll("[role=img]")].map(mark => mark.ariaLabel)])"""


async def send(relay: Relay, number: int, conversation: int = 318) -> str:
    """A webhook, and its event's id."""
    answer = await relay.send(message(relay.send_token, conversation, number))
    assert answer.status == 200
    return str(answer.json["id"])


async def open_list(relay: Relay, page: Page, query: str = "") -> None:
    await page.goto(f"{relay.url}/channels/chatwoot{query}")
    await becomes_live(page)


async def test_webhooks_appear_newest_first_without_a_reload(relay: Relay, page: Page) -> None:
    ids = [await send(relay, 0)]
    await open_list(relay, page)
    await page.evaluate("window.same = true")
    for number in range(1, 20):
        ids.insert(0, await send(relay, number))
    await lists(page, ids)
    assert await page.evaluate("window.same")


async def test_a_page_that_becomes_live_is_not_asked_for_again(
    relay: Relay, page: Page, seen: Seen
) -> None:
    seen.requests.clear()
    await open_list(relay, page)
    ids = list[str]()
    for number in range(3):  # one after the other: a second look would not wait for so long
        ids.insert(0, await send(relay, number))
        await lists(page, ids)
    assert [url for url in seen.requests if url.endswith("/channels/chatwoot")] == [
        f"{relay.url}/channels/chatwoot"
    ]


async def test_the_rail_counts_what_is_refused_meanwhile(relay: Relay, page: Page) -> None:
    await open_list(relay, page)
    refused = page.locator(".rail [data-key='g r']")
    await expect(refused.locator(".count")).to_have_count(0)
    assert (await relay.send(message("wrong", 318, 1))).status == 401
    await expect(refused.locator(".count")).to_have_text("1")
    await expect(page.locator(".rail [data-key='g l']")).to_have_attribute("aria-current", "page")


async def test_a_list_of_a_filter_gets_what_it_means_alone(relay: Relay, page: Page) -> None:
    await open_list(relay, page, "?q=conv%3A7")
    await send(relay, 1, 8)
    meant = await send(relay, 2, 7)
    await lists(page, [meant])


async def test_a_list_that_cannot_be_asked_for_anew_says_so_and_keeps_its_rows(
    relay: Relay, page: Page
) -> None:
    old = await send(relay, 1)
    await open_list(relay, page, "?q=conv%3A318")
    await page.route("**/channels/**", lambda route: route.fulfill(status=500))
    new = await send(relay, 2)
    alert = page.get_by_role("alert")
    await expect(alert).to_contain_text("could not be asked for")
    await expect(alert).to_contain_text("500")
    assert await event_ids(page) == [old]
    await page.unroute("**/channels/**")
    await alert.get_by_role("button", name="Retry").click()
    await lists(page, [new, old])
    await expect(alert).to_be_hidden()


async def test_what_one_looks_at_stays_put_and_a_pill_counts(relay: Relay, page: Page) -> None:
    old = [await send(relay, number) for number in range(3)]
    await open_list(relay, page)
    await page.keyboard.press("j")
    await expect(page.locator(".row-link").first).to_be_focused()
    before = await page.locator(f"[data-event-id={old[0]}]").bounding_box()
    new = [await send(relay, number) for number in range(3, 15)]
    pill = page.locator("[data-new-count]")
    await expect(pill).to_have_attribute("data-new-count", "12")
    assert await event_ids(page) == old[::-1]
    assert await page.locator(f"[data-event-id={old[0]}]").bounding_box() == before
    await page.keyboard.press(".")
    await lists(page, [*new[::-1], *old[::-1]])
    await expect(pill).to_be_hidden()


async def test_an_edited_event_comes_as_others_do_and_stands_where_it_was_made(
    relay: Relay, page: Page, target: Target, token: str
) -> None:
    """Also the second of two, an event between them, and while one reads."""
    await relay.connect(token, "--to", target.address)
    ids = [await send(relay, 0)]
    await open_list(relay, page)

    async def edit() -> str:
        new = {"subscription": "ana", "based_on": ids[-1]}
        return str((await relay.control("POST", "events", new))["id"])

    for make in (edit, edit, lambda: send(relay, 1), edit):
        ids.insert(0, await make())
        await lists(page, ids)
    row = page.locator(f"[data-event-id={ids[0]}]")
    await expect(row.get_by_label("edited", exact=True)).to_be_visible()
    await expect(row.get_by_label("ana: delivered")).to_be_visible()
    await expect(row.get_by_role("checkbox")).to_have_count(0)

    await page.keyboard.press("j")
    await expect(page.locator(".row-link").first).to_be_focused()
    pill, new = page.locator("[data-new-count]"), list[str]()
    for count, make in enumerate((edit, lambda: send(relay, 2), edit), 1):
        new.append(await make())
        await expect(pill).to_have_attribute("data-new-count", str(count))
    assert await event_ids(page) == ids
    await page.keyboard.press(".")
    await lists(page, [*new[::-1], *ids])
    shown = await page.locator("[data-rows]").evaluate(ROWS)
    await page.reload()
    await becomes_live(page)
    assert await page.locator("[data-rows]").evaluate(ROWS) == shown


async def test_a_row_shows_what_became_of_its_deliveries(
    relay: Relay, page: Page, target: Target, token: str
) -> None:
    target.answer = always(BROKEN)
    await relay.connect(token, "--to", target.address)
    await open_list(relay, page)
    event = await send(relay, 1)
    row = page.locator(f"[data-event-id={event}]")
    await expect(row.get_by_label("ana: retrying")).to_be_visible()
    await row.get_by_role("link").first.click()
    await expect(page.locator("#answers")).to_contain_text("500")
    await expect(page.locator("#answers")).to_contain_text("broken")


async def test_a_server_that_starts_anew_is_found_again_with_nothing_missing_and_no_login(
    relay: Relay, page: Page, seen: Seen
) -> None:
    ids = [await send(relay, 0)]
    await open_list(relay, page)
    seen.requests.clear()
    for round_, end in enumerate(("terminate", "kill")):
        getattr(relay.server, end)()
        await page.wait_for_selector("body[data-feed=lost]")
        await relay.server.exit_status()
        await relay.start()
        ids.insert(0, await send(relay, round_ + 1))
        await becomes_live(page)
        await lists(page, ids)
    assert not [url for url in seen.requests if "/login" in url]


async def test_a_paused_list_waits_and_goes_on(relay: Relay, page: Page) -> None:
    await open_list(relay, page)
    await page.keyboard.press("p")
    await expect(page.locator("body")).to_have_attribute("data-feed", "paused")
    event = await send(relay, 1)
    await expect(page.locator("[data-new-count]")).to_have_attribute("data-new-count", "1")
    assert await event_ids(page) == []
    await page.keyboard.press("p")
    await page.keyboard.press(".")
    await lists(page, [event])


async def test_one_press_is_one_replay_and_its_attempt_shows(
    relay: Relay, page: Page, target: Target, token: str
) -> None:
    await relay.connect(token, "--to", target.address)
    event = await send(relay, 1)
    await target.received(1)
    await page.goto(f"{relay.url}/events/{event}")
    await page.get_by_role("button", name="Replay to me").dblclick()
    await target.received(2)
    await expect(page.locator(".attempts li")).to_have_count(2)
    replays = (await relay.control("GET", "replays"))["replays"]
    made = [(r["made_by"], r["subscription"], r["at_most"]) for r in replays]
    assert made == [("ana", "ana", 1)]
    assert target.event_ids == [event, event]


async def test_all_tabs_of_a_browser_share_one_feed(
    relay: Relay, page: Page, context: BrowserContext, seen: Seen
) -> None:
    await open_list(relay, page)
    pages, feeds = [page], [url for url in seen.requests if "/feed?" in url]
    for _ in range(7):
        pages.append(await context.new_page())
        await open_list(relay, pages[-1])
    assert [url for url in seen.requests if "/feed?" in url] == feeds
    first = await send(relay, 1)
    for one in pages:
        await one.bring_to_front()
        await lists(one, [first])
    await page.close()  # it led
    second = await send(relay, 2)
    for one in pages[1:]:
        await one.bring_to_front()
        await lists(one, [second, first])


async def test_a_tab_that_comes_late_lacks_nothing(
    relay: Relay, page: Page, context: BrowserContext
) -> None:
    """Something comes between the making of its page and the moment in which it listens."""
    await open_list(relay, page)
    late = await context.new_page()
    sent = list[str]()

    async def hold(route: Route) -> None:
        sent.append(await send(relay, len(sent)))
        await route.continue_()

    await late.route("**/assets/*.js", hold)
    await open_list(relay, late)
    await lists(late, sent)
    assert len(sent) == 1


async def test_what_became_of_events_meanwhile_shows_once_the_feed_is_back(
    relay: Relay, page: Page, target: Target, token: str
) -> None:
    client = await relay.connect(token, "--to", target.address)
    client.terminate()
    await client.exit_status()
    await open_list(relay, page)
    event = await send(relay, 1)
    state = page.locator(f"[data-event-id={event}] .state")
    await expect(state.get_by_label("ana: waiting")).to_be_visible()
    await page.route("**/feed?*", lambda route: route.abort())
    relay.server.kill()
    await page.wait_for_selector("body[data-feed=lost]")
    await relay.start()
    await relay.connect(token, "--to", target.address)
    await target.received(1)
    await page.unroute("**/feed?*")
    await becomes_live(page)
    await expect(state.get_by_label("ana: delivered")).to_be_visible()


async def test_a_tab_that_is_frozen_leads_no_more(
    relay: Relay, page: Page, context: BrowserContext
) -> None:
    await open_list(relay, page)
    other = await context.new_page()
    await open_list(relay, other)
    browser = await context.new_cdp_session(page)
    await browser.send("Page.setWebLifecycleState", {"state": "frozen"})
    await other.bring_to_front()
    event = await send(relay, 1)
    await lists(other, [event])
    await browser.send("Page.setWebLifecycleState", {"state": "active"})
    await page.bring_to_front()
    await lists(page, [event])


async def test_a_page_that_nobody_sees_asks_for_nothing(
    relay: Relay, page: Page, context: BrowserContext
) -> None:
    other = await context.new_page()
    for one in (page, other):
        await one.goto(relay.url)
        await becomes_live(one)
    await page.evaluate("Object.defineProperty(document, 'hidden', {value: true, writable: true})")
    await send(relay, 1)
    await expect(other.locator(".facts")).to_contain_text("1 event ")
    await expect(page.locator(".facts")).to_contain_text("0 events")
    await page.evaluate(
        "document.hidden = false; document.dispatchEvent(new Event('visibilitychange'))"
    )
    await expect(page.locator(".facts")).to_contain_text("1 event ")


async def test_of_many_that_come_while_one_reads_the_newest_are_kept(
    relay: Relay, page: Page
) -> None:
    for number in range(MOST_STATES + 1):
        forward = {"channel": "chatwoot", "name": f"f{number}", "url": "http://127.0.0.1:1/"}
        await relay.control("POST", "forwards", forward)
    await send(relay, 0)
    await open_list(relay, page)
    await page.keyboard.press("j")
    ids = [await send(relay, number) for number in range(1, 171)]
    await expect(page.locator("[data-new-count]")).to_have_attribute("data-new-count", "170")
    await page.keyboard.press(".")
    await lists(page, ids[: -MOST_ROWS - 1 : -1])
    assert await page.evaluate("document.querySelectorAll('*').length") <= MAX_NODES
    await expect(page.locator(".row.new")).to_have_count(0)  # so many do not fade in
    states = page.locator(f"[data-event-id={ids[-1]}] .c-states")
    assert await states.get_by_role("img").count() == MOST_STATES
    await expect(states).to_contain_text("+1")


async def test_what_came_while_one_was_away_stands_above_a_line(relay: Relay, page: Page) -> None:
    await send(relay, 1)
    await open_list(relay, page)
    await expect(page.locator(".away")).to_have_count(0)
    await page.goto(f"{relay.url}/setup")
    new = [await send(relay, number) for number in range(2, 5)]
    await open_list(relay, page)
    await expect(page.locator(".away")).to_contain_text("3 while you were away")
    rows = "rows => rows.map(row => row.dataset.eventId ?? row.className)"
    shown = await page.locator("[data-rows] > *").evaluate_all(rows)
    assert shown[:4] == [*new[::-1], "away"]
    await page.reload()
    await expect(page.locator(".away")).to_have_count(0)

    await page.goto(f"{relay.url}/setup")
    await asyncio.gather(*(send(relay, number) for number in range(5, 60)))
    await open_list(relay, page)
    await expect(page.locator(".away")).to_contain_text("55 while you were away")
    await page.get_by_role("link", name="go to where you were").click()
    await expect(page.locator("[data-event-id]").first).to_have_attribute("data-event-id", new[-1])


async def test_the_first_steps_tick_themselves_off(
    relay: Relay, page: Page, target: Target, token: str
) -> None:
    todo = page.get_by_role("img", name="to do")
    await expect(todo).to_have_count(2)
    await becomes_live(page)
    await send(relay, 0)
    await expect(todo).to_have_count(1)
    await expect(page.locator(".steps")).to_contain_text("relay-client connect --to")
    await relay.connect(token, "--to", target.address)
    await expect(page.locator(".steps")).to_have_count(0)


TOLD = """() => {
  window.told = [];
  const place = document.querySelector("[data-announced]");
  const note = () => told.push([Date.now(), Number(place.textContent.replace(/\\D/g, ""))]);
  new MutationObserver(note).observe(place, {childList: true});
}"""
ANNOUNCE_MS = 9_900  # between two announcements, at least: 10 s but for what clocks round


async def test_new_events_are_announced_and_those_that_follow_are_gathered(
    relay: Relay, page: Page
) -> None:
    """At most every 10 s, to who hears the page; and a list that was empty says so no more."""
    await open_list(relay, page)
    await expect(page.locator(".empty")).to_contain_text("No webhook came yet")
    await page.clock.install()
    await page.evaluate(TOLD)
    ids = [await send(relay, 0)]
    await becomes_true(page, "told.length === 1")
    await expect(page.locator(".empty")).to_be_hidden()
    for number in range(1, 4):
        ids.insert(0, await send(relay, number))
    await lists(page, ids)
    await page.clock.run_for(2 * ANNOUNCE_MS)
    await becomes_true(page, "told.reduce((sum, [, number]) => sum + number, 0) === 4")
    times = [at for at, _ in await page.evaluate("told")]
    assert all(next_ - at >= ANNOUNCE_MS for at, next_ in pairwise(times))
