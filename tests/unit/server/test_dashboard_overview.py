"""What the first page says of subscriptions, and of what comes otherwise than before."""

from __future__ import annotations

import msgspec

from relay_server.dashboard.overview import _of_drift, _of_subscription
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

    first, twice, second = _of_subscription(view, START_MS + 120_000)

    assert first.text == "ana of chatwoot cannot hand conversations to people: <no>"
    assert (first.level, twice.level, second.level) == ("bad", "care", "care")
    assert twice.link == "/compare?a=evt_1&b=evt_2"


def test_a_drift_is_told_with_an_event_of_each_side() -> None:
    drift = DriftView(1, "chatwoot", "", START_MS, "evt_1", "evt_2", ["meta.team.icon"], [], [])
    told = _of_drift(drift, START_MS + 120_000)
    assert told.text == "- of chatwoot came with other fields 2 min ago: another version sends it?"
    assert (told.level, told.link) == ("care", "/compare?a=evt_1&b=evt_2")
