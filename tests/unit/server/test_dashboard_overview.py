"""What the first page says of subscriptions, and of what comes otherwise than before."""

from __future__ import annotations

import msgspec
import pytest

from relay_server.dashboard.overview import _of_deliveries, _of_drift, _of_subscription
from relay_server.operations.drifts import DriftView
from relay_server.operations.subscriptions import SubscriptionView
from tests.support.clock import START_MS
from tests.unit.server.asking import Asking
from tests.unit.server.support import Served


async def test_a_hand_off_that_fails_is_told_beside_what_waits(
    served: Served, admin: Asking
) -> None:
    await served.store.subscribe("chatwoot", "ana", None, START_MS)
    found = await admin.ok("GET", "channels/chatwoot/subscriptions/ana")
    now = {"hand_off_trouble": "<no>", "backlog": 2, "oldest_waiting_at": START_MS}
    now |= {"told_twice": ["evt_1", "evt_2"]}
    view = msgspec.convert(found | now, SubscriptionView)

    first, twice = _of_subscription(view)
    [second] = _of_deliveries([view], START_MS + 120_000)

    assert first.text == "ana of chatwoot cannot hand conversations to people: <no>"
    assert (first.level, twice.level, second.level) == ("bad", "care", "care")
    assert twice.link == "/compare?a=evt_1&b=evt_2"


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        ({"paused": "paused by hand"}, "3 subscriptions are paused: 6 wait, "),
        ({"target_down": True}, "3 subscriptions wait for targets that do not answer: 6 wait, "),
        ({}, "3 subscriptions have no reader: 6 wait, "),
    ],
)
async def test_what_many_subscriptions_have_is_one_sentence(
    served: Served, admin: Asking, trouble: dict[str, object], said: str
) -> None:
    await served.store.subscribe("chatwoot", "ana", None, START_MS)
    found = await admin.ok("GET", "channels/chatwoot/subscriptions/ana")
    oldest = (START_MS + 60_000, START_MS, START_MS + 50_000)
    views = [
        msgspec.convert(found | trouble | {"backlog": 2, "oldest_waiting_at": at}, SubscriptionView)
        for at in oldest
    ]

    [sentence] = _of_deliveries(views, START_MS + 120_000)
    assert (sentence.text, sentence.link) == (f"{said}the oldest for 2 min.", "/subscriptions")

    assert len(_of_deliveries(views[:2], START_MS + 120_000)) == 2, "a sentence each"


async def test_many_deliveries_that_fail_are_one_sentence(served: Served, admin: Asking) -> None:
    await served.store.subscribe("chatwoot", "ana", None, START_MS)
    found = await admin.ok("GET", "channels/chatwoot/subscriptions/ana")
    view = msgspec.convert(found | {"retrying": 1}, SubscriptionView)
    [sentence] = _of_deliveries([view] * 3, START_MS)
    assert sentence.text == "Deliveries of 3 subscriptions fail, and are tried again."
    assert _of_deliveries([msgspec.convert(found, SubscriptionView)], START_MS) == []


def test_a_drift_is_told_with_an_event_of_each_side() -> None:
    drift = DriftView(1, "chatwoot", "", START_MS, "evt_1", "evt_2", ["meta.team.icon"], [], [])
    told = _of_drift(drift, START_MS + 120_000)
    assert told.text == "- of chatwoot came with other fields 2 min ago: another version sends it?"
    assert (told.level, told.link) == ("care", "/compare?a=evt_1&b=evt_2")
