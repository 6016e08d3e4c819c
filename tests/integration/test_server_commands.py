"""`relay-server`'s commands, on a server that runs and on a data dir alone."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.chatwoot import message
from tests.support.processes import ending
from tests.support.relay import Relay
from tests.support.senders import request


@pytest.fixture(scope="module", params=[True, False], ids=["running", "stopped"])
def host(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Relay]:
    """A host with an initialized data dir and one stored webhook; its server may run.

    It is the same for all tests, which leave it as they found it.
    """
    relay = Relay(tmp_path_factory.mktemp("host"))
    with ending(relay.processes):
        asyncio.run(store_one(relay))
        if not request.param:
            relay.server.end()
        yield relay


# On a data dir alone, the unit tests of these commands run them in the same process.
RUNNING = pytest.mark.parametrize("host", [True], ids=["running"], indirect=True)


async def store_one(relay: Relay) -> None:
    relay.send_token = str((await relay.said("init"))["send_token"])
    await relay.start()
    await relay.send(message(relay.send_token, 7, 1))


async def all_refused(relay: Relay, *commands: str) -> list[str]:
    """Run commands that must fail, beside each other; what each says of it."""
    return await asyncio.gather(*(relay.refused(*command.split()) for command in commands))


@RUNNING
async def test_tokens_come_and_go(host: Relay) -> None:
    made = await host.said(
        "token", "create", "joao", "--scope", "subscribe", "--channel", "chatwoot"
    )
    assert {name: made[name] for name in ("name", "scopes", "channels")} == {
        "name": "joao",
        "scopes": ["subscribe"],
        "channels": ["chatwoot"],
    }
    listed = (await host.said("token", "list"))["tokens"]
    assert [token["name"] for token in listed] == ["chatwoot", "developer", "joao"]
    assert made["token"] not in str(listed)
    await all_refused(host, "token create joao --scope send", "token revoke nobody")

    status, output, _ = host.command("token", "revoke", "joao")
    assert (status, "Revoked joao" in output) == (0, True)
    assert "joao" not in host.command("token", "list")[1]


@RUNNING
async def test_events_are_listed_and_shown(host: Relay) -> None:
    [event] = (await host.said("events", "list"))["events"]
    whole = await host.said("events", "show", event["id"])

    assert (event["kind"], event["key"], event["sequence"]) == ("message_created", "7", 1)
    assert json.loads(whole["body"])["conversation"] == {"id": 7}
    assert host.send_token not in str(whole)
    assert event["id"][-8:] in host.command("events", "list")[1]
    assert "message_created" in host.command("events", "show", event["id"])[1]
    await all_refused(host, "events show evt_unknown", "events list --channel unknown")


async def test_init_again_status_and_health_say_how_it_is(host: Relay) -> None:
    running = host.server.alive

    again, found = await host.said("init"), await host.said("status")
    status, output, errors = host.command("health")

    assert (again["send_token"], again["running"]) == (None, running)
    assert again["needs_restart"] is False
    assert found["channels"][0]["events"] == 1
    assert found["running"] is running
    assert found["settings"]["port"] == {"value": host.port, "source": "RELAY_SERVER_PORT"}
    assert found["settings"]["host"]["source"] == "default"
    assert host.command("status")[0] == 0
    assert (status, output) == ((0, "ready\n") if running else (1, ""))
    assert running or "control.sock" in errors


async def test_a_backup_is_a_relay_that_starts(host: Relay, tmp_path: Path) -> None:
    copy = Relay(tmp_path / "copy")
    copy.data_dir.mkdir(parents=True)
    file = copy.data_dir / "relay.db"

    assert (await host.said("backup", str(file)))["file"] == str(file)
    await host.refused("backup", str(file))

    with ending(copy.processes):
        await copy.start()
        [event] = await copy.events()
        answer = await copy.send(message(host.send_token, 7, 2))
    assert event["id"] == (await host.said("events", "list"))["events"][0]["id"]
    assert answer.status == 200


async def test_a_second_server_on_a_data_dir_stops_with_a_reason(relay: Relay) -> None:
    errors = await Relay(relay.folder).refused("serve")

    assert f"in use by process {relay.server.process.pid}" in errors
    assert await relay.is_ready()


@pytest.mark.parametrize("setting", ["port", "ops_port"])
async def test_a_port_in_use_is_named(relay: Relay, tmp_path: Path, setting: str) -> None:
    other = Relay(tmp_path / "other")
    setattr(other, setting, getattr(relay, setting))

    errors = await other.refused("serve")

    assert f"port {getattr(relay, setting)}" in errors
    assert f"RELAY_SERVER_{setting.upper()}" in errors


async def test_revoking_by_command_is_felt_by_the_running_server(relay: Relay) -> None:
    assert (await relay.send(request(token=relay.send_token))).status == 200

    assert relay.command("token", "revoke", "sender")[0] == 0

    assert (await relay.send(request(token=relay.send_token))).status == 401


@RUNNING
async def test_init_says_that_a_new_public_url_takes_a_restart(host: Relay) -> None:
    kept = host.data_dir / "settings.toml"
    status, output, errors = host.command("init", "--public-url", "https://new.example.com")
    kept.unlink()

    assert (status, errors) == (0, "")
    lines = [line.strip() for line in output.splitlines()]
    assert any("Restart the server" in line for line in lines)
    assert "https://relay:TOKEN@new.example.com/webhook" in lines
    assert "relay-client login https://new.example.com" in lines


async def test_a_server_without_a_token_says_so_until_init_made_one(tmp_path: Path) -> None:
    """A mistyped data dir, or a volume that is not mounted, must not look like a good server."""
    fresh = Relay(tmp_path)
    with ending(fresh.processes):
        await fresh.start()
        status, said, errors = await asyncio.to_thread(fresh.command, "health")
        unready = await asyncio.to_thread(fresh.command, "health", "--json")
        shown = await asyncio.to_thread(fresh.command, "status")
        examined = await asyncio.to_thread(fresh.command, "doctor")
        assert await fresh.state() == "uninitialized"
        assert "run relay-server init" in fresh.server.errors
        assert (status, said, "run relay-server init" in errors) == (1, "", True)
        assert json.loads(unready[1])["error"]["code"] == "not_ready"
        assert "Not ready: no token was ever made" in shown[1]
        [failed] = [line for line in examined[1].splitlines() if line.startswith("FAILED")]
        assert "no token was ever made" in failed

        made = await fresh.said("init")
        assert await fresh.is_ready(), "at once"
        assert (await fresh.send(request(token=made["send_token"]))).status == 200
        for name in ("developer", "chatwoot"):
            await fresh.control("DELETE", f"tokens/{name}")
        assert await fresh.is_ready(), "who rotates a token must not have the server replaced"


async def test_serve_can_begin_with_init(tmp_path: Path) -> None:
    fresh = Relay(tmp_path)
    fresh.serve_options = ["--init"]
    with ending(fresh.processes):
        await fresh.start()
        assert await fresh.is_ready()
        first, kept = fresh.server, fresh.data_dir / "first-tokens.json"
        made = json.loads(kept.read_text())
        assert kept.stat().st_mode & 0o777 == 0o600
        assert (await fresh.send(request(token=made["send_token"]))).status == 200
        kept.unlink()
        first.terminate()
        assert await first.exit_status() == 0
        await fresh.start()
        assert str(kept) in first.output
        assert "rly_" not in first.output + first.errors + fresh.server.output
        assert not kept.exists()
        fresh.server.terminate()


async def test_both_ports_that_are_in_use_are_named_at_once(relay: Relay, tmp_path: Path) -> None:
    other = Relay(tmp_path / "other")
    other.port, other.ops_port = relay.port, relay.ops_port

    errors = await other.refused("serve")

    for port, option in ((relay.port, "--port"), (relay.ops_port, "--ops-port")):
        assert f"port {port} of 127.0.0.1 is in use" in errors
        assert option in errors
