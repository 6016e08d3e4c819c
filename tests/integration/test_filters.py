"""A subscription with a filter: what it leaves out costs nobody anything, and is not lost."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Iterable

from tests.support.chatwoot import message, spoken
from tests.support.processes import Running
from tests.support.relay import Relay
from tests.support.senders import post_all
from tests.support.target import Target, open_target
from tests.support.waiting import until, until_true

WANTED = 7  # the one conversation of a hundred that is meant
FEW = ("--filter", f"conv:{WANTED}")
ANA = "channels/chatwoot/subscriptions/ana"


async def post(relay: Relay, numbers: Iterable[int], at_once: int = 20) -> None:
    """Send webhooks of a hundred conversations, each over one of the connections."""
    raw = [message(relay.send_token, n % 100, n) for n in numbers]
    parts = (raw[start::at_once] for start in range(at_once))
    answers = await asyncio.gather(*(post_all(relay.port, part) for part in parts))
    assert {answer.status for part in answers for answer in part} == {200}


async def leave(client: Running) -> None:
    client.terminate()
    assert await client.exit_status() == 0


async def has_room(relay: Relay) -> bool:
    """Whether what was settled is deleted, as far as it must be."""
    [channel] = (await relay.control("GET", "status"))["channels"]
    return bool(channel["full_percent"] < 90)


async def test_of_ten_thousand_events_a_hundred_are_meant(relay: Relay, target: Target) -> None:
    """So the backlog says while nobody reads, and after a restart; and that is what comes."""
    token = await relay.make_token("ana", "subscribe")
    await leave(await relay.connect(token, "--to", target.address, *FEW))
    await post(relay, range(10_000))
    await relay.becomes(ANA, backlog=100)

    relay.server.terminate()
    assert await relay.server.exit_status() == 0
    await relay.start()
    assert (await relay.control("GET", ANA))["backlog"] == 100
    client = await relay.connect(token, "--to", target.address)
    [ready] = client.lines("ready")
    assert (ready["channels"][0]["backlog"], ready["channels"][0]["filter"]) == (100, "conv:7")
    await target.received(100)
    await relay.becomes(ANA, backlog=0, oldest_waiting_at=None)

    assert spoken(target.arrivals) == {WANTED: list(range(WANTED, 10_000, 100))}
    assert len(client.lines("delivered")) == 100
    [last] = (await relay.control("GET", "events?limit=1"))["events"]
    assert [delivery["state"] for delivery in last["deliveries"]] == ["skipped"]
    await relay.said("replay", last["id"])
    await target.received(101)
    assert target.arrivals[-1].event_id == last["id"]


async def test_whoever_takes_over_or_shares_gets_the_same_few(relay: Relay, target: Target) -> None:
    token = await relay.make_token("ana", "subscribe")
    first = await relay.connect(token, "--to", target.address, *FEW)
    await post(relay, range(1_000))
    await target.received(10)
    async with open_target() as one, open_target() as two:
        clients = [
            await relay.connect(token, "--to", each.address, "--share", "--filter", "conv:7,8")
            for each in (one, two)
        ]
        assert await first.exit_status() == 5
        await post(relay, range(1_000, 2_000))
        await until(lambda: len(one.arrivals) + len(two.arrivals) == 20)
        await relay.becomes(ANA, backlog=0)

        assert all(client.alive for client in clients)
        for number in (7, 8):
            came = spoken(one.arrivals)[number] + spoken(two.arrivals)[number]
            assert sorted(came) == list(range(1_000 + number, 2_000, 100))
    assert spoken(target.arrivals) == {WANTED: list(range(WANTED, 1_000, 100))}


async def test_a_channel_is_not_filled_by_what_nobody_wants(relay: Relay, target: Target) -> None:
    """Though nobody reads, and the channel refuses webhooks rather than to drop one."""
    await relay.control("PATCH", "channels/chatwoot", {"max_bytes": 400_000})
    token = await relay.make_token("ana", "subscribe")
    await leave(await relay.connect(token, "--to", target.address, *FEW))
    for start in range(0, 2_000, 100):  # each some 25 KB
        await post(relay, range(start, start + 100))
        await relay.becomes(ANA, backlog=(start + 100) // 100)

        await until_true(functools.partial(has_room, relay))

    [channel] = (await relay.control("GET", "status"))["channels"]
    assert channel["events"] < 2_000
    assert channel["dropped"] == 0
    await relay.connect(token, "--to", target.address)
    await target.received(20)
    assert spoken(target.arrivals) == {WANTED: list(range(WANTED, 2_000, 100))}


async def test_an_impossible_filter_is_said_with_what_would_be(
    relay: Relay, target: Target
) -> None:
    token = await relay.make_token("ana", "subscribe")
    client = relay.begin_connect(token, "--to", target.address, "--filter", "is:dead")

    assert await client.exit_status() == 2
    assert "depends on what becomes of a delivery" in client.errors
