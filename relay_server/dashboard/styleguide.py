"""What pages are made of, side by side in both themes: what a contributor looks at first.

The parts are drawn by the templates' own macros. Marks are those of the sheet and states those
that rows know, so that a new one shows here by itself.
"""

from __future__ import annotations

import re
from typing import Any

from aiohttp import web
from msgspec.structs import replace

from relay_server.bodies.compare import Change, Difference
from relay_server.bodies.tree import parse, walk
from relay_server.dashboard.answers import branches
from relay_server.dashboard.assets import FOLDER
from relay_server.dashboard.filtering import menus_of
from relay_server.dashboard.rendering import THEMES, render
from relay_server.dashboard.timeline import LEAST, Bar
from relay_server.dashboard.visit import Visitor, page
from relay_server.errors import Forbidden
from relay_server.operations.events import DeliveryLine
from relay_server.operations.progress import Conditioned, ReplayView
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
LANES = [
    Bar("wait", 0, 120),
    Bar("good", 120, 200),
    Bar("bad", 340, 120),
    Bar("under-way", 480, 160),
    Bar("ahead", 660, 220),
    Bar("reply", 900, LEAST),
]
BODY = (
    b'{"content": "Bolo? \xf0\x9f\x98\x80", "id": 90412, "private": false, "sender": null,'
    b' "conversation": {"id": 318, "hmac_token": "secret"}, "attachments": []}'
)
DIFFERENCES = [
    Difference("/content", Change.CHANGED, a="oi", b="olá"),
    Difference("/sender/blocked", Change.ADDED, b="true"),
    Difference("/id", Change.REMOVED, a="90412"),
    Difference("/account", Change.TYPE, a="2", b='"2"'),
    Difference("/labels/0", Change.MOVED, a="vip", b="vip"),
]
REPLAY = ReplayView(
    number=7,
    channel="chatwoot",
    subscription="ana",
    state="running",
    selection=Conditioned(),
    rate_per_s=10.0,
    at_most=100,
    delivered=40,
    dead=0,
    percent=40.0,
    retrying=0,
    next_attempt_at=None,
    left_s=6,
    made_by="ana",
    created_at=0,
    ended_at=None,
    connected=True,
    paused="",
)
REPLAYS: tuple[dict[str, Any], ...] = (
    {},
    {"left_s": None, "connected": False},
    {"left_s": None, "paused": "503"},
    {"state": "done", "percent": 100.0, "delivered": 97, "dead": 3},
    {"state": "stopped"},
)


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
        readers=[READER | one for one in (*READERS, {"away_since": now - 720_000})],
        lanes=LANES,
        branches=branches(list(walk(parse(BODY)))),
        differences=DIFFERENCES,
        replays=[replace(REPLAY, **one) for one in REPLAYS],
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
