"""An event's page: its reply, what answers mean, and bodies that are large or compressed."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

from playwright.async_api import Browser, BrowserContext, Page, expect

from relay_server.dashboard.event import SHOWN_RAW
from tests.browser.test_doing import log_in
from tests.browser.test_pages import send
from tests.browser.test_talks import BY_BOT, said
from tests.support.browsing import becomes_live, close
from tests.support.relay import Relay
from tests.support.senders import request
from tests.support.target import Arrival, Target, always


async def test_the_bots_reply_stands_in_the_time_line(
    relay: Relay, page: Page, target: Target, token: str
) -> None:
    target.answer = always(b'HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n{"status": "queued"}')
    await relay.connect(token, "--to", target.address)
    asked = await send(relay, said(1, "bom dia"))
    await send(relay, said(2, "nota", BY_BOT, private=True))
    answer = await send(relay, said(3, "olá!", BY_BOT))
    await target.received(3)
    await page.goto(f"{relay.url}/events/{asked}")
    await expect(page.locator("#answers")).to_contain_text("says Relay: 2xx settles it")
    await expect(page.locator(".attempts .tree .leaf")).to_have_text("status queued")
    await expect(page.get_by_role("heading", level=1)).to_contain_text("João")
    reply = page.locator(".reply")
    await expect(reply).to_contain_text("after it came")
    await reply.get_by_role("link", name="olá!").click()
    await page.wait_for_url(f"{relay.url}/events/{answer}")
    await expect(page.locator(".reply")).to_have_count(0)
    await expect(page.locator(".strip [aria-current]")).to_contain_text("message_created")
    await page.locator(".strip a").first.click()
    await page.wait_for_url(f"{relay.url}/events/{asked}")


async def test_a_large_body_is_shown_on_request_and_in_parts(relay: Relay, page: Page) -> None:
    body = json.dumps({"event": "a", "items": [{"n": n} for n in range(30_000)]}).encode()
    event = await send(relay, body)
    await page.goto(f"{relay.url}/events/{event}")
    await expect(page.locator(".tree")).to_have_count(0)
    await page.get_by_role("button", name="Show the tree").click()
    await page.get_by_role("link", name="Load 2,000 more").click()
    await expect(page.locator(".tree")).to_contain_text("1500")
    await becomes_live(page)
    await page.keyboard.press("2")
    await page.get_by_role("link", name="next").click()
    assert await page.locator("pre.raw").inner_text() == body[65_536:131_072].decode()
    await page.get_by_role("link", name="before").click()
    assert await page.locator("pre.raw").inner_text() == body[:65_536].decode()


async def test_a_compressed_body_is_shown_as_it_was(relay: Relay, page: Page) -> None:
    body = gzip.compress(b'{"event": "a", "api_key": "s3cret", "deep": {"er": [7]}}')
    headers = [("Content-Encoding", "gzip")]
    sent = request("/webhook", body, token=relay.send_token, headers=headers)
    event = (await relay.send(sent)).json["id"]
    await page.goto(f"{relay.url}/events/{event}?open=200")
    await expect(page.locator("main")).to_contain_text("It came compressed")
    assert "s3cret" not in await page.content()
    await becomes_live(page)
    await page.locator(".leaf").get_by_text("7").click()
    await expect(page.locator("[data-path]")).to_contain_text("/deep/er/0")
    await page.keyboard.press("2")
    await expect(page.locator("pre.raw")).to_contain_text('"er": [7]')


async def test_on_a_phone_parts_are_tabs_and_what_one_does_is_at_the_thumb_without_a_script(
    relay: Relay, browser: Browser, target: Target, token: str
) -> None:
    await relay.connect(token, "--to", target.address)
    event = await send(relay, b'{"event": "a", "says": "ol\xc3\xa1"}')
    await target.received(1)
    width, height = 360, 740
    context = await browser.new_context(
        java_script_enabled=False, viewport={"width": width, "height": height}
    )
    page = await log_in(relay, context, token, f"/events/{event}")
    answers, body = page.locator("#answers"), page.locator("#body")
    await expect(answers).to_be_visible()
    await expect(body).not_to_be_visible()
    await page.get_by_role("link", name="Request").click()
    await expect(body).to_contain_text("olá")
    await expect(answers).not_to_be_visible()
    await page.get_by_role("link", name="Raw").click()
    await expect(page.locator("pre.raw")).to_be_visible()

    for name in ("Replay to me", "Edit and send"):
        box = await page.get_by_role("button", name=name).bounding_box()
        assert box is not None
        assert height * 0.75 < box["y"] <= height - box["height"], name
        assert 0 <= box["x"] <= width - box["width"], name
        assert box["height"] >= 44, name
    await page.get_by_text("Copy as").click()
    await expect(page.get_by_role("link", name="curl")).to_be_in_viewport()
    await page.get_by_role("button", name="Replay to me").click()
    await target.received(2)
    await expect(page.get_by_text("It is sent again.")).to_be_visible()
    await expect(answers).to_be_visible()
    await close(context)


async def test_keys_step_through_differences_and_other_pairs_are_a_link_away(
    relay: Relay, page: Page
) -> None:
    bodies = ['{"event": "a", "x": 1, "y": 1}', '{"event": "a", "x": 2, "y": 2}']
    first, second, third = [await send(relay, body.encode()) for body in [*bodies, bodies[0]]]
    await page.goto(f"{relay.url}/compare?a={first}&b={second}")
    await expect(page.locator("main")).to_contain_text("/x changed, /y changed")
    for key, path in (("n", "/x"), ("n", "/y"), ("N", "/x")):
        await page.keyboard.press(key)
        await expect(page.get_by_role("link", name=path)).to_be_focused()
    await page.get_by_role("link", name="the other way round").click()
    await page.wait_for_url(f"**/compare?a={second}&b={first}")
    await page.get_by_label("with").fill(third)
    await page.get_by_role("button", name="Compare").click()
    await expect(page.get_by_role("heading")).to_have_text("They are equal, byte for byte")
    await page.goto(f"{relay.url}/compare?a={first}&b=next")
    await expect(page.get_by_role("heading")).to_have_text("2 values differ")


async def test_two_attempts_are_compared(
    relay: Relay, page: Page, target: Target, token: str
) -> None:
    raw = b"HTTP/1.1 %d Said\r\nContent-Length: %d\r\n\r\n%b"
    said = [(500, '{"error": "<b>bolo</b>", "n": 1}'), (200, '{"status": "queued", "n": 1}')]
    answers = [raw % (status, len(text), text.encode()) for status, text in said]

    async def answer(arrival: Arrival) -> bytes:
        return answers[arrival.attempt - 1]

    target.answer = answer
    await relay.control("PATCH", "channels/chatwoot", {"policy": {"retry_delays_s": [0.02]}})
    await relay.connect(token, "--to", target.address)
    event = await send(relay, b"{}")
    await page.goto(f"{relay.url}/events/{event}")
    await page.get_by_role("link", name="Compare attempts").click()
    heading = page.get_by_role("heading", level=1)
    await expect(heading).to_have_text("First 500, then 200, and the answers differ")
    rows = page.locator(".differences tbody tr")
    await expect(rows.filter(has_text="/error")).to_contain_text("<b>bolo</b>")
    await expect(rows.filter(has_text="/n")).to_have_count(0)
    await expect(rows.filter(has_text="began")).to_contain_text("later")
    await page.get_by_label("First").select_option("ana · attempt 2")
    await page.get_by_role("button", name="Compare").click()
    await expect(heading).to_have_text("Both ended with 200, and answered the same")
    await expect(page.locator("td pre").first).to_have_text(said[1][1])


async def test_an_administrator_is_shown_one_secret_and_that_is_noted(
    relay: Relay, page: Page, context: BrowserContext
) -> None:
    body = b'{"event": "a", "api_key": "s3cret", "password": {"a": "t0p"}, "token": "0ther"}'
    event = await send(relay, body)
    await page.goto(f"{relay.url}/events/{event}")
    await expect(page.get_by_role("button", name="Show", exact=True)).to_have_count(0)
    page = await log_in(relay, context, await relay.make_token("boss", "admin"))
    await page.goto(f"{relay.url}/events/{event}")
    assert "s3cret" not in await page.content()
    secrets = page.locator(".leaf:has-text('api_key'), .leaf:has-text('password')")
    await secrets.first.get_by_role("button", name="Show").click()
    await expect(secrets.first).to_contain_text("s3cret")
    assert not {"t0p", "0ther"} & set((await page.content()).split('"'))
    await secrets.last.get_by_role("button", name="Show").click()
    await expect(secrets.last).to_contain_text("t0p")
    await expect(secrets.first).not_to_contain_text("s3cret")
    noted = (await relay.control("GET", "audit"))["entries"]
    shown = [(one["made_by"], one["what"]) for one in noted if one["action"] == "secrets.show"]
    assert shown == [("boss", f"{event}//password"), ("boss", f"{event}//api_key")]
    await page.goto(page.url.partition("#")[0])  # which is that of the form: it is masked again
    assert "t0p" not in await page.content()


async def test_a_download_has_secrets_for_an_administrator_who_is_noted(
    relay: Relay, page: Page, context: BrowserContext
) -> None:
    body = b'{"event": "a", "id": 9007199254740993, "api_key": "s3cret"}'
    event = await send(relay, body)
    plain_event = await send(relay, b"\xff\x00 as it came")
    for masked, id_ in ((body.replace(b"s3cret", "•••".encode()), event), (None, plain_event)):
        await page.goto(f"{relay.url}/events/{id_}")
        await expect(page.get_by_role("link", name="Download with secrets")).to_have_count(0)
        async with page.expect_download() as started:
            await page.get_by_role("link", name="Download", exact=True).click()
        saved = Path(await (await started.value).path()).read_bytes()
        assert saved == (masked or b"\xff\x00 as it came")
    page = await log_in(relay, context, await relay.make_token("boss", "admin"))
    await page.goto(f"{relay.url}/events/{event}")
    await page.get_by_role("link", name="Download with secrets").click()
    assert not [one for one in await audit(relay) if one["action"] == "secrets.show"]
    async with page.expect_download() as started:
        await page.get_by_role("button", name="Download").click()
    assert Path(await (await started.value).path()).read_bytes() == body
    shown = [one["what"] for one in await audit(relay) if one["action"] == "secrets.show"]
    assert shown == [event]
    await page.goto(f"{relay.url}/events/{plain_event}")
    await expect(page.get_by_role("link", name="Download with secrets")).to_have_count(0)


async def audit(relay: Relay) -> list[dict[str, str]]:
    return list((await relay.control("GET", "audit"))["entries"])


async def test_one_of_two_secrets_of_a_name_is_not_guessed(
    relay: Relay, context: BrowserContext
) -> None:
    event = await send(relay, b'{"event": "a", "token": "first", "token": "second"}')
    boss = await relay.make_token("boss", "admin")
    page = await log_in(relay, context, boss, f"/events/{event}")
    await page.get_by_role("button", name="Show", exact=True).last.click()
    await expect(page.locator("main")).to_contain_text("several fields of this body are called")
    assert not {"first", "second"} & set((await page.content()).split('"'))


async def test_a_page_that_shows_a_secret_lives_on_and_leads_on(
    relay: Relay, context: BrowserContext, target: Target, token: str
) -> None:
    items = [{"n": n} for n in range(1_500)]
    body = json.dumps({"text": "x" * 300_000, "items": items, "api_key": "s3cret"}).encode()
    event = await send(relay, body)
    boss = await relay.make_token("boss", "admin")
    page = await log_in(relay, context, boss, f"/events/{event}")
    await page.get_by_role("button", name="Show the tree").click()
    await page.get_by_role("link", name="Load 2,000 more").click()
    await page.get_by_role("button", name="Show", exact=True).click()
    await expect(page.locator(".tree")).to_contain_text("s3cret")
    await becomes_live(page)
    await relay.connect(token, "--to", target.address, "--since", "beginning")
    await expect(page.locator("#answers")).to_contain_text("delivered")
    await page.get_by_role("link", name="Raw").click()
    await expect(page.locator("pre.raw")).to_contain_text("xxxx")


async def test_raw_text_is_as_it_came_but_for_its_secrets(relay: Relay, page: Page) -> None:
    came = (
        '{"id": 9007199254740993,  "says": "ação", "password": {"a": {"b": 1}, "c": "t0p"},'
        f'"x": "{"x" * SHOWN_RAW}", "pubsub_token":"s3cret"}}'
    )
    event = await send(relay, came.encode())
    parts = list[str]()
    for at in (0, len(came.encode()) - len('s3cret"}')):
        await page.goto(f"{relay.url}/events/{event}?view=raw&at={at}")
        parts.append(await page.locator("pre.raw").inner_text())
    assert parts[0].startswith('{"id": 9007199254740993,  "says": "ação", "password": "•••","x"')
    assert "s3cret" not in parts[1]
