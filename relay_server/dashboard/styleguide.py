"""What pages are made of, side by side in both themes: what a contributor looks at first.

The parts are drawn by the templates' own macros. Marks are those of the sheet and states those
that rows know, so that a new one shows here by itself.
"""

from __future__ import annotations

import re
from typing import Any

from aiohttp import web

from relay_server.dashboard.assets import FOLDER
from relay_server.dashboard.filtering import menus_of
from relay_server.dashboard.rendering import THEMES, render
from relay_server.dashboard.visit import Visitor, page
from relay_server.errors import Forbidden
from relay_server.operations.events import DeliveryLine
from relay_server.operations.seen import Choices
from relay_terminal.words import _

MARK = re.compile(r'<g id="([\w-]+)"><')
STATES = ("delivered", "under_way", "pending", "waiting", "dead", "skipped")
WRITERS = (("customer", "João"), ("bot", "Robô"), ("agent", "Mariana"), ("system", ""))
READERS = (
    {"connected": True, "mine": True},
    {"backlog": 312},
    {"target_down": True},
    {"paused": "503"},
)
READER = {
    "name": "ana",
    "paused": "",
    "target_down": False,
    "connected": False,
    "mine": False,
    "backlog": 0,
    "away_since": None,
}


async def styleguide(request: web.Request, visitor: Visitor) -> web.Response:
    """`GET /styleguide`."""
    if not visitor.who.admin:
        raise Forbidden(_("this page is for administrators"))
    now = visitor.who.now()
    return render(
        request,
        "styleguide.html",
        visitor=visitor,
        themes=THEMES,
        marks=MARK.findall((FOLDER / "marks.svg").read_text("utf-8")),
        events=[_event(now, number) for number in range(len(STATES))],
        readers=[READER | one for one in READERS],
        menus=menus_of("is:failed", Choices(["message_created"], {"3": "Site"})),
        bars=[(20, 0), (0, 0), (100, 25), (60, 60), (40, 0)],
    )


def _event(now: int, number: int) -> dict[str, Any]:
    """One as lists show it; the last two are a private note, and of no Chatwoot."""
    direction, name = WRITERS[number % len(WRITERS)]
    private = number == len(WRITERS)
    facts = {"direction": direction, "private": private, "name": name, "says": "Bolo? 😀"}
    is_ours = number <= len(WRITERS)
    deliveries = [
        DeliveryLine(who, STATES[(number + at) % len(STATES)], at + 1, None, "", None, None)
        for at, who in enumerate(("ana", "bia", "production", "staging", "test"))
    ]
    return {
        "id": str(number),
        "sequence": number,
        "channel": "chatwoot",
        "received_at": now,
        "kind": "message_created" if is_ours else "",
        "method": "POST",
        "request_target": "/orders?source=shop",
        "key": "2/318" if is_ours else "",
        "facts": facts if is_ours else None,
        "deliveries": deliveries[: number + 1],
        "pinned": "cake" if number == 1 else "",
        "edited": number == 2,
    }


routes = [web.get("/styleguide", page(styleguide))]
