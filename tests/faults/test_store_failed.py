"""A server whose store fails ends, and says what and where; a backup made under load is whole."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.chatwoot import message
from tests.support.processes import ending
from tests.support.relay import Relay
from tests.support.senders import load
from tests.support.target import Target


def unlink_database(data_dir: Path) -> None:
    (data_dir / "relay.db").unlink()


def unlink_log(data_dir: Path) -> None:
    (data_dir / "relay.db-wal").unlink()


def replace_database(data_dir: Path) -> None:
    (data_dir / "relay.db").replace(data_dir / "aside")
    shutil.copy(data_dir / "aside", data_dir / "relay.db")


@pytest.mark.parametrize("happens", [unlink_database, unlink_log, replace_database])
async def test_a_server_whose_store_vanished_ends_with_a_reason(
    relay: Relay, happens: Callable[[Path], None]
) -> None:
    first = await relay.send(message(relay.send_token, 1, 1))
    happens(relay.data_dir)

    answer = await relay.send(message(relay.send_token, 1, 2))

    assert (first.status, answer.status) == (200, 429)
    assert answer.json["error"]["code"] == "store_broken"
    assert "may be delivered after the next start" in answer.json["error"]["message"]
    assert await relay.server.exit_status() == 1
    assert f"{relay.data_dir}/relay.db" in relay.server.errors
    assert "removed or replaced" in relay.server.errors
    assert "restore" in relay.server.errors


async def test_a_damaged_store_is_not_served(relay: Relay) -> None:
    for number in range(50):
        await relay.send(message(relay.send_token, 1, number))
    relay.server.end()
    file = relay.data_dir / "relay.db"
    raw = bytearray(file.read_bytes())
    middle = len(raw) // 2 // 4_096 * 4_096
    raw[middle : middle + 4_096] = b"\xff" * 4_096
    file.write_bytes(raw)

    status, _, said = relay.command("serve")

    assert status == 1
    assert str(file) in said
    assert "restore" in said


async def test_an_event_that_the_disk_changed_is_sent_to_nobody(
    relay: Relay, target: Target
) -> None:
    """It is dead and says why; its conversation and all else go on."""
    token = await relay.make_token("ana", "subscribe")
    client = await relay.connect(token, "--to", target.address)
    client.end()
    answers = [await relay.send(message(relay.send_token, 1, number)) for number in range(3)]
    damaged = answers[1].json["id"]
    relay.server.end()
    file = relay.data_dir / "relay.db"
    raw = bytearray(file.read_bytes())
    assert raw.count(b'"id": 1, "conversation"') == 1
    raw[raw.index(b'"id": 1, "conversation"')] ^= 1
    file.write_bytes(raw)

    await relay.start()
    await relay.connect(token, "--to", target.address)
    await target.received(2)

    assert target.event_ids == [answers[0].json["id"], answers[2].json["id"]]
    [dead] = (await relay.control("GET", "dead"))["dead"]
    assert (dead["id"], "checksum is wrong" in dead["reason"]) == (damaged, True)
    assert relay.server.errors.count("event is damaged, and not sent") == 1
    status, shown, _ = await asyncio.to_thread(relay.command, "events", "show", damaged)
    assert (status, "it is sent to nobody" in shown) == (0, True)
    assert (await relay.control("GET", f"events/{damaged}"))["damaged"]


async def test_an_older_program_leaves_a_newer_store_alone(relay: Relay) -> None:
    relay.server.end()
    file = relay.data_dir / "relay.db"
    raw = bytearray(file.read_bytes())
    raw[60:64] = (999).to_bytes(4, "big")  # the version
    file.write_bytes(raw)

    status, _, said = relay.command("serve")

    assert status == 1
    assert "has version 999, this program knows up to" in said
    assert file.read_bytes() == raw


async def test_a_backup_under_load_has_all_that_was_answered_before(
    relay: Relay, tmp_path: Path
) -> None:
    file = tmp_path / "backup.db"
    async with load(relay.port, lambda c, n: message(relay.send_token, c, n)) as going:
        await going.accepts(100)
        before = set(going.accepted)
        status, _, said = await asyncio.to_thread(relay.command, "backup", file)
        await going.stop()
    assert status == 0, said
    assert before < going.accepted
    status, _, said = relay.command("restore", file, "--yes")
    assert status == 1
    assert "Stop the server" in said

    other = Relay(tmp_path / "other")
    other.folder.mkdir()
    status, _, said = other.command("restore", file, "--yes", "--json")
    assert status == 0, said

    with ending(other.processes):
        await other.start()
        assert before <= {event["id"] for event in await other.events()}
        assert (await other.send(message(relay.send_token, 1, 1))).status == 200, "an old token"
