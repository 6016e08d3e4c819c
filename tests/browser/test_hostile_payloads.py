"""What strangers write is text on every page: it makes no element, and runs nothing."""

from __future__ import annotations

import json
from typing import Any

from playwright.async_api import BrowserContext, Page

from tests.support.relay import Relay
from tests.support.senders import request

PAYLOADS = (
    "<script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<svg onload=alert(1)>",
    "<svg><use href='http://127.0.0.1:9/#x'/></svg>",
    '"><img src=http://127.0.0.1:9/x>',
    "' onmouseover='alert(1)",
    "javascript:alert(1)",
    "{{ 7*7 }}",
    "{% include '/etc/passwd' %}",
    "</bdi></span><h1>big</h1>",
    "</pre></template><b>",
    "<!--",
    "]]>",
    "&lt;b&gt;&#60;b&#62;",
    "}</style><style>*{display:none}",
    "\x1b[31m red \x07",
    "\u202eturned around",
    "\u2066\u2067 mixed \u2069",
    "\x00 nul \x00",
    "\ufeff\u200b\u200d",
    "a" * 2_000,
    "👩‍👩‍👧‍👦 😀 não, João",
    "<iframe srcdoc='<script>alert(1)</script>'>",
    "<base href=http://127.0.0.1:9/>",
    "<meta http-equiv=refresh content='0;url=http://127.0.0.1:9/'>",
    "<link rel=stylesheet href=http://127.0.0.1:9/>",
    "<form action=http://127.0.0.1:9/><button>",
    "<a href=javascript:alert(1)>x</a>",
    "<math><mtext><script>alert(1)</script>",
)
# How often there is which element, and which attribute of one, in a document as a browser reads it.
CENSUS = """html => {
  const count = {};
  for (const one of new DOMParser().parseFromString(html, "text/html").querySelectorAll("*")) {
    const attributes = one.getAttributeNames().map((name) => `${one.tagName} ${name}`);
    for (const name of [one.tagName, ...attributes]) count[name] = (count[name] ?? 0) + 1;
  }
  return count;
}"""


def body(text: str) -> bytes:
    """A message in which a stranger wrote one text everywhere."""
    return json.dumps(
        {
            "event": "message_created",
            "id": 1,
            "content": text,
            "message_type": "incoming",
            text: text,
            "account": {"id": 2, "name": text},
            "sender": {"id": 3, "name": text, "type": "contact"},
            "conversation": {"id": 318, "status": text, "meta": {"sender": {"name": text}}},
            "attachments": [{"id": 1, "file_type": text}],
        }
    ).encode()


async def census(relay: Relay, page: Page, blank: Page, event: str) -> list[Any]:
    """What each page that shows an event is made of; the first of them is opened, too."""
    found = []
    await page.goto(f"{relay.url}/events/{event}")
    for path in (
        f"/events/{event}",
        f"/events/{event}?view=raw",
        f"/events/{event}?view=headers",
        f"/channels/chatwoot?q=id%3A{event}",
        f"/search?q=id%3A{event}",
    ):
        answer = await page.request.get(relay.url + path)
        counted = await blank.evaluate(CENSUS, await answer.text())
        assert "FORM" in counted, path
        found.append(counted)
    return found


async def test_whatever_strangers_write_is_text(
    relay: Relay, page: Page, context: BrowserContext
) -> None:
    blank = await context.new_page()  # where no content policy forbids to read a document

    async def send(text: str) -> str:
        header = "".join(char for char in text if " " <= char < "\x7f")[:1_000]
        raw = request("/webhook", body(text), token=relay.send_token, headers=[("X-Note", header)])
        answer = await relay.send(raw)
        assert answer.status == 200, answer
        return str(answer.json["id"])

    benign = await census(relay, page, blank, await send("benign"))
    for text in PAYLOADS:
        assert await census(relay, page, blank, await send(text)) == benign, text[:80]
    for path in ("/channels/chatwoot", "/search?q=id%3Aevt_", "/conversations/chatwoot/2/318"):
        await page.goto(f"{relay.url}{path}")
        assert await page.locator("main img, main iframe, main script").count() == 0
    assert await page.locator(".bubble").count() > 0
