"""Logging in to the dashboard, and out; and who is not let in."""

from __future__ import annotations

import asyncio
import json
from urllib.parse import urlsplit

from playwright.async_api import Browser, BrowserContext, Page, expect

from tests.support.browsing import Seen, becomes_live, close
from tests.support.relay import Relay
from tests.support.senders import Answer, Connection


async def link(relay: Relay, token: str) -> str:
    """A login link, as a command prints it."""
    status, output, errors = await asyncio.to_thread(
        relay.client_command, token, "dashboard", "--json"
    )
    assert status == 0, errors
    return str(json.loads(output)["url"])


async def ask(relay: Relay, raw: str) -> Answer:
    """Send a request as no browser would."""
    reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
    answer = await Connection(reader, writer).exchange(raw.encode("latin-1"))
    writer.close()
    return answer


async def test_a_link_works_once_and_leaves_no_secret(
    relay: Relay, token: str, context: BrowserContext, seen: Seen
) -> None:
    page, url = await context.new_page(), await link(relay, token)
    secret = url.partition("#k=")[2]
    await page.goto(url)
    await expect(page.get_by_text("Your link is ready")).to_be_visible()
    named = page.get_by_role("heading", name=f"Log in as ana on {urlsplit(url).netloc}")
    await expect(named).to_be_visible()
    await page.get_by_role("button", name="Log in").click()
    await expect(page.get_by_role("banner")).to_contain_text("ana")
    kept = await page.evaluate("[location.href, ...Object.values(localStorage)]")
    assert secret not in json.dumps([kept, seen.requests])
    assert secret not in relay.server.errors
    assert secret not in await page.content()

    await context.clear_cookies()
    await page.goto(url)
    await expect(page.get_by_role("heading")).to_contain_text("was used from 127.0.0.1")
    await expect(page.get_by_text("relay-client dashboard")).to_be_visible()
    assert len((await relay.control("GET", "sessions"))["sessions"]) == 1


async def test_a_link_is_pasted_where_no_script_reads_it(
    relay: Relay, token: str, browser: Browser
) -> None:
    context = await browser.new_context(java_script_enabled=False)
    page, url = await context.new_page(), await link(relay, token)
    await page.goto(url)
    await page.get_by_label("Login link, or token").fill(url)
    await page.get_by_role("button", name="Log in").click()
    await expect(page.get_by_role("banner")).to_contain_text("ana")
    await close(context)


async def test_a_token_logs_in_and_the_page_that_was_meant_comes_next(
    relay: Relay, token: str, context: BrowserContext
) -> None:
    page = await context.new_page()
    await page.goto(f"{relay.url}/channels/chatwoot?q=kind%3Aa")
    await page.fill("#k", token)
    await page.get_by_role("button", name="Log in").click()
    await page.wait_for_url("**/channels/chatwoot?q=kind%3Aa")
    [cookie] = [c for c in await context.cookies() if c["name"] == "relay-session"]
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Lax")


async def test_who_may_only_send_and_who_is_nobody_are_told_so(
    relay: Relay, context: BrowserContext
) -> None:
    page = await context.new_page()
    for shown, said in ((relay.send_token, "may only send"), ("rly_wrong", "not authorized")):
        await page.goto(f"{relay.url}/login")
        await page.fill("#k", shown)
        await page.get_by_role("button", name="Log in").click()
        await expect(page.get_by_role("heading")).to_contain_text(said)


async def test_logged_out_is_out_in_every_tab_and_nothing_is_kept(
    relay: Relay, page: Page, context: BrowserContext
) -> None:
    other = await context.new_page()
    await other.goto(f"{relay.url}/channels/chatwoot")
    await becomes_live(other)
    await page.get_by_role("button", name="Log out").click()
    await page.wait_for_url(f"{relay.url}/login")
    await other.wait_for_url(f"{relay.url}/login**")
    await page.go_back()
    await expect(page.get_by_role("button", name="Log in")).to_be_visible()


async def test_who_logs_in_again_leaves_no_session_behind(relay: Relay, page: Page) -> None:
    bia = await relay.make_token("bia", "subscribe", "chatwoot")
    await page.goto(f"{relay.url}/login")
    await page.fill("#k", bia)
    await page.get_by_role("button", name="Log in").click()
    await expect(page.get_by_role("banner")).to_contain_text("bia")
    sessions = (await relay.control("GET", "sessions"))["sessions"]
    assert [session["token"] for session in sessions] == ["bia"]


async def test_a_revoked_token_ends_its_sessions_while_pages_are_open(
    relay: Relay, page: Page
) -> None:
    await page.goto(f"{relay.url}/channels/chatwoot")
    await becomes_live(page)
    await relay.control("DELETE", "tokens/ana")
    await page.wait_for_url(f"{relay.url}/login**")
    assert (await relay.control("GET", "sessions"))["sessions"] == []


async def test_a_session_that_ended_while_its_page_heard_nothing_is_noticed(
    relay: Relay, page: Page
) -> None:
    await page.goto(f"{relay.url}/channels/chatwoot")
    await becomes_live(page)
    relay.server.kill()
    await page.wait_for_selector("body[data-feed=lost]")
    await page.context.clear_cookies()
    await relay.start()
    await page.wait_for_url(f"{relay.url}/login")


async def test_a_session_outlives_the_server(relay: Relay, page: Page) -> None:
    relay.server.terminate()
    await relay.server.exit_status()
    await relay.start()
    await page.goto(f"{relay.url}/subscriptions")
    await expect(page.get_by_role("heading", name="Subscriptions")).to_be_visible()


async def test_names_that_are_not_ours_are_not_answered(relay: Relay) -> None:
    answer = await ask(relay, "GET /login HTTP/1.1\r\nHost: evil.example\r\n\r\n")
    assert answer.status == 403
    assert b"RELAY_SERVER_PUBLIC_URL" in answer.body


async def test_who_comes_by_a_proxy_that_is_not_known_is_not_this_machine(relay: Relay) -> None:
    host = f"Host: 127.0.0.1:{relay.port}\r\n"
    for field in ("X-Forwarded-For: 203.0.113.9", "Forwarded: for=203.0.113.9", "Via: 1.1 proxy"):
        answer = await ask(relay, f"GET /login HTTP/1.1\r\n{host}{field}\r\n\r\n")
        assert answer.status == 403, field
        assert b"plain HTTP" in answer.body


async def test_what_no_browser_sends_is_refused(relay: Relay) -> None:
    here = f"Host: 127.0.0.1:{relay.port}\r\n"
    for line, fields in (
        ("GET /login", "Host: [\r\n"),
        ("POST /login", f"{here}Origin: http://[\r\n"),
        ("POST /login", f"{here}Sec-Fetch-Site: same-origin\r\nCookie: relay-login=\xff\r\n"),
    ):
        answer = await ask(relay, f"{line} HTTP/1.1\r\n{fields}\r\n")
        assert answer.status == 403, fields


async def test_forms_of_other_sites_do_nothing(
    relay: Relay, page: Page, context: BrowserContext
) -> None:
    cookies = "; ".join(f"{c['name']}={c['value']}" for c in await context.cookies())
    body = "form_key=guessed"
    for header in (
        "Sec-Fetch-Site: cross-site",
        "Sec-Fetch-Site: same-site",
        "Origin: http://evil.example",
        "Origin: null",
        "Accept: */*",
        "Sec-Fetch-Site: same-origin",  # of this origin, but not of a page of ours
    ):
        answer = await ask(
            relay,
            f"POST /logout HTTP/1.1\r\nHost: 127.0.0.1:{relay.port}\r\nCookie: {cookies}\r\n"
            "Content-Type: application/x-www-form-urlencoded\r\n"
            f"{header}\r\nContent-Length: {len(body)}\r\n\r\n{body}",
        )
        assert answer.status == 403, header
    assert len((await relay.control("GET", "sessions"))["sessions"]) == 1
    await page.reload()
    await expect(page.get_by_role("banner")).to_contain_text("ana")


async def test_the_api_takes_no_cookie_and_pages_take_no_token(
    relay: Relay, page: Page, context: BrowserContext, token: str
) -> None:
    cookies = "; ".join(f"{c['name']}={c['value']}" for c in await context.cookies())
    host = f"Host: 127.0.0.1:{relay.port}"
    answer = await ask(relay, f"GET /api/v1/events HTTP/1.1\r\n{host}\r\nCookie: {cookies}\r\n\r\n")
    assert answer.status == 401
    bearer = f"Authorization: Bearer {token}"
    answer = await ask(relay, f"GET / HTTP/1.1\r\n{host}\r\n{bearer}\r\n\r\n")
    assert answer.status == 303
    await page.close()


async def test_a_command_without_a_server_makes_no_link(relay: Relay) -> None:
    relay.server.terminate()
    await relay.server.exit_status()
    assert "the server does not run" in await relay.refused("dashboard")
