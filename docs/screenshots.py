"""Takes a picture of every page of the dashboard: `make screenshots [PAGE …]`.

They lie in `build/screenshots`, as `PAGE-full|empty-LANGUAGE-THEME-WIDTH.png`: of a relay on which
everything has happened, and of one on which nothing has. Emoji are boxes where no font has them: on
Debian, `apt install fonts-noto-color-emoji`.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Literal

from playwright.async_api import Browser, async_playwright

from relay_server.web.language import LANGUAGES
from tests.support.browsing import becomes_live, enter
from tests.support.needs import need_program
from tests.support.relay import Relay, open_relay
from tests.support.story import EMPTY_PAGES, told

FOLDER = Path(__file__).parents[1] / "build" / "screenshots"
THEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
HEIGHTS = {1280: 800, 360: 740}  # by width, of a desktop and of a phone


async def take(browser: Browser, relay: Relay, token: str, pages: Mapping[str, str]) -> None:
    """A picture of each page, in each language, theme and width."""
    for language, theme in product(LANGUAGES, THEMES):
        context = await browser.new_context(
            locale=language, color_scheme=theme, timezone_id="America/Sao_Paulo"
        )
        page = await context.new_page()
        await enter(page, relay.url, token)
        for name, path in pages.items():
            await page.goto(relay.url + path)
            if await page.locator("body[data-feed]").count():
                await becomes_live(page)
            for width, height in HEIGHTS.items():
                await page.set_viewport_size({"width": width, "height": height})
                file = FOLDER / f"{name}-{language}-{theme}-{width}.png"
                await page.screenshot(path=file, full_page="styleguide" in name)
        await context.close()


async def main(names: list[str]) -> None:
    """Take those of some pages, or of all."""

    def chosen(pages: Mapping[str, str], state: str) -> dict[str, str]:
        every = {"login": "/login", **pages}
        return {f"{n}-{state}": path for n, path in every.items() if n in names or not names}

    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        async with async_playwright() as playwright:
            program = need_program("chromium", "chromium")
            browser = await playwright.chromium.launch(
                executable_path=program, args=["--no-sandbox"]
            )
            async with told(Path(place) / "full") as story:
                pages = chosen(story.pages(), "full")
                await take(browser, story.relay, story.admin, pages)
            async with open_relay(Path(place) / "empty") as relay:
                admin = await relay.make_token("boss", "admin")
                await take(browser, relay, admin, chosen(EMPTY_PAGES, "empty"))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
