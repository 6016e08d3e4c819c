"""Editing an event: quick fields, lines, mistakes, past tries, and the answer on the same page."""

from __future__ import annotations

import hmac
import json

import pytest
from playwright.async_api import Browser, Page, expect

from tests.browser.test_doing import INCOMING, log_in
from tests.browser.test_pages import plain, send
from tests.support.browsing import close
from tests.support.relay import Relay
from tests.support.senders import request
from tests.support.target import BROKEN, OK, Target, always

__all__ = ["plain"]
DELIVERY = [("X-Chatwoot-Delivery", "0b1c2d3e-0000-4000-8000-000000000001")]
DIGITS = (
    '{ "id":90071992547409931234,\n "content" : "a\\u0026b", "sender":{"name":"Ana"},'
    ' "conversation":{"status":"open"},"n":1.50}'
)


async def test_quick_fields_write_into_the_body_and_nothing_else(relay: Relay, page: Page) -> None:
    event = await send(relay, DIGITS.encode())
    await page.goto(f"{relay.url}/events/{event}/edit")
    body = page.locator("[data-body]")
    await page.get_by_label("content").fill('“é" & more')
    await page.get_by_label("status").fill("resolved")
    edited = DIGITS.replace('"a\\u0026b"', '"“é\\" & more"').replace('"open"', '"resolved"')
    assert await body.input_value() == edited
    await body.fill(edited.replace("Ana", "Bia"))
    await expect(page.get_by_label("sender name")).to_have_value("Bia")
    chips = page.locator("[data-changes] .chip")
    await expect(chips).to_have_text(["/content", "/sender/name", "/conversation/status"])
    await page.reload()
    await expect(page.get_by_label("sender name")).to_have_value("Bia")
    await body.fill("[]")
    await expect(page.get_by_label("sender name")).to_be_disabled()


async def test_quick_fields_work_without_javascript(
    relay: Relay, plain: Page, target: Target, token: str
) -> None:
    await relay.connect(token, "--to", target.address)
    event = await send(relay, INCOMING)
    await plain.goto(f"{relay.url}/events/{event}/edit")
    await plain.get_by_label("content").fill("torta?\ne café")
    await plain.get_by_role("button", name="Apply to the body").click()
    body = plain.locator("[data-body]")
    assert '"content":"torta?\\ne café"' in await body.input_value()
    await body.fill((await body.input_value()) + "}")
    await plain.get_by_label("sender name").fill("Bia")  # what is sent has it, applied or not
    await plain.get_by_role("button", name="Apply to the body").click()
    await expect(plain.locator("[data-json]")).to_contain_text("This is no JSON: line 1, column")
    await body.fill((await body.input_value())[:-1])
    await plain.get_by_label("inbox").fill("Loja")
    await plain.get_by_role("button", name="Send").click()
    await target.received(2)
    was, sent = json.loads(INCOMING), json.loads(target.arrivals[-1].body)
    assert (sent["content"], sent["sender"]["name"], sent["inbox"]["name"]) == (
        "torta?\ne café",
        "Bia",
        "Loja",
    )
    assert {name for name in was if was[name] != sent[name]} == {"content", "sender", "inbox"}

    await plain.goto(f"{relay.url}/events/{event}/edit")
    await plain.locator(".try").click()
    assert "Loja" in await body.input_value()


async def test_a_field_of_one_line_leaves_what_it_cannot_hold(
    relay: Relay, page: Page, plain: Page, target: Target, token: str
) -> None:
    await relay.connect(token, "--to", target.address)
    came = INCOMING.replace("João Gonçalves".encode(), "João\\nGonçalves".encode())
    event = await send(relay, came)
    for one in (page, plain):
        await one.goto(f"{relay.url}/events/{event}/edit")
        await one.get_by_role("button", name="Send").click()
        await expect(one.get_by_text("It is sent, to this subscription alone.")).to_be_visible()
    await target.received(3)
    assert [one.body for one in target.arrivals] == [came] * 3


async def test_enter_in_a_field_sends(relay: Relay, page: Page, target: Target, token: str) -> None:
    await relay.connect(token, "--to", target.address)
    event = await send(relay, DIGITS.encode())
    await page.goto(f"{relay.url}/events/{event}/edit")
    await page.get_by_label("sender name").fill("Bia")
    await page.get_by_label("sender name").press("Enter")
    await expect(page.locator("[data-answer]")).to_contain_text("delivered · 200")
    await target.received(2)
    assert target.arrivals[-1].body.decode() == DIGITS.replace("Ana", "Bia")


async def test_a_mistake_has_a_line_and_a_column_and_lines_have_numbers(
    relay: Relay, page: Page
) -> None:
    event = await send(relay, b'{"a": 1}')
    await page.goto(f"{relay.url}/events/{event}/edit")
    await page.locator("[data-body]").fill('{\n  "a": 1,\n  oops\n}')
    await expect(page.locator("[data-json]")).to_contain_text("line 3, column 3")
    await expect(page.get_by_role("button", name="Format")).to_be_disabled()
    assert await page.locator("[data-lines]").inner_text() == "1\n2\n3\n4"


async def test_the_answer_shows_below_and_each_try_can_be_gone_back_to(
    relay: Relay, page: Page, target: Target, token: str
) -> None:
    await relay.connect(token, "--to", target.address)
    event = await send(relay, b'{"a": 1}')
    edit = f"{relay.url}/events/{event}/edit"
    await page.goto(edit)
    body, answer, tries = [page.locator(s) for s in ("[data-body]", "[data-answer]", ".try")]
    target.answer = always(BROKEN)
    await body.fill('{"a": 2}')
    await body.press("Control+Enter")
    await expect(answer).to_contain_text("retrying · 500")
    await expect(tries.get_by_label("retrying")).to_be_visible()
    target.answer = always(OK)
    await body.fill('{"a": 3}')
    await body.press("Control+Enter")
    await expect(answer).to_contain_text("delivered · 200")
    await expect(tries).to_have_count(2)
    await expect(tries.first.get_by_label("delivered")).to_be_visible()
    assert page.url == edit
    await tries.last.click()
    await expect(body).to_have_value('{"a": 2}')
    await expect(page.locator("[data-changes] .chip")).to_have_text(["/a"])


async def test_what_cannot_be_sent_is_said_and_nothing_is_lost(
    relay: Relay, page: Page, plain: Page, token: str, target: Target
) -> None:
    await relay.connect(token, "--to", target.address)
    event = await send(relay, b'{"a": 1}')
    for one in (page, plain):
        await one.goto(f"{relay.url}/events/{event}/edit")
        await one.locator("[data-body]").fill('{"a": 7}')
        await one.get_by_label("Method").fill("NO WAY")
        await one.get_by_role("button", name="Send").click()
        await expect(one.locator(".problem")).to_be_visible()
        assert await one.locator("[data-body]").input_value() == '{"a": 7}'
        assert await one.get_by_label("Method").input_value() == "NO WAY"


async def test_a_forward_gets_an_edited_event_once_its_name_is_typed(
    relay: Relay, browser: Browser, target: Target
) -> None:
    forward = {"name": "production", "url": f"http://{target.address}/webhook"}
    await relay.control("POST", "forwards", forward | {"channel": "chatwoot"})
    event = await send(relay, b'{"a": 1}')
    await target.received(1)
    context = await browser.new_context()
    page = await log_in(relay, context, await relay.make_token("boss", "admin"))
    await page.goto(f"{relay.url}/events/{event}/edit")
    await page.locator("[data-body]").fill('{"a": 2}')
    await expect(page.locator("[name=subscription]:checked")).to_have_count(0)
    await page.get_by_role("radio", name="production").check()
    await page.get_by_role("button", name="Send").click()
    await expect(page.locator(".problem")).to_contain_text("production is a forward")
    assert len(target.arrivals) == 1
    await page.get_by_label("type its name").fill("production")
    await page.get_by_role("button", name="Send").click()
    await target.received(2)
    assert target.arrivals[-1].body == b'{"a": 2}'
    await close(context)


@pytest.mark.parametrize("new", [True, False], ids=["new", "kept"])
async def test_a_delivery_id_is_kept_unless_another_is_asked_for(
    new: bool, relay: Relay, page: Page, target: Target, token: str
) -> None:
    await relay.connect(token, "--to", target.address)
    event = (
        await relay.send(request("/webhook", b"{}", token=relay.send_token, headers=DELIVERY))
    ).json["id"]
    await page.goto(f"{relay.url}/events/{event}/edit")
    await page.get_by_label("a new delivery id of its sender").set_checked(new)
    await page.get_by_role("button", name="Send").click()
    await target.received(2)
    was, sent = [one.header(b"X-Chatwoot-Delivery") for one in target.arrivals]
    assert (was != sent) is new
    assert len(sent) == len(was)


async def test_who_gets_it_and_what_signs_it_is_chosen(
    relay: Relay, page: Page, target: Target, token: str
) -> None:
    await relay.connect(token, "--to", target.address)
    await relay.connect(await relay.make_token("bia", "subscribe"), "--to", "localhost:9")
    event = await send(relay, b'{"event": "a", "pubsub_token":"s3cret"}')
    secrets = ["one", "two"]
    await relay.control(
        "PATCH",
        "channels/chatwoot",
        {"hmac_scheme": "github", "hmac_secrets": secrets, "hmac_log_only": True},
    )
    await page.goto(f"{relay.url}/events/{event}/edit")
    assert "s3cret" not in await page.content()
    await expect(page.get_by_role("radio", name="only me, ana")).to_be_checked()
    await expect(page.get_by_role("radio", name="bia")).to_be_visible()
    await expect(page.get_by_role("radio", name="as the headers say")).to_be_checked()
    await page.get_by_role("radio", name="secret 2 of 2").check()
    body = page.locator("[data-body]")
    await body.fill((await body.input_value()).replace('"a"', '"b"'))
    await page.get_by_role("button", name="Send").click()
    await target.received(2)
    sent = target.arrivals[-1]
    assert sent.body == b'{"event": "b", "pubsub_token":"s3cret"}'
    signed = hmac.new(b"two", sent.body, "sha256").hexdigest()
    assert sent.header(b"X-Hub-Signature-256") == f"sha256={signed}".encode()
