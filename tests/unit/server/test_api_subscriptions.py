"""The JSON API's policies, quotas and pauses: who may set them, and that they hold at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from relay_protocol.messages import Wanted
from relay_protocol.values import Response
from relay_server.configs import ForwardConfig, SubscriptionConfig
from relay_server.values import Scope
from tests.support.clock import START_MS
from tests.support.waiting import settled, until
from tests.unit.server.asking import Asking, append
from tests.unit.server.support import FakeReader, Served

ANA = "channels/chatwoot/subscriptions/ana"


@asynccontextmanager
async def reading(served: Served, name: str = "ana") -> AsyncIterator[FakeReader]:
    """A reader of a subscription, that deliveries go to."""
    reader, hub = FakeReader(), served.context.hub
    hub.add(reader)
    _, pump = await hub.join(reader, Wanted("chatwoot"), name)
    hub.start(pump, reader)
    yield reader
    hub.remove(reader)


async def subscribe(served: Served, name: str = "ana") -> None:
    await served.store.subscribe("chatwoot", name, None, START_MS)


# Channels.


async def test_a_channel_s_policy_and_quota_are_set_and_stay(served: Served, admin: Asking) -> None:
    made = await admin.ok(
        "POST",
        "channels",
        {
            "name": "shop",
            "dead_days": 3,
            "max_bytes": 1_000,
            "drop_oldest": True,
            "policy": {"retry_delays_s": [0.01, 604_800], "other_tries": 1, "hold_failures": 0},
        },
    )
    assert (made["dead_days"], made["max_bytes"], made["drop_oldest"]) == (3, 1_000, True)
    assert made["policy"] == {
        "retry_delays_s": [0.01, 604_800],
        "other_tries": 1,
        "hold_failures": 0,
        "hold_s": 30,
        "strict_order": False,
    }

    changed = await admin.ok(
        "PATCH", "channels/shop", {"max_bytes": None, "policy": {"strict_order": True}}
    )
    assert changed["max_bytes"] is None
    assert changed["policy"] == made["policy"] | {"strict_order": True}
    assert (changed["dead_days"], changed["drop_oldest"]) == (3, True)


IMPOSSIBLE: list[dict[str, Any]] = [
    {"retry_delays_s": [0.009]},
    {"retry_delays_s": [604_801]},
    {"retry_delays_s": [-1]},
    {"retry_delays_s": [1] * 33},
    {"retry_delays_s": 5},
    {"retry_delays_s": ["5s"]},
    {"other_tries": 0},
    {"other_tries": 101},
    {"hold_failures": -1},
    {"hold_failures": 101},
    {"hold_s": -1},
    {"hold_s": 604_801},
    {"strict_order": "yes"},
    {"unknown": 1},
]


@pytest.mark.parametrize(
    "fields",
    [
        *({"policy": policy} for policy in IMPOSSIBLE),
        {"policy": None},
        {"policy": {"hold_s": None}},
        {"dead_days": 0},
        {"dead_days": 36_501},
        {"max_bytes": 0},
        {"max_bytes": -1},
        {"max_bytes": 1_125_899_906_842_625},
        {"max_bytes": "2G"},
        {"drop_oldest": None},
    ],
)
async def test_policies_and_quotas_that_are_impossible_change_nothing(
    served: Served, admin: Asking, fields: dict[str, Any]
) -> None:
    before = served.store.catalog.channels
    assert await admin.refused("POST", "channels", {"name": "new"} | fields) == (
        422,
        "invalid_value",
    )
    assert await admin.refused("PATCH", "channels/chatwoot", fields) == (422, "invalid_value")
    assert served.store.catalog.channels == before


async def test_a_channel_s_policy_holds_at_once_for_those_connected(
    served: Served, admin: Asking
) -> None:
    async with reading(served) as reader:
        await admin.ok("PATCH", "channels/chatwoot", {"policy": {"retry_delays_s": []}})
        await append(served)
        await until(lambda: reader.got)
        pump = served.context.hub._served[reader.got[0].subscription].reader
        pump.finish(reader, reader.got[0].id, Response(500, elapsed_ms=1))
        await settled()
        assert (await admin.ok("GET", ANA))["dead"] == 1, "there was no second try"


async def test_how_full_a_channel_is(served: Served, admin: Asking) -> None:
    await append(served, body=b"x" * 100)
    size = served.store.usage(served.store.catalog.channels["chatwoot"].number)
    await admin.ok("PATCH", "channels/chatwoot", {"max_bytes": 2 * size})

    [channel] = (await admin.ok("GET", "status"))["channels"]
    assert (channel["bytes"], channel["max_bytes"], channel["dropped"]) == (size, 2 * size, 0)
    assert channel["full_percent"] == 50
    await admin.ok("PATCH", "channels/chatwoot", {"max_bytes": None})
    [channel] = (await admin.ok("GET", "status"))["channels"]
    assert channel["full_percent"] is None


@pytest.mark.parametrize("waits", [False, True])
async def test_a_channel_is_worrying_where_nothing_goes_by_itself(
    served: Served, admin: Asking, waits: bool
) -> None:
    if waits:
        await subscribe(served)
    await append(served, body=b"x" * 100)
    size = served.store.usage(served.store.catalog.channels["chatwoot"].number)
    said = []
    for limit in (size * 10 // 7, size * 10 // 9):
        await admin.ok("PATCH", "channels/chatwoot", {"max_bytes": limit})
        [channel] = (await admin.ok("GET", "status"))["channels"]
        said.append(channel["worrying"])
    assert said == [False, waits]


# Subscriptions.


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


@pytest.mark.parametrize("policy", IMPOSSIBLE)
async def test_a_policy_that_is_impossible_is_refused(
    served: Served, admin: Asking, policy: dict[str, Any]
) -> None:
    await subscribe(served)
    assert await admin.refused("PATCH", ANA, {"policy": policy}) == (422, "invalid_value")
    assert (await admin.ok("GET", ANA))["own_policy"] == {}


async def test_paused_by_hand_nothing_goes_out_until_it_is_resumed(
    served: Served, admin: Asking
) -> None:
    async with reading(served) as reader:
        paused = await admin.ok("POST", f"{ANA}/pause")
        assert (paused["paused"], paused["connected"]) == ("paused by hand", True)
        await append(served)
        await settled()
        assert reader.got == []
        [line] = (await admin.ok("GET", "status"))["subscriptions"]
        assert (line["paused"], line["backlog"]) == ("paused by hand", 1)

        assert (await admin.ok("POST", f"{ANA}/resume"))["paused"] == ""
        await until(lambda: reader.got)


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
    for method, path in (("PATCH", ""), ("POST", "/pause"), ("DELETE", "")):
        refused = await ana.refused(method, f"{base}/ana-desktop{path}", {})
        assert refused == (403, "forbidden"), path


async def test_a_forward_is_not_deleted_as_a_subscription(served: Served, admin: Asking) -> None:
    forward = SubscriptionConfig(forward=ForwardConfig("http://bot/"))
    await served.store.subscribe("chatwoot", "ana", None, START_MS, forward)
    answer = await admin("DELETE", ANA)
    assert answer.status == 422
    assert "forward delete" in answer.json["error"]["message"]
    assert len(await served.store.subscriptions()) == 1


async def test_a_sender_knows_nothing_of_subscriptions(served: Served) -> None:
    await subscribe(served)
    sender = Asking(served, await served.make_token("only-sends", Scope.SEND))
    assert await sender.refused("GET", ANA) == (404, "channel_not_found")
    assert await sender.refused("POST", f"{ANA}/resume") == (404, "channel_not_found")


async def test_changes_beside_each_other_all_stay(served: Served, admin: Asking) -> None:
    await subscribe(served)
    await asyncio.gather(
        admin.ok("PATCH", ANA, {"policy": {"hold_s": 5}}),
        admin.ok("PATCH", ANA, {"policy": {"other_tries": 7}}),
        admin.ok("POST", f"{ANA}/pause"),
    )
    found = await admin.ok("GET", ANA)
    assert found["own_policy"] == {"hold_s": 5, "other_tries": 7}
    assert found["paused"] == "paused by hand"
