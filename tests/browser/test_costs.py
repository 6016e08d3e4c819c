"""What a page costs: bytes and requests; and what may not be told by how far it shrinks."""

from __future__ import annotations

import asyncio
import re

from playwright.async_api import BrowserContext, Page

from tests.browser.test_login import ask
from tests.support.browsing import becomes_live
from tests.support.chatwoot import NAMES, fixture
from tests.support.relay import Relay
from tests.support.senders import request

MAX_BYTES = 50_000  # of a page that a browser sees for the first time
MAX_REQUESTS = 4  # for it: itself, style sheet, script and marks; its feed is none of its parts
HERE = {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Dest": "document"}
ELSEWHERE = HERE | {"Sec-Fetch-Site": "cross-site"}
SCRIPT = HERE | {"Sec-Fetch-Dest": "empty"}
FORM_KEY = re.compile(r'name="form_key" value="([0-9a-f]+)"')


async def test_a_first_page_is_small_and_made_of_few(
    relay: Relay, page: Page, context: BrowserContext
) -> None:
    bodies = [fixture(name) for name in NAMES] * 3
    await asyncio.gather(
        *[relay.send(request("/webhook", body, token=relay.send_token)) for body in bodies]
    )
    browser = await context.new_cdp_session(page)
    await browser.send("Network.enable")
    await browser.send("Network.clearBrowserCache")
    asked, sizes = list[tuple[str, str]](), list[int]()
    browser.on(
        "Network.requestWillBeSent",
        lambda sent: asked.append((sent["type"], sent["request"]["url"])),
    )
    browser.on("Network.loadingFinished", lambda done: sizes.append(done["encodedDataLength"]))
    await page.goto(f"{relay.url}/channels/chatwoot")
    await becomes_live(page)
    assert await page.locator("[data-event-id]").count() == 50
    assert sum(sizes) <= MAX_BYTES
    # Chromium asks for the marks twice, as a picture and as the page's icon: once of its own cache.
    parts = {url for kind, url in asked if kind not in ("EventSource", "Fetch")}
    assert len(parts) <= MAX_REQUESTS
    kinds = [kind for kind, _ in asked]
    assert kinds.count("Stylesheet") == kinds.count("Script") == kinds.count("Document") == 1


async def test_what_another_site_may_have_put_into_a_page_is_not_compressed(
    relay: Relay, page: Page, context: BrowserContext
) -> None:
    cookies = "; ".join(f"{c['name']}={c['value']}" for c in await context.cookies())
    fields = {"Host": f"127.0.0.1:{relay.port}", "Cookie": cookies, "Accept-Encoding": "gzip"}
    for path, told, compressed in (
        ("/search?q=guess", HERE, True),
        ("/search?q=guess", ELSEWHERE, False),
        ("/search?q=guess", SCRIPT, False),
        ("/search?q=guess", {}, False),
        ("/setup", ELSEWHERE, True),
    ):
        lines = [f"{name}: {value}\r\n" for name, value in (fields | told).items()]
        answer = await ask(relay, f"GET {path} HTTP/1.1\r\n{''.join(lines)}\r\n")
        assert answer.status == 200
        assert (("Content-Encoding", "gzip") in answer.headers) is compressed, (path, told)


async def test_what_forms_bring_is_another_text_in_each_page_and_good_in_all(
    relay: Relay, page: Page, context: BrowserContext
) -> None:
    other = await context.new_page()
    await other.goto(f"{relay.url}/dead")
    shown = [FORM_KEY.findall(await one.content()) for one in (page, other)]
    assert len({*shown[0], *shown[1]}) == 2
    await page.get_by_role("button", name="Log out").click()
    await page.wait_for_url(f"{relay.url}/login")
    await other.wait_for_url(f"{relay.url}/login")
