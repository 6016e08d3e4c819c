"""Searching: what is found is marked and counted, and it is said how far was looked."""

from __future__ import annotations

import json
import re
from urllib.parse import quote

import pytest
from playwright.async_api import Page, expect

from tests.browser.test_pages import send
from tests.support.browsing import event_ids
from tests.support.chatwoot import fixture
from tests.support.relay import Relay
from tests.support.texts import HARD_QUESTIONS
from tests.support.waiting import until_true

MESSAGE = {
    "event": "message_created",
    "content": "O pedido 90412 não chegou",
    "sender": {"name": "João", "email": "joao@exemplo.com.br", "phone_number": "+5511987654321"},
}
MOST = 2_000  # characters that the field takes
TOO_MUCH = 10_000  # characters, of which no browser's field takes as many


async def test_found_words_are_marked_and_the_page_says_how_far_it_looked(
    relay: Relay, page: Page
) -> None:
    for name in ("message_created_incoming", "conversation_created", "contact_created"):
        await send(relay, fixture(name))
    await page.goto(f"{relay.url}/search?q=JOAO+bol*+kind:message_created")
    await expect(page.locator("[data-event-id]")).to_have_count(1)
    assert await page.locator("mark").all_inner_texts() == ["João", "bolo"]
    truth = page.locator(".truth")
    await expect(truth).to_contain_text("1 found · all of the channel was searched")
    await truth.get_by_role("link", name="Watch what comes").click()
    await expect(page.get_by_label("Filter", exact=True)).to_have_value(
        "JOAO bol* kind:message_created"
    )


async def test_an_address_of_a_chatwoot_leads_to_the_conversation(relay: Relay, page: Page) -> None:
    await send(relay, fixture("message_created_incoming"))
    await page.goto(relay.url)
    for address in ("conversations/318", "inbox/3/conversations/318?messageId=7"):
        search = page.get_by_role("searchbox")
        await search.fill(f"https://chat.example.com/app/accounts/2/{address}")
        await search.press("Enter")
        await page.wait_for_url(f"{relay.url}/conversations/chatwoot/2/318")


@pytest.fixture
def bodies() -> list[bytes]:
    """One that is searched for among many like it, and one that is about something else."""
    likes = [json.dumps(MESSAGE | {"id": number}).encode() for number in range(7)]
    return [*likes, b'{"event": "message_created", "content": "obrigada, Maria"}']


async def test_words_names_addresses_and_numbers_are_found_and_counted(
    relay: Relay, page: Page, bodies: list[bytes]
) -> None:
    *ids, _ = [await send(relay, body) for body in bodies]

    async def is_indexed() -> bool:
        found = await relay.control("GET", "events?channel=chatwoot&limit=1&q=oi")
        return bool(found["indexed_to"] == found["newest"] == len(bodies))

    await until_true(is_indexed)
    for asked in ("nao chegou", "joao", "joao@exemplo.com.br", "+5511987654321", '"pedido 90412"'):
        await page.goto(f"{relay.url}/search?q={quote(asked)}")
        assert await event_ids(page) == ids[::-1], asked
        await expect(page.locator(".truth")).to_contain_text(f"{len(ids)} found")


async def test_whatever_is_searched_for_is_answered_or_explained(
    relay: Relay, page: Page, bodies: list[bytes]
) -> None:
    for body in bodies:
        await send(relay, body)
    for asked in HARD_QUESTIONS:
        answer = await page.request.get(f"{relay.url}/search?q={quote(asked[:MOST])}")
        assert answer.status in {200, 422}, asked[:99]
        shown = await answer.text()
        rows = shown.count("data-event-id=")
        said = re.search(r'class="truth">(\d+) found', shown)
        assert int(said[1]) == rows if said else 'class="problem"' in shown, asked[:99]
    answer = await page.request.get(f"{relay.url}/search?q={'a' * TOO_MUCH}")
    assert answer.status == 414
    assert "longer than" in await answer.text()
