"""A channel that keeps no bodies: events are listed, and nothing brings them again."""

from __future__ import annotations

import pytest

from relay_server.values import UNKEPT, Selection
from tests.support.clock import START_MS
from tests.support.events import OK
from tests.support.stores import deliveries
from tests.support.virtual_time import virtual_time
from tests.support.waiting import settled
from tests.unit.server.asking import Asking, append
from tests.unit.server.support import FakePeer, Served
from tests.unit.server.test_hub import world


@pytest.mark.parametrize("live", [False, True])
@virtual_time
async def test_it_is_not_delivered_empty(*, live: bool) -> None:
    """Neither in a replay nor to a subscription that begins before it: it is skipped, and why."""
    async with world() as w:
        _, reader = await w.join(peer := FakePeer())
        channel = w.store.catalog.channels["chatwoot"]
        await w.append(3)
        reader.finish(peer, peer.got[0].id, OK)
        reader.finish(peer, peer.got[1].id, OK)
        await settled()
        await w.store.flush()
        await w.store.drop_bodies(channel.number, 2 * START_MS, 0, 9)
        if live:
            await w.store.subscribe("chatwoot", "bo", 0, START_MS)
            await w.join(other := FakePeer(), name="bo")
            await settled()
            assert other.sequences == [3]
        else:
            [ana] = await w.store.subscriptions("chatwoot")
            await w.store.create_replay(ana, Selection(), 100.0, START_MS)
        await settled()
        await w.store.flush()
        states = await deliveries(w.store, channel, 1)
        [found] = [one for one in states if one.replay or one.subscription == "bo"]
        assert (found.state, found.reason) == ("skipped", UNKEPT)


async def test_what_is_left_is_shown_and_the_rest_refused(served: Served, admin: Asking) -> None:
    id_ = await append(served, body=b'{"content":"Oi"}')
    await served.store.subscribe("chatwoot", "ana", None, START_MS)
    number = served.store.catalog.channels["chatwoot"].number
    await served.store.drop_bodies(number, 2 * START_MS, 0, 9)

    shown = await admin.ok("GET", f"events/{id_}")
    assert (shown["kept"], shown["body"], shown["kind"]) == (False, "", "message_created")
    assert (await admin.ok("GET", f"events/{id_}/tree"))["problem"] == UNKEPT
    assert [row["id"] for row in (await admin.ok("GET", "events"))["events"]] == [id_]
    for method, path, asked in (
        ("GET", f"events/{id_}/body", None),
        ("GET", f"events/{id_}/as/curl", None),
        ("GET", f"events/{id_}/as/curl?secrets=true", None),
        ("GET", f"compare?a={id_}&b={id_}", None),
        ("POST", "replays", {"selection": {"events": [id_]}}),
        ("POST", "events", {"based_on": id_, "subscription": "ana"}),
    ):
        assert await admin.refused(method, path, asked) == (409, "body_not_kept"), path


async def test_it_is_set(admin: Asking) -> None:
    assert (await admin.ok("GET", "channels/chatwoot"))["keep_bodies"] is True
    changed = await admin.ok("PATCH", "channels/chatwoot", {"keep_bodies": False})
    assert changed["keep_bodies"] is False
