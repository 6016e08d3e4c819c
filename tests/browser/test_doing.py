"""What one does on pages: edit and send, pin, compare, make tokens and invitations."""

from __future__ import annotations

import asyncio
import re

import pytest
from playwright.async_api import Browser, BrowserContext, Dialog, Page, expect

from tests.browser.test_pages import send
from tests.support.browsing import close, event_ids, lists
from tests.support.chatwoot import SECRET, fixture, headers, message, signature, webhook
from tests.support.relay import Relay
from tests.support.senders import request
from tests.support.target import BROKEN, OK, Arrival, Target, always
from tests.support.waiting import until

INCOMING = fixture("message_created_incoming")


async def log_in(relay: Relay, context: BrowserContext, token: str, path: str = "/") -> Page:
    page = await context.new_page()
    await page.goto(f"{relay.url}/login?then={path}")
    await page.fill("#k", token)
    await page.get_by_role("button", name="Log in").click()
    await page.wait_for_url(f"{relay.url}{path}")
    return page


@pytest.mark.parametrize(
    "edited", ['{"content": "Olá 😀"}', "no JSON {", "a\nb\n\n"], ids=["json", "text", "lines"]
)
async def test_what_was_edited_reaches_the_chosen_subscription_alone(
    edited: str, relay: Relay, page: Page, target: Target, token: str
) -> None:
    await relay.connect(token, "--to", target.address)
    event = await send(relay, INCOMING)
    await target.received(1)
    await page.goto(f"{relay.url}/events/{event}")
    await page.get_by_role("button", name="Edit and send").click()
    await page.locator("[data-body]").fill(edited)
    await page.get_by_role("button", name="Send").click()
    await expect(page.locator("#answers")).to_contain_text("200")
    await target.received(2)
    assert target.arrivals[-1].body.decode() == edited
    assert target.arrivals[-1].header(b"Relay-Edited-From").decode() == event
    await expect(page.locator("[data-answer]")).to_contain_text("edited from")


async def test_what_was_not_touched_is_sent_as_it_was(
    relay: Relay, page: Page, target: Target, token: str
) -> None:
    await relay.connect(token, "--to", target.address)
    body = b'\n{"a":\r\n 1.0}\r\n\r\x00'
    note = "A\u0301\x85\u2028".encode() + b"\xff"
    raw = request(
        "/webhook", body, token=relay.send_token, headers=[("X-Note", note.decode("latin-1"))]
    )
    event = (await relay.send(raw)).json["id"]
    await page.goto(f"{relay.url}/events/{event}/edit")
    await page.get_by_role("button", name="Send").click()
    await target.received(2)
    assert [arrival.body for arrival in target.arrivals] == [body, body]
    assert [arrival.header(b"X-Note") for arrival in target.arrivals] == [note, note]


async def test_lines_end_as_they_did_after_an_edit(
    relay: Relay, page: Page, target: Target, token: str
) -> None:
    await relay.connect(token, "--to", target.address)
    event = await send(relay, b"--x\r\n\r\nold\r\n--x--\r\n")
    await page.goto(f"{relay.url}/events/{event}/edit")
    await page.locator("[data-body]").fill("--x\n\nnew\n--x--\n")
    await page.get_by_role("button", name="Send").click()
    await target.received(2)
    assert target.arrivals[-1].body == b"--x\r\n\r\nnew\r\n--x--\r\n"


async def test_a_browser_that_keeps_no_more_drafts_sends_all_the_same(
    relay: Relay, page: Page, target: Target, token: str
) -> None:
    await relay.connect(token, "--to", target.address)
    event = await send(relay, b"{}")
    await page.evaluate("""() => {
      try { for (let n = 0; ; n += 1) sessionStorage.setItem(n, "x".repeat(500_000)); } catch {}
      try { for (let n = 0; ; n += 1) sessionStorage.setItem(`s${n}`, "x".repeat(1_000)); } catch {}
    }""")
    await page.goto(f"{relay.url}/events/{event}/edit")
    await page.locator("[data-body]").fill("y" * 2_000)
    await page.get_by_role("button", name="Send").click()
    await target.received(2)
    assert target.arrivals[-1].body == b"y" * 2_000
    await page.get_by_role("button", name="Log out").click()
    await page.wait_for_url(f"{relay.url}/login")
    assert await page.evaluate("sessionStorage.length") == 0, "a draft holds what people wrote"


async def test_headers_are_edited_as_rows_and_chips_say_what_is_changed(
    relay: Relay, page: Page, target: Target, token: str
) -> None:
    await relay.connect(token, "--to", target.address)
    sent = [("X-Old", "1"), ("X-Gone", "2")]
    raw = request("/webhook", b'{"a": 1, "b": {"c": 2}}', token=relay.send_token, headers=sent)
    event = (await relay.send(raw)).json["id"]
    await page.goto(f"{relay.url}/events/{event}/edit")
    rows, chips = page.locator(".field"), page.locator("[data-changes] .chip")
    names = [await row.locator("input").first.input_value() for row in await rows.all()]
    await rows.nth(names.index("X-Old")).locator("input").last.fill("é")
    await rows.nth(names.index("X-Gone")).get_by_role("button", name="Remove").click()
    await page.get_by_role("button", name="Add a header").click()
    await rows.last.get_by_label("Name").fill("X-New")
    await rows.last.get_by_label("Value").fill("3")
    await page.locator("[data-body]").fill('{"a": 1, "b": {"c": 3}}')
    changed = ["X-Old", "− X-Gone", "+ X-New", "/b/c"]
    await expect(chips).to_have_text(changed)
    await page.reload()
    await expect(chips).to_have_text(changed)

    await page.get_by_role("button", name="Send").click()
    await target.received(2)
    arrival = target.arrivals[-1]
    assert (arrival.header(b"X-Old"), arrival.header(b"X-New")) == ("é".encode(), b"3")
    assert b"X-Gone" not in dict(arrival.headers)

    await page.goto(f"{relay.url}/events/{event}/edit")
    await page.get_by_role("button", name="Discard changes…").click()
    sheet = page.get_by_role("dialog", name="Discard these changes?")
    await expect(sheet.locator(".chip")).to_have_text(changed)
    await sheet.get_by_role("button", name="Keep them").click()
    await expect(chips).to_have_text(changed)
    await page.get_by_role("button", name="Discard changes…").click()
    await sheet.get_by_role("button", name="Discard", exact=True).click()
    await expect(chips).to_have_count(0)
    await page.reload()
    assert await page.locator("[data-body]").input_value() == '{"a": 1, "b": {"c": 2}}'


async def test_what_is_dead_is_discarded_once_one_is_sure(
    relay: Relay, context: BrowserContext, target: Target, token: str
) -> None:
    page = await log_in(relay, context, await relay.make_token("boss", "admin"))
    target.answer = always(BROKEN)
    await relay.connect(token, "--to", target.address)
    await relay.said("subscription", "set", "chatwoot", "ana", "--retry-delays", "none")
    event = await send(relay, INCOMING)
    await page.goto(f"{relay.url}/events/{event}")
    await expect(page.locator("#answers")).to_contain_text("dead")
    await page.goto(f"{relay.url}/dead")
    await page.get_by_role("button", name="Discard…").click()
    await expect(page.get_by_role("heading")).to_have_text("Discard 1 delivery?")
    await expect(page.locator("main")).to_contain_text("500")
    await page.get_by_role("link", name="Keep them").click()
    await page.get_by_role("button", name="Discard…").click()
    await page.get_by_role("button", name="Discard", exact=True).click()
    await expect(page.locator("main")).to_contain_text("Nothing is dead")


async def test_formatting_keeps_digits_names_and_texts(relay: Relay, page: Page) -> None:
    event = await send(relay, b'{"b":90071992547409931234,"a":"x: {,","b":[1.0,{}],"c":{"d":[]}}')
    await page.goto(f"{relay.url}/events/{event}/edit")
    await page.get_by_role("button", name="Format").click()
    assert await page.locator("[data-body]").input_value() == (
        '{\n  "b": 90071992547409931234,\n  "a": "x: {,",\n  "b": [\n    1.0,\n    {}\n  ],\n'
        '  "c": {\n    "d": []\n  }\n}'
    )
    await page.reload()
    assert "\n" in await page.locator("[data-body]").input_value(), "the draft is kept"


async def test_an_event_is_compared_with_the_one_before_of_its_kind(
    relay: Relay, page: Page
) -> None:
    first = await send(relay, b'{"event": "a", "content": "x", "id": 1}')
    await page.goto(f"{relay.url}/compare?a=previous&b={first}")
    await expect(page.get_by_role("heading")).to_have_text("no event of its kind came before it")
    await send(relay, b'{"event": "b"}')
    event = await send(relay, b'{"event": "a", "content": 7, "id": 2}')
    await page.goto(f"{relay.url}/events/{event}")
    await page.keyboard.press("d")
    await expect(page.get_by_role("heading")).to_contain_text("1 value differs")
    await expect(page.locator("tbody")).to_contain_text("/content another type")
    await page.get_by_role("link", name="1 expected difference hidden").click()
    await expect(page.get_by_role("heading")).to_contain_text("2 values differ")


async def test_an_event_is_pinned_and_copied_as_a_script(relay: Relay, page: Page) -> None:
    event = await send(relay, b'{"event": "a"}')
    await page.goto(f"{relay.url}/events/{event}")
    await page.get_by_text("Pin", exact=True).first.click()
    await page.get_by_label("Name").fill("João")
    await page.get_by_role("button", name="Pin").click()
    await expect(page.get_by_label("pinned")).to_be_visible()
    await page.get_by_text("Copy as").click()
    await page.get_by_role("link", name="curl").click()
    await expect(page.locator("pre")).to_contain_text("curl")
    await page.keyboard.press("Escape")
    await page.get_by_text("Copy as").click()
    await page.get_by_role("link", name="json").click()
    await expect(page.locator("pre")).to_contain_text('"body": {"event": "a"}')


async def test_neighbours_are_a_key_away(relay: Relay, page: Page) -> None:
    bodies = [message(relay.send_token, conversation, 1) for conversation in (7, 8, 7)]
    first, other, last = [(await relay.send(body)).json["id"] for body in bodies]
    await page.goto(f"{relay.url}/events/{first}")
    for key, event in (("j", other), ("k", first), ("]", last), ("[", first)):
        await page.keyboard.press(key)
        await page.wait_for_url(f"{relay.url}/events/{event}")


async def test_a_token_and_an_invitation_are_shown_once_and_revoked(
    relay: Relay, context: BrowserContext
) -> None:
    page = await log_in(relay, context, await relay.make_token("boss", "admin"), "/setup")
    tokens = page.locator("form[action='/setup/tokens']")
    await tokens.get_by_label("Name").fill("bia")
    await tokens.get_by_role("button", name="Make token").click()
    secret = await page.locator("output").inner_text()
    assert secret.startswith("rly_")

    warned: list[str] = []

    async def stay(dialog: Dialog) -> None:
        warned.append(dialog.type)
        await dialog.dismiss()

    page.on("dialog", stay)
    await page.get_by_role("heading", name="Token bia").click()  # who did nothing is not asked
    await page.get_by_role("link", name="Overview").click(no_wait_after=True)
    await until(lambda: warned)
    assert (warned, page.url) == (["beforeunload"], f"{relay.url}/setup/tokens")
    await page.get_by_role("button", name="I have kept it").click()
    await page.goto(f"{relay.url}/setup")
    assert secret not in await page.content()

    invitations = page.locator("form[action='/setup/invitations']")
    await invitations.get_by_label("Name").fill("caio")
    await invitations.get_by_role("button", name="Invite").click()
    await expect(page.locator("output")).to_contain_text("relay-client login http")
    await page.get_by_role("button", name="I have kept it").click()
    await page.get_by_role("row", name="bia").get_by_role("button", name="Revoke…").click()
    await expect(page.locator("main")).to_contain_text("Nobody used it, as far as is known")
    await page.get_by_role("link", name="Keep it").click()
    await page.get_by_role("row", name="bia").get_by_role("button", name="Revoke…").click()
    await page.get_by_role("button", name="Revoke", exact=True).click()
    await expect(page.get_by_role("row", name="bia")).to_have_count(0)
    assert warned == ["beforeunload"]


async def test_who_is_no_administrator_sees_no_tokens(relay: Relay, page: Page) -> None:
    await page.goto(f"{relay.url}/setup")
    await expect(page.get_by_role("heading", name="Sessions")).to_be_visible()
    await expect(page.get_by_role("heading", name="People and tokens")).to_have_count(0)


async def test_a_sample_takes_a_webhooks_way_without_a_script(
    relay: Relay, browser: Browser, page: Page, target: Target, token: str
) -> None:
    await relay.control("PATCH", "channels/chatwoot", {"hmac_secrets": [SECRET]})
    await page.goto(f"{relay.url}/channels/chatwoot")
    await expect(page.get_by_text("No webhook came yet.")).to_be_visible()
    await expect(page.get_by_role("button", name="Send a sample")).to_have_count(0)  # Ana's

    context = await browser.new_context(java_script_enabled=False)
    boss = await log_in(relay, context, await relay.make_token("boss", "admin"))
    await boss.get_by_role("button", name="Send a sample").click()
    [event] = await event_ids(boss)
    await expect(boss.locator(".told")).to_contain_text(f"{event} is on disk")
    await lists(page, [event])
    await close(context)

    await relay.connect(token, "--to", target.address, "--since", "beginning")
    await target.received(1)
    [arrival] = target.arrivals
    assert arrival.body == INCOMING
    when = arrival.header(b"X-Chatwoot-Timestamp").decode()
    proof = arrival.header(b"X-Chatwoot-Signature").decode()
    assert proof == signature(SECRET, when, arrival.body)
    [noted] = (await relay.control("GET", "audit?limit=1"))["entries"]
    assert (noted["action"], noted["what"]) == ("event.sample", "chatwoot")


async def test_a_sample_is_refused_who_may_not_send(relay: Relay, page: Page) -> None:
    await page.goto(f"{relay.url}/channels/chatwoot?sent=%3Cb%3E")
    key = await page.locator("[name=form_key]").first.input_value()
    answer = await page.request.post(
        f"{relay.url}/channels/chatwoot/sample",
        form={"form_key": key},
        headers={"Sec-Fetch-Site": "same-origin"},
    )
    assert answer.status == 403
    assert await relay.events() == []


async def test_what_waits_is_skipped_and_what_came_is_replayed(
    relay: Relay, context: BrowserContext, target: Target, token: str
) -> None:
    client = await relay.connect(token, "--to", target.address)
    client.terminate()
    await client.exit_status()
    for number in range(3):
        await send(relay, b'{"event": "a", "id": %d}' % number)
    page = await log_in(relay, context, token, "/subscriptions")
    line = page.get_by_role("row", name="ana")
    await expect(line).to_contain_text("away since")
    await line.get_by_role("button", name="Skip to now…").click()
    await expect(page.get_by_role("heading")).to_have_text("Skip 3 events that wait?")
    await page.get_by_role("button", name="Skip", exact=True).click()
    await expect(line.locator('[data-label="Waiting"]')).to_have_text("0")

    await line.get_by_text("Replay from…").click()
    await line.get_by_label("What came in the").select_option("last hour")
    await line.get_by_role("button", name="Replay", exact=True).click()
    await expect(page.locator(".replay")).to_contain_text("nobody reads it")
    await relay.connect(token, "--to", target.address)
    await target.received(3)
    await expect(line).to_contain_text(re.compile(r"connected from .+ \(\d+\.\d+"))
    await expect(page.locator(".replay")).to_contain_text("done · 3 delivered")

    async def first(arrival: Arrival) -> bytes:
        if arrival is not target.arrivals[3]:
            await asyncio.Event().wait()
        return OK

    target.answer = first
    for _ in range(2):
        await send(relay, b'{"event": "a"}')
    await target.received(5)
    await page.reload()
    waiting = line.locator('[data-label="Waiting"]')
    await expect(waiting).to_contain_text(re.compile(r"1.*\d a second"))


async def test_the_setup_says_what_is_wrong_beside_its_form_and_what_a_token_is_used_for(
    relay: Relay, context: BrowserContext, target: Target, token: str
) -> None:
    await relay.connect(token, "--to", target.address)
    page = await log_in(relay, context, await relay.make_token("boss", "admin"), "/setup")
    ana = page.get_by_role("row", name="ana")
    await expect(ana).to_contain_text("receive from chatwoot")
    await expect(ana).to_contain_text("nowreceives from chatwoot at ")
    sender = page.get_by_role("row", name="send to")
    await expect(sender.locator("time")).to_have_count(1)  # made, and never used
    await send(relay, INCOMING)
    await page.reload()
    await expect(sender.locator("[data-label='Last used'] time")).to_have_count(1)
    await ana.get_by_role("button", name="Revoke…").click()
    cut = page.get_by_text("ana@")
    await expect(cut).to_contain_text("is connected with it, and reads chatwoot")
    await page.get_by_role("link", name="Keep it").click()

    tokens = page.locator("form[action='/setup/tokens']")
    await tokens.get_by_label("Name").fill("ana")
    await tokens.get_by_label("may").select_option("send")
    await tokens.get_by_role("button", name="Make token").click()
    await expect(page.locator("#people").get_by_role("alert")).to_contain_text("ana")
    assert await tokens.get_by_label("Name").input_value() == "ana"
    assert await tokens.get_by_label("may").input_value() == "send"

    channels = page.locator("form[action='/setup/channels']")
    await channels.get_by_label("Name").fill("repo")
    await channels.get_by_label("for webhooks of").select_option("github")
    await channels.get_by_role("button", name="Make channel").click()
    await page.wait_for_url(f"{relay.url}/channels/repo")
    await page.get_by_role("button", name="Send a sample").click()
    await expect(page.locator("[data-event-id]")).to_have_count(1)
    await page.goto(f"{relay.url}/setup")
    await expect(page.locator("#changes li").first).to_contain_text("boss event.sample repo")


async def test_a_channel_is_tested_and_its_secrets_are_rotated_without_a_script(
    relay: Relay, browser: Browser, target: Target, token: str
) -> None:
    await relay.connect(token, "--to", target.address)
    await relay.control("PATCH", "channels/chatwoot", {"hmac_secrets": [SECRET]})
    context = await browser.new_context(java_script_enabled=False)
    boss = await log_in(relay, context, await relay.make_token("boss", "admin"), "/setup")
    await boss.get_by_role("button", name="Test it").click()
    tried = boss.locator("#tried")
    await expect(tried.get_by_role("heading")).to_contain_text("it came through in")
    await expect(tried.get_by_label("done")).to_have_count(4)
    await expect(tried).to_contain_text("its signature is right")
    await expect(tried.get_by_label("connected")).to_have_count(1)
    assert await relay.events() == [], "it went where others read"
    assert target.arrivals == []

    row = boss.locator("#channels tbody tr")
    await boss.get_by_role("link", name="Channels", exact=True).click()
    await row.get_by_text("1 signing secret").click()
    await expect(row).to_contain_text("verified nothing yet")
    await expect(row.get_by_role("button", name="Take away…")).to_have_count(0)
    await row.get_by_label("Another secret").fill(" ")
    await row.get_by_role("button", name="Add").click()
    fresh = await boss.locator("output").inner_text()
    fields = headers(INCOMING, secret=fresh, authorization=f"Bearer {relay.send_token}")
    answer = await relay.send(webhook("/webhook", INCOMING, fields))
    assert answer.status == 200
    await boss.goto(f"{relay.url}/events/{answer.json['id']}")
    await expect(boss.locator(".facts")).to_contain_text("signed with secret 2 of 2")
    await boss.goto(f"{relay.url}/setup")
    assert fresh not in await boss.content()
    await row.get_by_text("2 signing secrets").click()
    await expect(row.locator("li").nth(0)).to_contain_text("verified nothing")
    await expect(row.locator("li").nth(1)).to_contain_text("verified a webhook at")
    await row.get_by_role("button", name="Take away…").first.click()
    await boss.get_by_role("button", name="Take away").click()
    await row.get_by_text("1 signing secret").click()
    await expect(row).to_contain_text("verified a webhook at")
    await close(context)
    [removed, added] = (await relay.control("GET", "audit?limit=2"))["entries"]
    assert (added["action"], added["made_by"], added["asked"]) == ("channel.secret_add", "boss", {})
    assert removed["action"] == "channel.secret_remove"
