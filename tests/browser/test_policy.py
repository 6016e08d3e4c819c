"""What a browser is told to forbid, and pages that keep to it."""

from __future__ import annotations

from html.parser import HTMLParser

from playwright.async_api import Page

from tests.support.browsing import enter
from tests.support.chatwoot import fixture
from tests.support.relay import Relay
from tests.support.senders import request
from tests.support.story import EMPTY_PAGES

POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self'",
    "connect-src": "'self'",
    "form-action": "'self'",
    "frame-ancestors": "'none'",
    "base-uri": "'none'",
    "require-trusted-types-for": "'script'",
    "trusted-types": "relay-partials",
}


class Inline(HTMLParser):
    """What of a document is style or script by itself."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found = list[str]()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = {name for name, _ in attrs}
        if tag == "style" or (tag == "script" and "src" not in names):
            self.found.append(tag)
        self.found += [f"{tag} {name}" for name in names if name[:2] == "on" or name == "style"]


async def test_every_page_forbids_all_but_its_own_and_has_no_inline_style_or_script(
    relay: Relay, page: Page
) -> None:
    await enter(page, relay.url, await relay.make_token("boss", "admin"))
    body = fixture("message_created_incoming")
    sent = await relay.send(request("/webhook", body, token=relay.send_token))
    event = f"/events/{sent.json['id']}"
    talk = "/conversations/chatwoot/2/318"
    views = [event, f"{event}?view=raw", f"{event}?view=headers", f"{event}/edit"]
    more = [*views, f"{event}/as/curl", f"{talk}?why=1", f"/compare?a={sent.json['id']}&b=x"]
    for path in ["/login", *EMPTY_PAGES.values(), *more]:
        answer = await page.request.get(relay.url + path, max_redirects=0)
        assert answer.status in {200, 400, 404}, (path, answer.status)
        policy = answer.headers["content-security-policy"]
        assert dict(one.strip().split(" ", 1) for one in policy.split(";")) == POLICY, path
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cross-origin-opener-policy"] == "same-origin"
        assert "no-store" in answer.headers["cache-control"]
        assert Inline(await answer.text()).found == [], path


async def test_what_strangers_sent_is_downloaded_and_never_shown_as_a_page(
    relay: Relay, page: Page
) -> None:
    body = b"<script>alert(1)</script>"
    sent = await relay.send(request("/webhook", body, token=relay.send_token))
    answer = await page.request.get(f"{relay.url}/events/{sent.json['id']}/body")
    assert await answer.body() == body
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"].startswith("attachment; ")
    assert answer.headers["content-security-policy"] == "sandbox"
    assert answer.headers["x-content-type-options"] == "nosniff"
