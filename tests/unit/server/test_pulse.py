"""How much happens, by the minute."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay_protocol.messages import Wanted
from relay_protocol.values import Response
from relay_server.pulse import MAX_MINUTES, Beat, Minutes
from relay_server.store.feed import EventsStored, Progressed
from tests.support.clock import START_MS
from tests.support.waiting import until
from tests.unit.server.asking import Asking, Json, append
from tests.unit.server.support import FakePeer, Served


async def last(asking: Asking, channel: str = "chatwoot") -> Json:
    """This minute's counts that are not 0."""
    found = await asking.ok("GET", f"pulse?channel={channel}&minutes=1")
    return {name: n for name, n in found["minutes"][0].items() if n and name != "at"}


async def test_what_happens_is_counted_by_the_minute(
    served: Served, admin: Asking, ana: Asking
) -> None:
    await served.store.subscribe("chatwoot", "ana", None, START_MS)
    policy = {"policy": {"other_tries": 1, "hold_failures": 1}}
    await admin.ok("PATCH", "channels/chatwoot/subscriptions/ana", policy)
    peer, hub = FakePeer(), served.context.hub
    hub.add(peer)
    _, reader = await hub.join(peer, Wanted("chatwoot"), "ana")
    hub.start(reader, peer)
    for n, status in enumerate((200, 404, 503)):
        await append(served, key=str(n))
        await until(lambda n=n: len(peer.got) > n)  # type: ignore[misc]
        reader.finish(peer, peer.got[n].id, Response(status, elapsed_ms=1))
    assert await last(ana) == {"received": 3, "delivered": 1, "failed": 2, "dead": 1}

    again = {"selection": {"events": [peer.got[0].event.id]}, "subscription": "ana"}
    await admin.ok("POST", "replays", {"channel": "chatwoot", **again})
    await until(lambda: len(peer.got) > 3)
    reader.finish(peer, peer.got[3].id, Response(200, elapsed_ms=1))
    assert (await last(ana))["delivered"] == 2

    served.clock.advance(60)
    assert await last(ana) == {}
    await append(served)
    minutes = (await ana.ok("GET", "pulse?minutes=3"))["minutes"]
    assert [minute["received"] for minute in minutes] == [0, 3, 1]
    assert minutes[1]["at"] - minutes[0]["at"] == 60_000


async def test_a_change_that_is_told_twice_counts_once(served: Served, ana: Asking) -> None:
    await append(served)
    number = served.store.catalog.channels["chatwoot"].number
    served.store.feed.tell(EventsStored(number, 1))
    served.store.feed.tell(EventsStored(number, 4))  # another replica stored three

    assert await last(ana) == {"received": 4}


async def test_progress_is_not_told_while_nobody_watches(served: Served) -> None:
    assert not served.store.feed.wants(Progressed), "each webhook would pay for it"


async def test_the_pulse_of_another_channel_is_not_there(served: Served, ana: Asking) -> None:
    assert await ana.refused("GET", "pulse?channel=other") == (404, "channel_not_found")


@pytest.mark.parametrize("minutes", [0, MAX_MINUTES + 1])
async def test_it_is_kept_for_a_day(ana: Asking, minutes: int) -> None:
    assert await ana.refused("GET", f"pulse?minutes={minutes}") == (422, "invalid_value")
    assert len((await ana.ok("GET", f"pulse?minutes={MAX_MINUTES}"))["minutes"]) == MAX_MINUTES


async def test_a_deleted_channel_is_forgotten(served: Served, admin: Asking) -> None:
    await served.make_channel("shop")
    await append(served, "shop")
    await admin.ok("DELETE", "channels/shop")
    await served.make_channel("shop")
    await asyncio.sleep(0)

    assert await last(admin, "shop") == {}


async def test_what_ends_after_its_channel_was_deleted_takes_no_room(
    served: Served, admin: Asking
) -> None:
    peer, hub, pulse = FakePeer(), served.context.hub, served.context.pulse
    number = (await served.make_channel("shop")).number
    _, reader = await hub.join(peer, Wanted("shop"), "ana")
    hub.start(reader, peer)
    await append(served, "shop")
    await until(lambda: peer.got)
    await admin.ok("DELETE", "channels/shop")
    reader.finish(peer, peer.got[0].id, Response(200, elapsed_ms=1))

    [(_, counts)] = pulse.minutes(number, 1)
    assert counts[Beat.DELIVERED] == 0


@given(st.lists(st.tuples(st.integers(0, 4_000), st.sampled_from(Beat), st.integers(1, 9))))
def test_a_minute_has_what_was_counted_in_it(steps: list[tuple[int, Beat, int]]) -> None:
    """For as long as it is kept; a clock that goes back counts into the newest one."""
    counts, expected, newest = Minutes(100), dict[tuple[int, Beat], int](), 100
    for minute, beat, count in steps:
        newest = max(newest, minute)
        counts.add(minute, beat, count)
        expected[newest, beat] = expected.get((newest, beat), 0) + count

    for minute in range(newest - MAX_MINUTES - 5, newest + 5):
        kept = newest - MAX_MINUTES < minute
        want = tuple(expected.get((minute, beat), 0) if kept else 0 for beat in Beat)
        assert counts.of(minute) == want
