"""Pages that anybody can use: what axe-core finds, and what fits into a narrow window."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Literal

from playwright.async_api import Browser, Page

from relay_server.web.language import LANGUAGES
from tests.support.browsing import enter
from tests.support.relay import Relay
from tests.support.story import EMPTY_PAGES, told

AXE = (files("axe_playwright_python") / "axe.min.js").read_text("utf-8")
FOUND = """async () => {
  const { violations } = await axe.run({ resultTypes: ["violations"], preload: false });
  const told = ({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html.slice(0, 99)).join()}`;
  return violations.filter(({ impact }) => ["serious", "critical"].includes(impact)).map(told);
}"""
# Each language with each theme, and with each width.
Theme = Literal["light", "dark"]
VIEWS: dict[str, tuple[tuple[Theme, int], ...]] = {
    "en": (("light", 1280), ("dark", 320)),
    "pt-BR": (("dark", 1280), ("light", 320)),
}
TOO_WIDE = "() => document.documentElement.scrollWidth > innerWidth"


async def problems(browser: Browser, relay: Relay, token: str, paths: dict[str, str]) -> list[str]:
    """What is wrong with any of these pages, in any language, theme and width."""
    found = list[str]()
    for language in LANGUAGES:
        context = await browser.new_context(locale=language)
        page = await context.new_page()
        await page.goto(f"{relay.url}/login")
        found += await _looked_at(page, f"login {language}", language)
        await enter(page, relay.url, token)
        for name, path in paths.items():
            await page.goto(relay.url + path)
            found += await _looked_at(page, f"{name} {language}", language)
        await context.close()
    return found


async def _looked_at(page: Page, name: str, language: str) -> list[str]:
    found = list[str]()
    await page.evaluate(AXE)
    for theme, width in VIEWS[language]:
        await page.emulate_media(color_scheme=theme)
        await page.set_viewport_size({"width": width, "height": 740})
        where = f"{name} {theme} {width}"
        found += [f"{where}: {one}" for one in await page.evaluate(FOUND)]
        if await page.evaluate(TOO_WIDE):
            found.append(f"{where}: it must be scrolled sideways")
    return found


async def test_axe_finds_nothing_serious_where_everything_has_happened(
    browser: Browser, tmp_path: Path
) -> None:
    async with told(tmp_path / "relay") as story:
        assert await problems(browser, story.relay, story.admin, story.pages()) == []


async def test_axe_finds_nothing_serious_where_nothing_has(browser: Browser, relay: Relay) -> None:
    admin = await relay.make_token("boss", "admin")
    assert await problems(browser, relay, admin, EMPTY_PAGES) == []
