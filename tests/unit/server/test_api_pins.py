"""The JSON API's pins: examples under a name."""

from __future__ import annotations

import pytest

from relay_server.values import Scope
from tests.support.clock import START_MS
from tests.unit.server.asking import Asking, append
from tests.unit.server.support import Served


async def test_an_event_is_pinned_listed_and_unpinned(served: Served, ana: Asking) -> None:
    event = await append(served, received_at=START_MS)
    pinned = await ana.ok("PUT", f"pins/{event}", {"name": "João sends audio"})

    assert pinned == {
        "name": "João sends audio",
        "id": event,
        "channel": "chatwoot",
        "sequence": 1,
        "edited": False,
        "received_at": START_MS,
        "kind": "message_created",
        "key": "7",
        "method": "POST",
        "request_target": "/webhook?a=%2F",
        "size": pinned["size"],
        "made_by": "ana",
        "made_at": pinned["made_at"],
    }
    assert (await ana.ok("GET", "pins"))["pins"] == [pinned]
    assert (await ana.ok("GET", "pins?channel=chatwoot"))["pins"] == [pinned]
    [row] = (await ana.ok("GET", "events"))["events"]
    assert row["pinned"] == "João sends audio"
    assert (await ana.ok("GET", f"events/{event}"))["pinned"] == "João sends audio"

    assert (await ana("DELETE", f"pins/{event}")).status == 204
    assert (await ana.ok("GET", "pins"))["pins"] == []
    assert (await ana.ok("GET", f"events/{event}"))["pinned"] == ""
    assert await ana.refused("DELETE", f"pins/{event}") == (404, "pin_not_found")


async def test_another_channels_are_not_seen(served: Served, ana: Asking, admin: Asking) -> None:
    event = await append(served, "other")
    await admin.ok("PUT", f"pins/{event}", {"name": "audio"})
    assert [p["channel"] for p in (await admin.ok("GET", "pins"))["pins"]] == ["other"]

    assert (await ana.ok("GET", "pins"))["pins"] == []
    assert await ana.refused("GET", "pins?channel=other") == (404, "channel_not_found")
    asked = ("PUT", f"pins/{event}", {"name": "mine"})
    assert await ana.refused(*asked) == (404, "event_not_found")
    assert await ana.refused("DELETE", f"pins/{event}") == (404, "event_not_found")


@pytest.mark.parametrize("name", ["", "a/b", "..", "x" * 64, "a\u202eb", "a\nb", 7, None])
async def test_a_name_that_cannot_be(served: Served, ana: Asking, name: object) -> None:
    event = await append(served)
    assert await ana.refused("PUT", f"pins/{event}", {"name": name}) == (422, "invalid_value")


async def test_a_name_that_is_taken(served: Served, ana: Asking) -> None:
    first, second = await append(served), await append(served)
    await ana.ok("PUT", f"pins/{first}", {"name": "audio"})
    assert await ana.refused("PUT", f"pins/{second}", {"name": "audio"}) == (409, "pin_exists")


async def test_an_edited_event_is_pinned(served: Served, ana: Asking) -> None:
    event = await append(served)
    await served.store.subscribe("chatwoot", "ana", None, START_MS)
    made = await ana.ok("POST", "events", {"based_on": event, "subscription": "ana"})
    assert (await ana.ok("PUT", f"pins/{made['id']}", {"name": "tried"}))["edited"] is True
    assert (await ana.ok("GET", f"events/{made['id']}"))["pinned"] == "tried"


async def test_a_token_that_only_sends_pins_nothing(served: Served) -> None:
    event = await append(served)
    sender = Asking(served, await served.make_token("only", Scope.SEND))
    asked = ("PUT", f"pins/{event}", {"name": "audio"})
    assert await sender.refused(*asked) == (404, "event_not_found")
