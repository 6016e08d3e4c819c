"""What each page shows, also without JavaScript; and to whom."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Page, expect

from tests.browser.test_login import ask
from tests.support.browsing import close, enter
from tests.support.chatwoot import NAMES, fixture
from tests.support.relay import Relay
from tests.support.senders import request
from tests.support.target import Target

LONG_NUMBER = (
    b'{"event": "x", "id": 90071992547409931234, "id": 1.0, "10": 1,'
    b' "name": "Jo\\u00e3o", "api_key": "hush"}'
)


@pytest_asyncio.fixture(loop_scope="session")
async def plain(browser: Browser, relay: Relay, token: str) -> AsyncIterator[Page]:
    """A page of Ana's in a browser without JavaScript."""
    context = await browser.new_context(java_script_enabled=False)
    page = await context.new_page()
    await page.goto(f"{relay.url}/login")
    await page.fill("#k", token)
    await page.get_by_role("button", name="Log in").click()
    await page.wait_for_url(f"{relay.url}/")
    yield page
    await close(context)


async def send(relay: Relay, body: bytes, target: str = "/webhook") -> str:
    answer = await relay.send(request(target, body, token=relay.send_token))
    assert answer.status == 200, answer
    return str(answer.json["id"])


async def test_the_whole_of_it_works_without_javascript(
    relay: Relay, plain: Page, target: Target, token: str
) -> None:
    await relay.connect(token, "--to", target.address)
    ids = [await send(relay, fixture(name)) for name in NAMES]
    await target.received(len(ids))
    await plain.get_by_role("link", name="chatwoot").first.click()
    assert await plain.locator("[data-event-id]").count() == len(ids)
    await plain.get_by_label("Filter").fill("from:customer bolo")
    await plain.get_by_role("button", name="Show").click()
    await expect(plain.locator("[data-event-id]").first).to_contain_text("João Gonçalves")
    await plain.locator(".row-link").first.click()
    await expect(plain.locator("[data-pane=event]")).to_contain_text("delivered")
    await plain.get_by_role("link", name="Raw").click()
    await expect(plain.locator("pre.raw")).to_contain_text("message_created")
    await plain.get_by_role("button", name="Replay to me").click()
    await expect(plain.get_by_role("status").last).to_contain_text("sent again")
    await target.received(len(ids) + 1)
    await plain.get_by_role("link", name=re.compile("conversation 318")).click()
    await expect(plain.locator(".bubble").first).to_be_visible()
    await plain.get_by_role("button", name="Why no answer?").click()
    await expect(plain.get_by_text("Did a message of the customer come in?")).to_be_visible()


async def test_a_body_is_shown_as_it_came(relay: Relay, page: Page) -> None:
    event = await send(relay, LONG_NUMBER)
    await page.goto(f"{relay.url}/events/{event}")
    tree = page.locator(".tree")
    await expect(tree).to_contain_text("90071992547409931234")
    await expect(tree).to_contain_text("1.0")
    await expect(tree).to_contain_text("João")
    assert "hush" not in await page.content()
    names = await tree.locator(".leaf .name").all_inner_texts()
    assert [name.rstrip(":") for name in names] == ["event", "id", "id", "10", "name", "api_key"]


async def test_what_is_no_json_and_what_is_no_text_is_shown_all_the_same(
    relay: Relay, page: Page
) -> None:
    event = await send(relay, b'{"a": 1,\n  oops')
    await page.goto(f"{relay.url}/events/{event}")
    await expect(page.locator(".problem")).to_contain_text("line 2")
    await expect(page.locator("pre.raw")).to_contain_text("oops")
    event = await send(relay, b"\x00\x01\xff\xfe")
    await page.goto(f"{relay.url}/events/{event}")
    await expect(page.locator("pre.raw")).to_contain_text("00 01 ff fe")


async def test_a_filter_that_cannot_be_is_explained(relay: Relay, page: Page) -> None:
    await page.goto(f"{relay.url}/channels/chatwoot?q=is%3Afaild")
    await expect(page.get_by_role("alert")).to_contain_text("failed")


async def test_an_id_in_the_search_leads_to_its_event(relay: Relay, page: Page) -> None:
    event = await send(relay, b"{}")
    await page.get_by_role("searchbox").fill(event)
    await page.keyboard.press("Enter")
    await page.wait_for_url(f"{relay.url}/events/{event}")


async def test_a_search_for_what_only_begins_as_an_id_finds_nothing(
    relay: Relay, page: Page
) -> None:
    answer = await page.goto(f"{relay.url}/search?q=evt_a%0d%0aSet-Cookie:b")
    assert answer is not None
    assert answer.status == 200


@pytest.mark.parametrize(
    "key",
    ["a?b", "a#b", "a%2Fb", "a/b&c", "á <b>", 'a"b', "a\nb", "👩\u200d👧", "..", "%2e", "a//b"],
)
async def test_whatever_a_conversation_is_called_links_lead_to_it(
    key: str, relay: Relay, page: Page
) -> None:
    body = {"event": "message_created", "conversation": {"id": key}, "account": {"id": 2}}
    event = await send(relay, json.dumps(body).encode())
    for path in (
        "/channels/chatwoot",
        "/channels/chatwoot/conversations",
        f"/events/{event}",
    ):
        await page.goto(f"{relay.url}{path}")
        await page.locator("main a[href^='/conversations/chatwoot']").first.click()
        await expect(page.get_by_role("heading", level=1)).to_contain_text("Conversation")
        await expect(page.locator("body")).to_have_attribute("data-key", f"2/{key}")


async def test_what_was_refused_says_why(relay: Relay, page: Page) -> None:
    await relay.control("POST", "tokens", {"name": "boss", "scopes": ["admin"]})
    assert (await relay.send(request("/webhook", b"{}", token="rly_wrong"))).status == 401
    await page.goto(f"{relay.url}/refused")
    await expect(page.get_by_role("heading", name="Refused requests")).to_be_visible()


async def test_a_channel_of_others_is_not_there(relay: Relay, page: Page) -> None:
    await relay.control("POST", "channels", {"name": "secret"})
    event = await send(relay, b'{"event": "hidden-kind"}', "/c/secret/webhook")
    for path in ("/channels/secret", f"/events/{event}", "/conversations/secret/1"):
        answer = await page.goto(f"{relay.url}{path}")
        assert answer is not None
        assert answer.status == 404, path
    for path in ("/", "/subscriptions", "/dead", "/refused", "/search?q=hidden-kind"):
        await page.goto(f"{relay.url}{path}")
        shown = await page.locator("main, nav").all_inner_texts()
        assert not any("secret" in text or event in text for text in shown), path


async def test_what_is_anothers_is_answered_as_what_is_not_there(
    relay: Relay, page: Page, context: BrowserContext
) -> None:
    await relay.control("POST", "channels", {"name": "secret"})
    event = await send(relay, b'{"event": "hidden-kind"}', "/c/secret/webhook")
    own = await send(relay, b'{"event": "mine"}')
    unknown = event[:-1] + ("1" if event.endswith("0") else "0")
    cookies = "; ".join(f"{c['name']}={c['value']}" for c in await context.cookies())
    fields = f"Host: 127.0.0.1:{relay.port}\r\nCookie: {cookies}\r\n\r\n"
    for path, theirs, nobodys in (
        ("/channels/{}", "secret", "nobody"),
        ("/conversations/{}/1", "secret", "nobody"),
        ("/events/{}", event, unknown),
        (f"/compare?a={own}&b={{}}", event, unknown),
    ):
        shown = list[bytes]()
        for name in (theirs, nobodys):
            answer = await ask(relay, f"GET {path.format(name)} HTTP/1.1\r\n{fields}")
            assert answer.status == 404
            text = answer.body.replace(name.encode(), b"NAME")
            shown.append(re.sub(rb"[0-9]+", b"0", text))  # when the page was made
        assert shown[0] == shown[1], path


async def test_a_subscription_is_paused_and_resumed(relay: Relay, browser: Browser) -> None:
    admin = await relay.make_token("boss", "admin")
    ana = await relay.make_token("ana", "subscribe")
    client = await relay.connect(ana, "--to", "127.0.0.1:1")
    client.terminate()
    await client.exit_status()
    context = await browser.new_context()
    page = await context.new_page()
    await page.goto(f"{relay.url}/login?then=/subscriptions")
    await page.fill("#k", admin)
    await page.get_by_role("button", name="Log in").click()
    await page.get_by_role("button", name="Pause").click()
    await expect(page.locator("main")).to_contain_text("paused by hand")
    await page.get_by_role("button", name="Resume").click()
    await expect(page.get_by_role("button", name="Pause")).to_be_visible()
    await close(context)


async def test_what_pages_are_made_of_is_shown_to_administrators_alone(
    relay: Relay, page: Page
) -> None:
    answer = await page.goto(f"{relay.url}/styleguide")
    assert answer is not None
    assert answer.status == 403
    await enter(page, relay.url, await relay.make_token("boss", "admin"))
    await page.goto(f"{relay.url}/styleguide")
    for theme, colour in (("light", "rgb(255, 255, 255)"), ("dark", "rgb(18, 22, 28)")):
        part = page.locator(f"[data-theme={theme}]")
        await expect(part).to_have_css("background-color", colour)
        await expect(part.locator("[data-event-id]")).to_have_count(6)
