"""Pages that nobody sees: another tab is in front of them, or the window is put away."""

from __future__ import annotations

from playwright.async_api import Page

from tests.browser.test_live import open_list, send
from tests.support.browsing import SHOW, Seen, becomes_live, event_ids, lists
from tests.support.relay import Relay
from tests.support.waiting import until_true

HIDDEN_MS = 30_000  # after which a page that nobody sees lets go of its feed
LONG_MS = 3_600_000


async def has_feeds(relay: Relay, number: int) -> None:
    """Wait until so many are read."""

    async def are_so_many() -> bool:
        return f"\nrelay_feeds {number:.1f}\n" in await relay.metrics()

    await until_true(are_so_many)


async def test_a_page_that_nobody_sees_holds_no_feed_after_30_s_and_lacks_nothing_later(
    relay: Relay, page: Page, seen: Seen
) -> None:
    await page.clock.install()
    ids = [await send(relay, 0)]
    await open_list(relay, page)
    await has_feeds(relay, 1)
    await page.evaluate(SHOW, False)
    await page.clock.fast_forward(HIDDEN_MS - 2_000)
    await has_feeds(relay, 1)
    await page.clock.fast_forward(2_000)
    await has_feeds(relay, 0)

    seen.requests.clear()
    ids = [*[await send(relay, number) for number in range(1, 6)][::-1], *ids]
    await page.clock.fast_forward(LONG_MS)
    await has_feeds(relay, 0)
    assert await event_ids(page) == ids[-1:]
    assert seen.requests == []

    await page.evaluate(SHOW, True)
    await becomes_live(page)
    await lists(page, ids)
