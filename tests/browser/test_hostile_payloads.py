"""What strangers write is text on every page: it makes no element, and runs nothing."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest_asyncio
from playwright.async_api import BrowserContext, Page

from tests.support.relay import Relay, running
from tests.support.senders import request
from tests.support.target import Answering, Arrival, Target
from tests.support.waiting import LONG_S, until_true

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
    "<template><script>alert(1)</script></template>",
    "<object data=http://127.0.0.1:9/>",
    "<details open ontoggle=alert(1)>",
    "<style>@import 'http://127.0.0.1:9/'</style>",
    "</textarea></form><input autofocus onfocus=alert(1)>",
    "</title></option></select><b>",
    '" data-key="r" data-live="list',
    "\r\n\r\n<html><body>",
    "\u2028\u2029\u0085 lines",
    "=cmd|' /C calc'!A0 %s %n ${7*7} $(touch x) `touch x`",
)
MAX_PAGE_BYTES = 200_000  # whatever it shows
LOOKING = ("finding", "listing", "seen", "conversations")  # modules that stop after a while
TOO_WIDE = "document.documentElement.scrollWidth > innerWidth"
FOREIGN = "main :is(img, iframe, script, style, object, base, meta, math, textarea)"
# How often there is which element, and which attribute of one, in a document as a browser reads it.
CENSUS = """html => {
  const count = {}, all = ":not(.pulse *, .lane *)"; // whose bars tell times
  for (const one of new DOMParser().parseFromString(html, "text/html").querySelectorAll(all)) {
    const attributes = one.getAttributeNames().map((name) => `${one.tagName} ${name}`);
    for (const name of [one.tagName, ...attributes]) count[name] = (count[name] ?? 0) + 1;
  }
  return count;
}"""


def body(text: str, conversation: int) -> bytes:
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
            "conversation": {
                "id": conversation,
                "status": text,
                "meta": {"sender": {"name": text}, "assignee": {"name": text}},
            },
            "attachments": [{"id": 1, "file_type": text}],
        }
    ).encode()


def answered(text: str) -> Answering:
    """A target that refuses, and writes the text, too; each time otherwise."""

    async def answer(arrival: Arrival) -> bytes:
        said = f"{arrival.attempt} {text}".encode("utf-8", "replace")
        return b"HTTP/1.1 404 No\r\nContent-Length: %d\r\n\r\n%b" % (len(said), said)

    return answer


@pytest_asyncio.fixture(loop_scope="session")
async def relay(tmp_path: Path) -> AsyncIterator[Relay]:
    """One whose pages are whole on a busy machine too: none looks for less than there is."""
    relay = Relay(tmp_path / "relay", forward_allow="127.0.0.1")
    relay.folder.mkdir()
    relay.constants = [(f"relay_server.operations.{name}", "BUDGET_S", LONG_S) for name in LOOKING]
    async with running(relay):
        yield relay


class Stranger:
    """Writes a text wherever one can: body, path, query, fields, the target's answer."""

    def __init__(self, relay: Relay, target: Target) -> None:
        self._relay = relay
        self._target = target
        self._conversations = count(1)

    async def write(self, text: str) -> dict[str, str]:
        """The pages that show it, by what they are."""
        conversation, coded = next(self._conversations), quote(text[:200])
        self._target.answer = answered(text)
        field = "".join(char for char in text if " " <= char < "\x7f")[:1_000]
        fields = [("X-Note", field), ("User-Agent", field)]
        path = f"/webhook/{coded}?{coded}={coded}"
        raw = request(path, body(text, conversation), fields, token=self._relay.send_token)
        answer = await self._relay.send(raw)
        assert answer.status == 200, answer
        await self._relay.send(request(path, b"", fields, token="rly_wrong"))
        event = answer.json["id"]
        at = await until_true(lambda: self._dead_at(event))
        return {
            "tree": f"/events/{event}",
            "raw": f"/events/{event}?view=raw",
            "headers": f"/events/{event}?view=headers",
            "edit": f"/events/{event}/edit",
            "attempts": f"/events/{event}/attempts",
            "list": f"/channels/chatwoot?after={at - 1}",
            "search": f"/search?after={at - 1}",
            "conversation": f"/conversations/chatwoot/2/{conversation}?why=1",
        }

    async def _dead_at(self, event: str) -> int:
        """Its sequence once it was given up; 0 until then."""
        found = await self._relay.control("GET", f"events/{event}")
        is_dead = [one["state"] for one in found["deliveries"]] == ["dead"]
        return int(found["sequence"]) if is_dead else 0


async def census(relay: Relay, page: Page, blank: Page, paths: dict[str, str]) -> dict[str, Any]:
    """What each page that shows a text is made of; the first of them is opened, too."""
    found = dict[str, Any]()
    await page.goto(relay.url + next(iter(paths.values())))
    for name, path in paths.items():
        answer = await page.request.get(relay.url + path)
        assert answer.ok, path
        found[name] = await blank.evaluate(CENSUS, await answer.text())
    return found


async def test_whatever_strangers_write_is_text(
    relay: Relay, page: Page, context: BrowserContext, target: Target
) -> None:
    blank = await context.new_page()  # where no content policy forbids to read a document
    forward = {"channel": "chatwoot", "name": "bot", "url": f"http://{target.address}/"}
    await relay.control("POST", "forwards", forward)
    twice = {"policy": {"other_tries": 2, "retry_delays_s": [0.02]}}
    await relay.control("PATCH", "channels/chatwoot/subscriptions/bot", twice)
    stranger = Stranger(relay, target)
    await stranger.write("the first, which has none before it")
    benign = await census(relay, page, blank, await stranger.write("benign"))
    assert len(PAYLOADS) == 40
    for text in PAYLOADS:
        assert await census(relay, page, blank, await stranger.write(text)) == benign, text[:80]
    for path in ("/dead", "/refused", "/channels/chatwoot", "/channels/chatwoot/conversations"):
        await page.goto(relay.url + path)
        assert await page.locator(FOREIGN).count() == 0, path


async def test_a_line_of_a_megabyte_makes_no_page_wide_and_only_its_tree_large(
    relay: Relay, page: Page
) -> None:
    line = "a" * 1_000_000
    raw = json.dumps({"event": "message_created", "content": line}).encode()
    answer = await relay.send(request("/webhook", raw, token=relay.send_token))
    event = f"/events/{answer.json['id']}"
    for path in ("/channels/chatwoot", event, f"{event}?view=raw"):
        shown = await page.goto(relay.url + path)
        assert shown is not None
        assert len(await shown.body()) < MAX_PAGE_BYTES or path == event, path
        assert not await page.evaluate(TOO_WIDE), path
