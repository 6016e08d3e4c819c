"""A disk that is full, for real: nothing is promised, deliveries go on, and it comes back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.disks import MIB, SmallDisk, small_disk
from tests.support.relay import Relay, open_relay
from tests.support.senders import Answer, request
from tests.support.target import Target, gated
from tests.support.waiting import until, until_true

FULL_WITHIN_S = 0.1


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """A disk of 80 MiB, where the relay has its data dir."""
    with small_disk(tmp_path / "relay" / "data", 80 * MIB) as disk:
        yield disk


@pytest.fixture
async def relay(tmp_path: Path, disk: SmallDisk) -> AsyncIterator[Relay]:
    """A relay whose data dir is the disk."""
    async with open_relay(tmp_path / "relay") as relay:
        assert relay.data_dir == disk.folder
        yield relay


def large(relay: Relay, number: int, size: int = 300_000) -> bytes:
    """A webhook of a conversation of its own."""
    body = b'{"event": "message_created", "conversation": {"id": %d}, "content": "%b"}'
    return request(body=body % (number, b"x" * size), token=relay.send_token)


async def post_until_full(relay: Relay) -> set[str]:
    """Post until one is refused; returns the ids of those that were not."""
    accepted = set[str]()
    for number in range(1_000):
        answer = await relay.send(large(relay, number))
        if answer.status != 200:
            check_refusal(answer)
            return accepted
        accepted.add(answer.json["id"])
    raise AssertionError("it never was full")


def check_refusal(answer: Answer) -> None:
    assert answer.status == 429, "what Chatwoot's agent bots try again after"
    assert ("Retry-After", "3") in answer.headers
    assert answer.json["error"]["code"] == "store_full"


@pytest.mark.slow
async def test_a_full_disk_loses_nothing_and_comes_back_by_itself(
    relay: Relay, disk: SmallDisk, target: Target
) -> None:
    gate = gated(target)
    token = await relay.make_token("ana", "subscribe")
    client = await relay.connect(token, "--to", target.address)
    disk.fill(but=16 * MIB)
    accepted = await post_until_full(relay)
    assert accepted

    took = []
    for number in range(2_000, 2_020):
        began = time.monotonic()
        check_refusal(await relay.send(large(relay, number, size=10)))
        took.append(time.monotonic() - began)
    assert min(took) < FULL_WITHIN_S, "a busy machine holds up the others"
    assert (await relay.control("GET", "status"))["store"]["taking"] is False
    assert "relay_store_taking 0.0" in await relay.metrics()
    assert await relay.is_ready(), "readers are served"
    assert "is full" in relay.command("status")[1]

    gate.set()
    await until(lambda: accepted <= target.seen)
    await delivered(relay, accepted)
    await relay.make_token("late", "send")  # commands go on, too
    check_refusal(await relay.send(large(relay, 3_000, size=10)))
    await until(lambda: "webhooks are refused" in relay.server.errors)
    assert relay.server.errors.count("webhooks are refused") == 1

    disk.clear()
    taken = await taken_again(relay)
    assert "relay_store_taking 1.0" in await relay.metrics()
    await until(lambda: "webhooks are taken again" in relay.server.errors)
    assert relay.server.errors.count("webhooks are taken again") == 1
    assert (disk.folder / "reserve").stat().st_blocks * 512 >= 16 * MIB
    assert client.alive
    await restart_and_find(relay, {taken})


@pytest.mark.slow
async def test_where_nothing_can_be_written_at_all_deliveries_go_on(
    relay: Relay, disk: SmallDisk, target: Target
) -> None:
    """Others have taken the reserve's place before progress could be written there."""
    gate = gated(target)
    token = await relay.make_token("ana", "subscribe")
    await relay.connect(token, "--to", target.address)
    disk.fill(but=16 * MIB)
    accepted = await post_until_full(relay)
    assert accepted
    async with kept_full(disk):
        await refused(relay)
        gate.set()
        await until(lambda: accepted <= target.seen)
        assert "is full" in relay.command("status")[1]
        check_refusal(await relay.send(large(relay, 3_000, size=10)))

    disk.clear()
    taken = await taken_again(relay)
    await delivered(relay, accepted)
    await restart_and_find(relay, {taken})


@asynccontextmanager
async def kept_full(disk: SmallDisk) -> AsyncIterator[None]:
    """Take at once whatever becomes free."""
    done = False

    async def fill() -> None:
        while not done:
            await asyncio.to_thread(disk.fill)
            await asyncio.sleep(0.02)  # the pace of another program

    filling = asyncio.create_task(fill())
    try:
        yield
    finally:
        done = True
        await filling


async def refused(relay: Relay) -> None:
    """Post until a webhook is refused: what is free may just do for some."""

    async def is_refused() -> bool:
        return (await relay.send(large(relay, 9_998))).status != 200

    await until_true(is_refused)


async def delivered(relay: Relay, accepted: set[str]) -> None:
    """Wait until it is on record that all of these were delivered, or they are cleaned up."""

    async def are() -> bool:
        states = {e["id"]: e["deliveries"][0]["state"] for e in await relay.events()}
        return all(states.get(id_, "delivered") == "delivered" for id_ in accepted)

    await until_true(are)


async def taken_again(relay: Relay) -> str:
    """Wait until a webhook is stored, which must not take long; returns its id."""

    async def taken() -> str:
        answer = await relay.send(large(relay, 9_999, size=10))
        return str(answer.json["id"]) if answer.status == 200 else ""

    return await until_true(taken)


async def restart_and_find(relay: Relay, accepted: set[str]) -> None:
    relay.server.kill()
    await relay.start()
    assert accepted <= {event["id"] for event in await relay.events()}


@pytest.mark.slow
async def test_a_server_starts_on_a_disk_that_is_full(
    relay: Relay, disk: SmallDisk, target: Target
) -> None:
    """What waits is delivered: that is how room is made."""
    answer = await relay.send(request(token=relay.send_token))
    disk.fill()
    relay.server.kill()

    await relay.start()

    check_refusal(await relay.send(request(token=relay.send_token)))
    token = await relay.make_token("ana", "subscribe")
    await relay.connect(token, "--to", target.address, "--since", "1h")
    await until(lambda: answer.json["id"] in target.seen)


@pytest.mark.slow
async def test_a_cap_is_a_full_disk_of_its_own(tmp_path: Path, target: Target) -> None:
    async with open_relay(tmp_path / "relay", max_store_bytes=str(12 * MIB)) as relay:
        token = await relay.make_token("ana", "subscribe")
        await relay.connect(token, "--to", target.address)

        accepted = await post_until_full(relay)

        await until(lambda: accepted <= target.seen)
        await delivered(relay, accepted)
        await until(lambda: "RELAY_SERVER_MAX_STORE_BYTES" in relay.server.errors)
        assert (relay.data_dir / "relay.db").stat().st_size < 13 * MIB


@pytest.mark.slow
async def test_a_data_dir_that_cannot_be_written_to_is_said_to_be_so(
    tmp_path: Path, disk: SmallDisk
) -> None:
    disk.make_read_only()
    relay = Relay(tmp_path / "relay")

    status, _, said = relay.command("serve")

    assert status == 1
    assert str(disk.folder) in said
