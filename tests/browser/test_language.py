"""The dashboard in Brazilian Portuguese: whose pages speak it, and that nothing in them is left."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from docs import words
from relay_server.web.language import preferred
from relay_terminal.words import _, speak
from tests.browser.test_pages import send
from tests.support.browsing import becomes_live, close
from tests.support.chatwoot import fixture
from tests.support.relay import Relay
from tests.support.senders import request
from tests.support.target import BROKEN, Target, always

NO_CONVERSATION = b"HTTP/1.1 500 Odd\r\nContent-Length: 23\r\n\r\nNone is no conversation"
SIGNS = " ·,.:()\u2039\u203a"  # around a sentence
# What people read on a page: but for what strangers wrote, and what is to be copied.
READ = """() => {
  const own = "bdi, code, pre, script, style, option, textarea, .rail .channel";
  const texts = [document.title];
  const walk = document.createTreeWalker(document.documentElement, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const { parentElement, data } = walk.currentNode;
    if (!parentElement.closest(own)) texts.push(data);
  }
  const names = ["aria-label", "title", "placeholder"];
  const all = (name) => [...document.querySelectorAll(`[${name}]`)];
  const said = (name) => all(name).map((one) => one.getAttribute(name));
  texts.push(...names.flatMap(said));
  return texts;
}"""


def english() -> set[str]:
    """Each piece of a sentence of pages, between its fields, that Portuguese has otherwise."""
    speak("pt_BR")
    found = set[str]()
    for one in words.on_pages():
        text = one if isinstance(one, str) else one[1]
        if _(text) != text:
            found |= {piece.strip(SIGNS) for piece in re.split(r"\{[^}]*\}", text)}
    speak("")
    return {piece for piece in found if len(piece) > 3 and not piece.startswith("is:")}


@pytest_asyncio.fixture(loop_scope="session")
async def page_pt(relay: Relay, browser: Browser) -> AsyncIterator[Page]:
    """An administrator's page, in a browser that prefers Portuguese."""
    admin = await relay.make_token("boss", "admin")
    context = await browser.new_context(locale="pt-BR")
    page = await context.new_page()
    await page.goto(f"{relay.url}/login")
    await expect(page.get_by_role("heading")).to_have_text(f"Entrar em {relay.url[7:]}")
    await page.fill("#k", admin)
    await page.get_by_role("button", name="Entrar").click()
    await page.wait_for_url(f"{relay.url}/")
    yield page
    await close(context)


async def test_no_english_sentence_stands_on_a_portuguese_page(
    relay: Relay, page_pt: Page, token: str
) -> None:
    client = await relay.connect(token, "--to", "127.0.0.1:1")
    event = await send(relay, fixture("message_created_incoming"))
    broken = await send(relay, b"no json")
    client.terminate()
    await client.exit_status()
    unwanted = english()
    assert "Replay to me" in unwanted
    await page_pt.goto(f"{relay.url}/channels/chatwoot/conversations")
    talk = await page_pt.locator(".talks a").first.get_attribute("href")
    paths = [
        *("/channels/chatwoot/conversations", str(talk), f"{talk}?why=1"),
        *("/", "/subscriptions", "/dead", "/refused", "/setup", "/search?q=bolo"),
        *("/channels/chatwoot", "/channels/chatwoot?q=kind%3Anone"),
        *(f"/events/{event}", f"/events/{event}?view=headers", f"/events/{broken}"),
        *(f"/events/{event}/edit", f"/events/{event}/as/curl", f"/compare?a={broken}&b={event}"),
    ]
    for path in paths:
        answer = await page_pt.goto(f"{relay.url}{path}")
        assert answer is not None
        assert answer.ok, path
        await expect(page_pt.locator("html")).to_have_attribute("lang", "pt-BR")
        read = [piece for text in await page_pt.evaluate(READ) for piece in re.split("[·\n]", text)]
        assert {piece.strip(SIGNS) for piece in read} & unwanted == set(), path


async def test_why_a_delivery_failed_is_said_in_portuguese(
    relay: Relay, page_pt: Page, target: Target, token: str
) -> None:
    target.answer = always(BROKEN)
    await relay.connect(token, "--to", target.address)
    event = await send(relay, b"{}")
    await page_pt.goto(f"{relay.url}/events/{event}")
    await expect(page_pt.locator("#answers")).to_contain_text("o destino respondeu 500")


async def test_what_a_target_answered_stays_as_it_came(
    relay: Relay, page_pt: Page, target: Target, token: str
) -> None:
    """Also where it reads like a sentence of the relay's own."""
    target.answer = always(NO_CONVERSATION)
    await relay.connect(token, "--to", target.address)
    await send(relay, fixture("message_created_incoming"))
    await page_pt.goto(f"{relay.url}/conversations/chatwoot/2/318?subscription=ana")
    await expect(page_pt.locator(".got .care")).to_contain_text("None is no conversation · ")


async def test_why_a_request_was_refused_is_said_in_portuguese(relay: Relay, page_pt: Page) -> None:
    await relay.send(request("/webhook", b"{}", token="rly_none"))
    await page_pt.goto(f"{relay.url}/refused")
    said = page_pt.locator(".refused li").first
    await expect(said).to_contain_text("token desconhecido")
    await expect(said).to_contain_text("um pedaço de token: 8 caracteres")
    await page_pt.goto(f"{relay.url}/channels/chatwoot?q=status%3Aodd")
    await expect(page_pt.get_by_role("alert")).to_contain_text("não é um status")


async def test_the_script_speaks_as_the_page_does(relay: Relay, page_pt: Page) -> None:
    await page_pt.goto(f"{relay.url}/channels/chatwoot")
    await becomes_live(page_pt)
    await expect(page_pt.locator("[data-feed-text]")).to_have_text("● ao vivo")


async def test_the_language_is_chosen_on_a_page_and_kept(relay: Relay, page: Page) -> None:
    await page.goto(f"{relay.url}/setup")
    await page.get_by_role("button", name="Português").click()
    await page.wait_for_url(f"{relay.url}/setup")
    await expect(page.get_by_role("heading", level=1)).to_have_text("Configuração")
    await page.goto(f"{relay.url}/dead")
    await page.get_by_role("button", name="English").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Dead deliveries")


@pytest.mark.parametrize(
    ("accepted", "expected"),
    [
        ("", "en"),
        ("*", "en"),
        ("pt-BR,pt;q=0.9,en;q=0.8", "pt-BR"),
        ("pt-PT", "pt-BR"),
        ("de,en;q=0.8,pt;q=0.5", "en"),
        ("fr, ,;;,PT", "pt-BR"),
    ],
)
def test_the_language_that_a_browser_prefers(accepted: str, expected: str) -> None:
    assert preferred(accepted) == expected
