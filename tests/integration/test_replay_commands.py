"""Dead letters, replays, policies and pauses, from a shell, with a client that is connected."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from tests.support.chatwoot import message, spoken
from tests.support.processes import Json
from tests.support.relay import Relay
from tests.support.target import BROKEN, OK, Arrival, Target
from tests.support.waiting import until

GONE = b"HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n"


async def said(relay: Relay, *arguments: str) -> Json:
    """Run a relay-server command that must succeed with --json, and give what it printed."""
    status, output, errors = await asyncio.to_thread(relay.command, *arguments, "--json")
    assert (status, errors) == (0, ""), (status, errors)
    found: Json = json.loads(output)
    return found


async def refused(relay: Relay, *arguments: str, status: int = 1) -> str:
    """Run one that must fail: what it says of it."""
    ended, output, errors = await asyncio.to_thread(relay.command, *arguments)
    assert (ended, output, "Traceback" in errors) == (status, "", False), errors
    return errors


async def comes_true(relay: Relay, path: str, name: str, value: object) -> Json:
    """Wait until what the API answers is so."""
    async with asyncio.timeout(20):
        while (found := await relay.control("GET", path))[name] != value:  # noqa: ASYNC110
            await asyncio.sleep(0.01)  # another process knows of it
    return dict(found)


DEVELOPER = "channels/chatwoot/subscriptions/developer"


@pytest.fixture
async def token(relay: Relay, target: Target) -> str:
    """A developer's, whose client is connected to the target."""
    token = await relay.make_token("developer", "subscribe")
    await relay.connect(token, "--to", target.address)
    return token


async def test_what_died_is_listed_replayed_and_gone_from_the_list(
    relay: Relay, target: Target, token: str
) -> None:
    async def broken(_: Arrival) -> bytes:
        return BROKEN

    target.answer = broken
    await said(relay, "channel", "set", "chatwoot", "--retry-delays", "0.05s")
    event = (await relay.send(message(relay.send_token, 7, 1))).json["id"]
    await target.received(2)
    await comes_true(relay, DEVELOPER, "dead", 1)

    [dead] = (await said(relay, "dead", "list"))["dead"]
    assert (dead["id"], dead["subscription"], dead["attempts"]) == (event, "developer", 2)
    assert dead["reason"] == "the target answered 500"
    _, output, _ = relay.command("dead", "list", "chatwoot", "--subscription", "developer")
    assert event in output

    async def ok(_: Arrival) -> bytes:
        return OK

    target.answer = ok
    [replay] = (await said(relay, "dead", "replay", event))["replays"]
    await target.received(3)
    assert target.event_ids == [event] * 3
    assert target.arrivals[2].header(b"Relay-Replay") == b"1"
    assert target.arrivals[2].attempt == 1
    assert not [n for n, _ in target.arrivals[0].headers if n == b"Relay-Replay"]

    await comes_true(relay, DEVELOPER, "dead", 0)
    assert (await said(relay, "dead", "list"))["dead"] == []
    shown = await said(relay, "events", "show", event)
    tries = [(a["replay"], a["attempt"], a["status"]) for a in shown["attempts"]]
    assert tries == [(None, 1, 500), (None, 2, 500), (replay["number"], 1, 200)]
    assert f"developer (replay {replay['number']})" in relay.command("events", "show", event)[1]
    assert "none of these deliveries is dead" in await refused(relay, "dead", "replay", event)


async def test_what_is_let_go_of_is_listed_no_more(
    relay: Relay, target: Target, token: str
) -> None:
    async def broken(_: Arrival) -> bytes:
        return BROKEN

    target.answer = broken
    await said(relay, "channel", "set", "chatwoot", "--retry-delays", "none")
    for number in (1, 2):
        await relay.send(message(relay.send_token, number, number))
    await comes_true(relay, DEVELOPER, "dead", 2)
    assert (await said(relay, "dead", "discard", "--all", "--yes"))["discarded"] == 2
    assert (await said(relay, "dead", "list"))["dead"] == []
    assert "nothing is dead" in await refused(relay, "dead", "replay", "--all")


async def test_a_replay_of_one_conversation_is_of_no_other(
    relay: Relay, target: Target, token: str
) -> None:
    for number in range(1, 10):
        await relay.send(message(relay.send_token, number % 3, number))
    await target.received(9)
    target.arrivals.clear()

    begun = await said(relay, "replay", "--conversation", "1", "--since", "1h")
    assert [one["subscription"] for one in begun["replays"]] == ["developer"]
    await target.received(3)
    number = begun["replays"][0]["number"]
    await comes_true(relay, f"replays/{number}", "state", "done")
    replay = await said(relay, "replays", "show", str(number))
    assert (replay["delivered"], replay["percent"]) == (3, 100)
    assert spoken(target.arrivals) == {1: [1, 4, 7]}
    listed = await said(relay, "replays", "list")
    assert [one["number"] for one in listed["replays"]] == [number]

    event = target.arrivals[0].event_id
    assert (await said(relay, "replay", event))["replays"][0]["at_most"] == 1
    await target.received(4)
    assert target.event_ids[3] == event
    errors = await refused(relay, "replay", status=2)
    assert "say which events" in errors


async def test_a_running_replay_is_stopped(relay: Relay, target: Target, token: str) -> None:
    for number in range(1, 21):
        await relay.send(message(relay.send_token, number, number))
    await target.received(20)
    status, output, errors = await asyncio.to_thread(
        relay.client_command, token, "replay", "--all", "--rate-per-s", "0.1", "--json"
    )
    assert (status, errors) == (0, "")
    number = json.loads(output)["replays"][0]["number"]

    stopped = await said(relay, "replays", "stop", str(number))
    assert stopped["state"] == "stopped"
    assert stopped["made_by"] == "developer"
    assert stopped["delivered"] < 20
    status, output, _ = await asyncio.to_thread(relay.client_command, token, "replays")
    assert (status, "stopped" in output) == (0, True)
    before = len(target.arrivals)
    await relay.send(message(relay.send_token, 99, 99))
    await until(lambda: 99 in spoken(target.arrivals))
    assert len(target.arrivals) <= before + 2, "one of the replay may have been under way"


async def test_paused_and_resumed_from_the_shell(relay: Relay, target: Target, token: str) -> None:
    paused = await said(relay, "subscription", "pause", "chatwoot", "developer")
    assert paused["paused"] == "paused by hand"
    event = (await relay.send(message(relay.send_token, 7, 1))).json["id"]
    assert "PAUSED" in relay.command("subscription", "list")[1]
    assert "paused by hand" in relay.command("status")[1]
    shown = await said(relay, "subscription", "show", "chatwoot", "developer")
    assert (shown["backlog"], shown["connected"]) == (1, True)
    assert target.arrivals == []

    status, output, _ = await asyncio.to_thread(relay.client_command, token, "resume")
    assert (status, "what waited of chatwoot is delivered now" in output) == (0, True)
    await target.received(1)
    assert target.event_ids == [event]


async def test_a_target_that_is_gone_pauses_until_its_developer_resumes(
    relay: Relay, target: Target, token: str
) -> None:
    async def gone(_: Arrival) -> bytes:
        return GONE

    async def ok(_: Arrival) -> bytes:
        return OK

    target.answer = gone
    await relay.send(message(relay.send_token, 7, 1))
    await comes_true(relay, DEVELOPER, "paused", "the target answered 410")
    status, output, _ = await asyncio.to_thread(relay.client_command, token, "status")
    assert (status, "PAUSED: the target answered 410" in output) == (0, True)

    target.answer = ok
    await said(relay, "subscription", "resume", "chatwoot", "developer")
    await target.received(2)


async def test_a_policy_takes_hold_for_a_client_that_is_connected(
    relay: Relay, target: Target, token: str
) -> None:
    async def broken(_: Arrival) -> bytes:
        return BROKEN

    target.answer = broken
    changed = await said(
        relay, "subscription", "set", "chatwoot", "developer", "--retry-delays", "none"
    )
    assert changed["policy"]["retry_delays_s"] == []
    await relay.send(message(relay.send_token, 7, 1))
    await comes_true(relay, DEVELOPER, "dead", 1)
    assert len(target.arrivals) == 1

    dropped = await said(relay, "subscription", "set", "chatwoot", "developer", "--like-channel")
    assert dropped["own_policy"] == {}
    await said(relay, "channel", "set", "chatwoot", "--retry-delays", "0.02s,0.02s")
    await relay.send(message(relay.send_token, 8, 2))
    await comes_true(relay, DEVELOPER, "dead", 2)
    assert len(target.arrivals) == 4
    await refused(relay, "channel", "set", "chatwoot", "--retry-delays", "8d")


async def test_a_forward_is_kept_without_a_server_too(tmp_path: Path) -> None:
    relay = Relay(tmp_path, forward_allow="127.0.0.1")
    await said(relay, "init")
    secret = tmp_path / "secret"
    secret.write_text("Bearer FIXTUREsecret\n")
    create = ("forward", "create", "chatwoot", "http://127.0.0.1:9/webhook")

    made = await said(relay, *create, "--header-file", f"Authorization={secret}")
    assert (made["name"], made["headers"]) == ("forward", {"Authorization": "•••"})
    assert "subscription named 'forward'" in await refused(relay, *create)
    changed = await said(
        relay, "forward", "set", "chatwoot", "forward", "--timeout", "5", "--no-headers"
    )
    assert (changed["timeout_s"], changed["headers"]) == (5, {})
    for command in ("pause", "resume"):
        await said(relay, "forward", command, "chatwoot", "forward")
    status, output, _ = relay.command("forward", "list")
    assert (status, "http://127.0.0.1:9/webhook" in output) == (0, True)
    assert "FIXTURE" not in output
    assert "forward delete" in await refused(
        relay, "subscription", "delete", "chatwoot", "forward", "--yes"
    )
    assert relay.command("forward", "delete", "chatwoot", "forward", "--yes")[0] == 0
    assert (await said(relay, "forward", "list"))["forwards"] == []
