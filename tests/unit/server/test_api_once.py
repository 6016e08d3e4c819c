"""Messages that are delivered once, as administrators set it."""

from __future__ import annotations

import dataclasses

from tests.support.clock import START_MS
from tests.unit.server.asking import Asking
from tests.unit.server.support import Served

ANA = "channels/chatwoot/subscriptions/ana"


async def test_it_is_set_and_shown(served: Served, admin: Asking) -> None:
    """What was left out by then stays left out afterwards."""
    await served.store.subscribe("chatwoot", "ana", None, START_MS)
    assert (await admin.ok("GET", ANA))["once"] is False
    assert (await admin.ok("PATCH", ANA, {"once": True}))["once"] is True
    assert (await admin.ok("PATCH", ANA, {"filter": ""}))["once"] is True
    assert (await admin.ok("PATCH", ANA, {"once": False}))["once"] is False
    assert (await admin.ok("PATCH", ANA, {"pause_loops": False}))["pause_loops"] is False
    served.context.hub.told_twice = lambda _: ("evt_1", "evt_2")
    assert (await admin.ok("GET", ANA))["told_twice"] == ["evt_1", "evt_2"]
    assert (await admin.ok("PATCH", ANA, {"once": True}))["told_twice"] == []
    [ana] = await served.store.subscriptions("chatwoot")
    assert ana.config.filtered


async def test_a_forward_is_made_with_it_and_changed(served: Served, admin: Asking) -> None:
    settings = served.context.settings
    served.context.settings = dataclasses.replace(settings, forward_allow=("bot",))
    wanted = {"channel": "chatwoot", "url": "http://bot:8001/webhook", "once": True}
    assert (await admin.ok("POST", "forwards", wanted))["once"] is True
    path = "forwards/chatwoot/forward"
    assert (await admin.ok("PATCH", path, {"once": False}))["once"] is False


async def test_where_something_else_posts_it_is_refused(served: Served, admin: Asking) -> None:
    await served.store.subscribe("chatwoot", "ana", None, START_MS)
    await admin.ok("PATCH", "channels/chatwoot", {"sender": "github"})
    assert await admin.refused("PATCH", ANA, {"once": True}) == (422, "invalid_value")
    assert (await admin.ok("PATCH", ANA, {"once": False}))["once"] is False
