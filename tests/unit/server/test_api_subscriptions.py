"""The JSON API's subscriptions: how each delivers, paused or not, and whose it is to see."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from relay_protocol.messages import Wanted
from relay_protocol.values import Response
from relay_server.configs import ForwardConfig, SubscriptionConfig
from relay_server.values import Mark, MarkState, Progress, Scope
from tests.support.clock import START_MS
from tests.support.waiting import settled, until
from tests.unit.server.asking import IMPOSSIBLE_POLICIES, Asking, append
from tests.unit.server.support import FakePeer, Served

ANA = "channels/chatwoot/subscriptions/ana"


@asynccontextmanager
async def reading(served: Served, name: str = "ana") -> AsyncIterator[FakePeer]:
    """A peer of a subscription, that deliveries go to."""
    peer, hub = FakePeer(), served.context.hub
    hub.add(peer)
    _, reader = await hub.join(peer, Wanted("chatwoot"), name)
    hub.start(reader, peer)
    yield peer
    hub.remove(peer)


async def subscribe(served: Served, name: str = "ana") -> None:
    await served.store.subscribe("chatwoot", name, None, START_MS)


async def test_a_subscription_does_otherwise_than_its_channel(
    served: Served, admin: Asking
) -> None:
    await subscribe(served)
    whole = (await admin.ok("GET", ANA))["policy"]

    changed = await admin.ok("PATCH", ANA, {"policy": {"hold_s": 5, "retry_delays_s": [1]}})
    assert changed["own_policy"] == {"hold_s": 5, "retry_delays_s": [1]}
    assert changed["policy"] == whole | changed["own_policy"]
    changed = await admin.ok("PATCH", ANA, {"policy": {"hold_s": None, "other_tries": 7}})
    assert changed["own_policy"] == {"other_tries": 7, "retry_delays_s": [1]}
    assert await admin.ok("PATCH", ANA, {}) == changed
    await admin.ok("PATCH", "channels/chatwoot", {"policy": {"hold_failures": 9}})
    assert (await admin.ok("GET", ANA))["policy"]["hold_failures"] == 9
    dropped = await admin.ok("PATCH", ANA, {"policy": None})
    assert dropped["own_policy"] == {}
    assert dropped["policy"] == whole | {"hold_failures": 9}


async def test_a_filter_is_asked_of_what_waits_before_it_is_answered(
    served: Served, admin: Asking
) -> None:
    await subscribe(served)
    for _ in range(5):
        await append(served)
    assert (await admin.ok("GET", ANA))["filter"] == ""

    changed = await admin.ok("PATCH", ANA, {"filter": " -kind:message_created "})
    assert (changed["filter"], changed["backlog"]) == ("-kind:message_created", 0)
    assert (await admin.ok("PATCH", ANA, {"policy": None}))["filter"] == changed["filter"]
    [line] = (await admin.ok("GET", "status"))["subscriptions"]
    assert (line["filter"], line["backlog"]) == (changed["filter"], 0)
    [first, *_] = (await admin.ok("GET", "events"))["events"]
    assert [delivery["state"] for delivery in first["deliveries"]] == ["skipped"]
    assert (await admin.ok("PATCH", ANA, {"filter": ""}))["backlog"] == 0


@pytest.mark.parametrize("wanted", ["kin:x", "is:dead", "a" * 501])
async def test_a_filter_that_cannot_be_changes_nothing(
    served: Served, admin: Asking, wanted: str
) -> None:
    await subscribe(served)
    body = {"filter": wanted, "policy": {"hold_s": 5}}
    assert await admin.refused("PATCH", ANA, body) == (422, "invalid_filter")
    one = await admin.ok("GET", ANA)
    assert (one["filter"], one["own_policy"]) == ("", {})


@pytest.mark.parametrize("policy", IMPOSSIBLE_POLICIES)
async def test_a_policy_that_is_impossible_is_refused(
    served: Served, admin: Asking, policy: dict[str, Any]
) -> None:
    await subscribe(served)
    assert await admin.refused("PATCH", ANA, {"policy": policy}) == (422, "invalid_value")
    assert (await admin.ok("GET", ANA))["own_policy"] == {}


async def test_a_channel_s_policy_holds_at_once_for_those_connected(
    served: Served, admin: Asking
) -> None:
    async with reading(served) as peer:
        await admin.ok("PATCH", "channels/chatwoot", {"policy": {"retry_delays_s": []}})
        await append(served)
        await until(lambda: peer.got)
        reader = served.context.hub.readers._served[peer.got[0].subscription].reader
        reader.finish(peer, peer.got[0].id, Response(500, elapsed_ms=1))
        await settled()
        assert (await admin.ok("GET", ANA))["dead"] == 1, "there was no second try"


async def test_paused_by_hand_nothing_goes_out_until_it_is_resumed(
    served: Served, admin: Asking
) -> None:
    async with reading(served) as peer:
        paused = await admin.ok("POST", f"{ANA}/pause")
        assert (paused["paused"], paused["connected"]) == ("paused by hand", True)
        assert (paused["paused_by"], paused["paused_at"]) == ("root", served.clock.unix_ms())
        await append(served)
        await settled()
        assert peer.got == []
        [line] = (await admin.ok("GET", "status"))["subscriptions"]
        assert (line["paused"], line["backlog"]) == ("paused by hand", 1)

        resumed = await admin.ok("POST", f"{ANA}/resume")
        assert (resumed["paused"], resumed["paused_by"], resumed["paused_at"]) == ("", "", None)
        await until(lambda: peer.got)


async def test_a_pause_keeps_the_reason_it_had(served: Served, admin: Asking) -> None:
    gone = SubscriptionConfig(paused="the target answered 410")
    await served.store.subscribe("chatwoot", "ana", None, START_MS, gone)
    assert (await admin.ok("POST", f"{ANA}/pause"))["paused"] == "the target answered 410"


async def test_a_reader_resumes_what_it_may_connect_to_and_no_more(
    served: Served, ana: Asking
) -> None:
    gone = SubscriptionConfig(paused="the target answered 410")
    forward = SubscriptionConfig(forward=ForwardConfig("http://bot/"), paused="410")
    for channel, name, config in (
        ("chatwoot", "ana-desktop", gone),
        ("chatwoot", "forward", forward),
        ("other", "ana", gone),
    ):
        await served.store.subscribe(channel, name, None, START_MS, config)
    base = "channels/chatwoot/subscriptions"

    assert (await ana.ok("POST", f"{base}/ana-desktop/resume"))["paused"] == ""
    assert await ana.refused("POST", f"{base}/forward/resume") == (403, "forbidden")
    assert await ana.refused("POST", "channels/other/subscriptions/ana/resume") == (
        404,
        "channel_not_found",
    )
    assert await ana.refused("POST", f"{base}/x/resume") == (404, "subscription_not_found")


async def test_a_forward_is_not_deleted_as_a_subscription(served: Served, admin: Asking) -> None:
    forward = SubscriptionConfig(forward=ForwardConfig("http://bot/"))
    await served.store.subscribe("chatwoot", "ana", None, START_MS, forward)
    answer = await admin("DELETE", ANA)
    assert answer.status == 422
    assert "forward delete" in answer.json["error"]["message"]
    assert len(await served.store.subscriptions()) == 1


async def test_a_subscription_is_forgotten_once_nobody_reads_it(
    served: Served, admin: Asking
) -> None:
    hub, path = served.context.hub, "channels/chatwoot/subscriptions/Jo%C3%A3o%20da%20Silva"
    peer = FakePeer()
    hub.add(peer)
    await hub.join(peer, Wanted("chatwoot"), "João da Silva")
    assert await admin.refused("DELETE", path) == (409, "subscription_connected")

    hub.remove(peer)
    await admin.ok("DELETE", path)

    assert await served.store.subscription_status() == []
    assert await admin.refused("DELETE", path) == (404, "subscription_not_found")
    for missing in ("channels/chatwoot/subscriptions/x", "channels/chatwoot/subscriptions/%2e%2e"):
        assert (await admin.refused("DELETE", missing))[0] == 404
    elsewhere = "channels/unknown/subscriptions/ana"
    assert await admin.refused("DELETE", elsewhere) == (404, "channel_not_found")


async def test_a_token_skips_and_deletes_what_is_its_own(
    served: Served, admin: Asking, ana: Asking
) -> None:
    """By its name, or since it made it; never what is another's."""
    await served.make_token("bob", Scope.SUBSCRIBE)
    for name, token in (("ana", "ana"), ("tests", "ana"), ("bob", "ana"), ("forward", "root")):
        peer = FakePeer(token=token)
        served.context.hub.add(peer)
        await served.context.hub.join(peer, Wanted("chatwoot"), name)
        served.context.hub.remove(peer)
    await served.store.subscribe("chatwoot", "old", None, START_MS)
    for number in range(3):
        await append(served, key=str(number), received_at=START_MS + number)
    base = "channels/chatwoot/subscriptions"

    shown = {s["name"]: s["own"] for s in (await ana.ok("GET", "status"))["subscriptions"]}
    assert shown == {"ana": True, "bob": False, "forward": False, "old": False, "tests": True}
    for who, own in ((ana, ["ana", "tests"]), (admin, ["forward"])):
        listed = (await who.ok("GET", "status"))["subscriptions"]
        assert [s["name"] for s in listed if s["mine"]] == own
    assert await ana.ok("POST", f"{base}/ana/skip", {"up_to": 2}) == {"skipped": 2}
    assert await ana.ok("POST", f"{base}/ana/skip", {}) == {"skipped": 1}
    assert (await ana.ok("GET", f"{base}/ana"))["backlog"] == 0
    assert await ana.refused("POST", f"{base}/ana/skip", {"up_to": -1}) == (422, "invalid_value")
    for other in ("bob", "old"):
        assert await ana.refused("POST", f"{base}/{other}/skip", {}) == (403, "forbidden")
        assert await ana.refused("DELETE", f"{base}/{other}") == (403, "forbidden")
    await ana.ok("DELETE", f"{base}/tests")
    await admin.ok("DELETE", f"{base}/old")
    left = [s.name for s in await served.store.subscriptions()]
    assert left == ["ana", "bob", "forward"]
    actions = [e["action"] for e in (await admin.ok("GET", "audit"))["entries"]]
    assert actions.count("subscription.skip") == 2


async def test_a_token_gives_up_what_fails_of_its_own(
    served: Served, admin: Asking, ana: Asking
) -> None:
    """It is listed with who did, noted, and replayed like all that is dead; others' is not hers."""
    await served.make_token("bob", Scope.SUBSCRIBE)
    first = await append(served, key="k")
    base = "channels/chatwoot/subscriptions"
    give_up = {"event": first}
    for name in ("ana", "bob"):
        made, _ = await served.store.subscribe("chatwoot", name, 0, START_MS)
        claim = await served.store.claim(made.number)
        assert claim is not None
        waiting = Mark(1, MarkState.WAITING, 2, 2, START_MS + 60_000, START_MS, "answered 503")
        served.store.record(claim, Progress(0, (waiting,)))

    assert await ana.refused("POST", f"{base}/bob/give-up", give_up) == (403, "forbidden")
    line = await ana.ok("POST", f"{base}/ana/give-up", give_up)
    assert (line["state"], line["reason"]) == ("dead", "given up by ana")
    again = await ana.refused("POST", f"{base}/ana/give-up", give_up)
    assert again == (409, "nothing_selected")
    assert (await admin.ok("POST", f"{base}/bob/give-up", give_up))["state"] == "dead"
    new = {"based_on": first, "subscription": "ana"}
    edited = (await ana.ok("POST", "events", new))["id"]
    refused = await ana.refused("POST", f"{base}/ana/give-up", {"event": edited})
    assert refused == (422, "invalid_value")
    unknown = await ana.refused("POST", f"{base}/ana/give-up", {"event": "evt_x"})
    assert unknown == (404, "event_not_found")

    dead = (await ana.ok("GET", "dead?subscription=ana"))["dead"]
    assert [(one["id"], one["reason"], one["attempts"]) for one in dead] == [
        (first, "given up by ana", 2)
    ]
    chosen = {"channel": "chatwoot", "subscription": "ana", "selection": {"dead": True}}
    assert (await ana.ok("POST", "replays", chosen))["replays"][0]["subscription"] == "ana"
    noted = (await admin.ok("GET", "audit"))["entries"]
    assert [(e["what"], e["made_by"]) for e in noted if e["action"] == "delivery.give_up"] == [
        ("chatwoot/bob", "root"),
        ("chatwoot/ana", "ana"),
    ]


async def test_what_is_named_after_a_token_is_that_token_s_since_there_is_one(
    served: Served, admin: Asking, ana: Asking
) -> None:
    """Whoever used the name before deletes nothing of theirs."""
    path, peer = "channels/chatwoot/subscriptions/bob", FakePeer(token="ana")
    await served.context.hub.join(peer, Wanted("chatwoot"), "bob")
    served.context.hub.remove(peer)
    assert (await ana.ok("GET", path))["own"]
    bob = Asking(served, await served.make_token("bob", Scope.SUBSCRIBE))
    assert await ana.refused("DELETE", path) == (403, "forbidden")
    assert await ana.refused("POST", f"{path}/skip", {}) == (403, "forbidden")
    await bob.ok("DELETE", path)


SECRET_URL = "http://bot:8001/hooks/SECRETPATH"


FORWARD = "channels/chatwoot/subscriptions/forward"


@pytest.fixture
async def forward(served: Served) -> None:
    config = SubscriptionConfig(forward=ForwardConfig(SECRET_URL))
    made, _ = await served.store.subscribe("chatwoot", "forward", None, START_MS, config)
    peer = FakePeer()
    served.context.hub.add(peer)
    reader = await served.context.hub.join_forward(peer, made)
    served.context.hub.start(reader, peer)
    reader.hold(peer, "10.0.0.5 does not take connections")


@pytest.mark.usefixtures("forward")
async def test_where_a_forward_posts_is_for_administrators(admin: Asking, ana: Asking) -> None:
    """A path can be a secret, and addresses tell of the network inside."""
    for path in ("status", FORWARD):
        whole = json.dumps(await admin.ok("GET", path))
        assert SECRET_URL in whole
        assert "10.0.0.5" in whole
        shown = json.dumps(await ana.ok("GET", path))
        assert "SECRETPATH" not in shown
        assert "10.0.0.5" not in shown
    mine = await ana.ok("GET", FORWARD)
    assert (mine["forward"], mine["waits_for"], mine["target_down"]) == ("•••", "•••", True)


async def test_changes_beside_each_other_all_stay(served: Served, admin: Asking) -> None:
    await subscribe(served)
    await asyncio.gather(
        admin.ok("PATCH", ANA, {"policy": {"hold_s": 5}}),
        admin.ok("PATCH", ANA, {"policy": {"other_tries": 7}}),
        admin.ok("POST", f"{ANA}/pause"),
        admin.ok("PATCH", "channels/chatwoot", {"dead_days": 4}),
        admin.ok("PATCH", "channels/chatwoot", {"max_bytes": 5_000_000}),
    )
    channel = await admin.ok("GET", "channels/chatwoot")
    assert (channel["dead_days"], channel["max_bytes"]) == (4, 5_000_000)
    found = await admin.ok("GET", ANA)
    assert found["own_policy"] == {"hold_s": 5, "other_tries": 7}
    assert found["paused"] == "paused by hand"


async def test_what_becomes_of_what_waits_is_set_and_stays(served: Served, admin: Asking) -> None:
    await served.store.subscribe("chatwoot", "ana", None, START_MS)
    path = "channels/chatwoot/subscriptions/ana"
    fields = {"away": "handoff", "away_after_s": 60, "away_note": "desde {since}"}
    made = await admin.ok("PATCH", path, fields)
    assert {name: made[name] for name in fields} == fields
    assert (made["handed_over"], made["hand_off_trouble"]) == (0, "")
    changed = await admin.ok("PATCH", path, {"away_after_s": 2.5})
    assert (changed["away"], changed["away_after_s"]) == ("handoff", 2.5)
    for wrong in ({"away": "reject"}, {"away_after_s": 0.5}, {"away_note": "x" * 1_001}):
        assert await admin.refused("PATCH", path, wrong) == (422, "invalid_value")
    assert (await admin.ok("GET", path))["away_note"] == "desde {since}"
    [found] = await served.store.subscriptions("chatwoot")
    assert found.config.filtered  # what people took over is settled for its next reader, too
