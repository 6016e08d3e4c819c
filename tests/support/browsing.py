"""What a browser meets on pages: what its console says, what was blocked, what it asks for."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field

from playwright.async_api import BrowserContext, ConsoleMessage, Page

from tests.support.waiting import until_true

CLOSE_S = 10.0  # a context that can be closed is within a moment

# Whether a page is seen: Chromium without a window shows all of its tabs.
SHOW = """is => {
  Object.defineProperty(document, "hidden", {value: !is, configurable: true});
  const state = is ? "visible" : "hidden";
  Object.defineProperty(document, "visibilityState", {value: state, configurable: true});
  document.dispatchEvent(new Event("visibilitychange"));
}"""


@dataclass
class Seen:
    """What happened on all pages of a browser.

    Attributes:
        problems: Errors of scripts, what the content policy blocked, dialogs.
        requests: URLs that were asked for.
    """

    problems: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


def opened(context: BrowserContext) -> Seen:
    """Note what happens on the pages of a browser from now on."""
    seen = Seen()

    def note(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and "Failed to load resource" not in message.text:
            seen.problems.append(message.text)

    def watch(page: Page) -> None:
        page.on("console", note)
        page.on("pageerror", lambda error: seen.problems.append(str(error)))
        page.on("dialog", lambda dialog: seen.problems.append(f"dialog: {dialog.message}"))
        page.on("request", lambda request: seen.requests.append(request.url))

    context.on("page", watch)
    return seen


async def close(context: BrowserContext) -> None:
    """Close a context, as far as Chromium does.

    It never answers to that where it comes just when a page's navigation is about to be committed,
    as that of a page whose feed has ended; such a context stays until its browser is closed.
    """
    with suppress(TimeoutError):
        async with asyncio.timeout(CLOSE_S):
            await context.close()


async def becomes_live(page: Page) -> None:
    """Wait until the page's feed is."""
    await page.wait_for_selector("body[data-feed=live]")


async def becomes_true(page: Page, script: str) -> None:
    """Wait until an expression in a page is true.

    Playwright's `wait_for_function` compiles the expression in the page, which its content policy
    refuses from the second look on: it serves only what is true at once.
    """
    await until_true(lambda: page.evaluate(script))


async def event_ids(page: Page) -> list[str]:
    """Ids of the events that a page lists, in its order."""
    found: list[str] = await page.eval_on_selector_all(
        "[data-event-id]", "rows => rows.map(row => row.dataset.eventId)"
    )
    return found


async def lists(page: Page, ids: list[str]) -> None:
    """Wait until a page lists these events, in this order and no others."""

    async def is_so() -> bool:
        return await event_ids(page) == ids

    await until_true(is_so)


async def enter(page: Page, url: str, token: str) -> None:
    """Log in with a token, in any language."""
    await page.goto(f"{url}/login")
    await page.fill("#k", token)
    await page.keyboard.press("Enter")
    await page.wait_for_url(f"{url}/")
