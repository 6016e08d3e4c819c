"""Pages that anybody can use: what axe-core finds, and what fits into a narrow window.

axe-core looks at all of a page once. What else differs is looked at on the same page, by the rules
that it bears on: a narrow window by all but those of colours, other colours by those of colours, of
one text for each pair. Colours know no language. Those that are forced are the system's, of which
axe knows nothing: there all but them is looked at, and whether they are taken.
"""

from __future__ import annotations

import asyncio
from importlib.resources import files
from pathlib import Path

from playwright.async_api import Browser, Page

from relay_server.web.language import LANGUAGES
from tests.support.browsing import close, enter
from tests.support.relay import Relay
from tests.support.story import EMPTY_PAGES, told

# What a page gets before its own script: axe, and `seriousIn`, which tells what it finds.
AXE = f"""{(files("axe_playwright_python") / "axe.min.js").read_text("utf-8")}
(() => {{
  const COLOURS = ["color-contrast", "link-in-text-block"];
  const rules = Object.fromEntries(COLOURS.map((id) => [id, {{ enabled: false }}]));
  const LOOKS = {{ all: {{}}, structure: {{ rules }}, colours: {{ runOnly: COLOURS }} }};
  const ground = (at) => {{
    const {{ backgroundColor: colour, backgroundImage }} = getComputedStyle(at);
    const isSeen = colour !== "rgba(0, 0, 0, 0)" || !at.parentElement;
    return isSeen ? colour + backgroundImage : ground(at.parentElement);
  }};
  const kind = (one) => {{
    const {{ color, opacity, fontSize, fontWeight }} = getComputedStyle(one);
    return [one.tagName, color, opacity, fontSize, fontWeight, ground(one)].join();
  }};
  const isText = ({{ nodeType, data }}) => nodeType === Node.TEXT_NODE && data.trim();
  const eachColour = () => {{
    const found = new Map();
    for (const one of document.body.querySelectorAll("*"))
      if ([...one.childNodes].some(isText) && one.checkVisibility()) found.set(kind(one), one);
    return [...found.values()];
  }};
  const isForced = (one) => one.matches(".mark")
    ? getComputedStyle(one).maskImage.includes("marks")
    : getComputedStyle(one).forcedColorAdjust === "auto";
  window.seriousIn = async (look) => {{
    if (look === "forced") {{
      const all = [...document.body.querySelectorAll(":not(svg, svg *)")];
      const own = all.filter((one) => !isForced(one));
      return own.map(({{ outerHTML }}) => `keeps its colours: ${{outerHTML.slice(0, 99)}}`);
    }}
    const where = look === "colours" ? eachColour() : document;
    const options = {{ ...LOOKS[look], resultTypes: ["violations"], preload: false }};
    const {{ violations }} = await axe.run(where, options);
    const serious = violations.filter(({{ impact }}) => ["serious", "critical"].includes(impact));
    const begins = (nodes) => nodes.map(({{ html }}) => html.slice(0, 99)).join();
    return serious.map(({{ id, nodes }}) => `${{id}}: ${{begins(nodes)}}`);
  }};
}})();"""
WIDE, ZOOMED, NARROW = 1280, 640, 320  # zoomed: as a wide window at 200 % is
TOO_WIDE = "() => document.documentElement.scrollWidth > innerWidth"
LIGHT = {"color_scheme": "light", "forced_colors": "none"}
DARK = {"color_scheme": "dark", "forced_colors": "none"}
FORCED = {"color_scheme": "light", "forced_colors": "active"}


async def problems(browser: Browser, relay: Relay, token: str, paths: dict[str, str]) -> list[str]:
    """What is wrong with any of these pages, in any language, theme and width."""
    found = [_problems(browser, relay, token, paths, language) for language in LANGUAGES]
    return [one for some in await asyncio.gather(*found) for one in some]


async def _problems(
    browser: Browser, relay: Relay, token: str, paths: dict[str, str], language: str
) -> list[str]:
    found, colours = list[str](), language == "en"
    context = await browser.new_context(locale=language)
    await context.add_init_script(AXE)
    page = await context.new_page()
    await page.goto(f"{relay.url}/login")
    found += await _looked_at(page, f"login {language}", colours=colours)
    await enter(page, relay.url, token)
    for name, path in paths.items():
        await page.goto(relay.url + path)
        found += await _looked_at(page, f"{name} {language}", colours=colours)
    await close(context)
    return found


async def _looked_at(page: Page, name: str, *, colours: bool) -> list[str]:
    found = list[str]()

    async def look(width: int, theme: dict[str, str], *rules: str) -> None:
        await page.set_viewport_size({"width": width, "height": 740})
        await page.emulate_media(**theme)  # type: ignore[arg-type]
        for one in rules:
            wrong = await page.evaluate("look => seriousIn(look)", one)
            found.extend(f"{name} {width} {theme}: {text}" for text in wrong)
        if await page.evaluate(TOO_WIDE):
            found.append(f"{name} {width}: it must be scrolled sideways")

    await look(WIDE, LIGHT, "all" if colours else "structure")
    await look(ZOOMED, LIGHT)
    await look(NARROW, FORCED, "forced", "structure")
    if colours:
        await look(NARROW, LIGHT, "colours")
        await look(NARROW, DARK, "colours")
        await look(WIDE, DARK, "colours")
        await look(WIDE, FORCED, "forced", "structure")
    return found


async def test_axe_finds_nothing_serious_where_everything_has_happened(
    browser: Browser, tmp_path: Path
) -> None:
    async with told(tmp_path / "relay") as story:
        assert await problems(browser, story.relay, story.admin, story.pages()) == []


async def test_axe_finds_nothing_serious_where_nothing_has(browser: Browser, relay: Relay) -> None:
    admin = await relay.make_token("boss", "admin")
    assert await problems(browser, relay, admin, EMPTY_PAGES) == []
