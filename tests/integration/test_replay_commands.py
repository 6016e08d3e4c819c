"""Dead letters, replays, policies and pauses, from a shell, with a client that is connected."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests.support.chatwoot import message, spoken
from tests.support.relay import Relay
from tests.support.target import BROKEN, OK, Target, always
from tests.support.waiting import until

GONE = b"HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n"


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
    target.answer = always(BROKEN)
    await relay.said("channel", "set", "chatwoot", "--retry-delays", "0.05s")
    event = (await relay.send(message(relay.send_token, 7, 1))).json["id"]
    await target.received(2)
    await relay.becomes(DEVELOPER, dead=1)

    [dead] = (await relay.said("dead", "list"))["dead"]
    assert (dead["id"], dead["subscription"], dead["attempts"]) == (event, "developer", 2)
    assert dead["reason"] == "the target answered 500"
    _, output, _ = relay.command("dead", "list", "chatwoot", "--subscription", "developer")
    assert event in output

    target.answer = always(OK)
    [replay] = (await relay.said("dead", "replay", event))["replays"]
    await target.received(3)
    assert target.event_ids == [event] * 3
    assert target.arrivals[2].header(b"Relay-Replay") == b"1"
    assert target.arrivals[2].attempt == 1
    assert not [n for n, _ in target.arrivals[0].headers if n == b"Relay-Replay"]

    await relay.becomes(DEVELOPER, dead=0)
    assert (await relay.said("dead", "list"))["dead"] == []
    shown = await relay.said("events", "show", event)
    tries = [(a["replay"], a["attempt"], a["status"]) for a in shown["attempts"]]
    assert tries == [(None, 1, 500), (None, 2, 500), (replay["number"], 1, 200)]
    assert f"developer (replay {replay['number']})" in relay.command("events", "show", event)[1]
    assert "none of these deliveries is dead" in await relay.refused("dead", "replay", event)


async def test_a_replay_of_one_conversation_is_of_no_other(
    relay: Relay, target: Target, token: str
) -> None:
    for number in range(1, 10):
        await relay.send(message(relay.send_token, number % 3, number))
    await target.received(9)
    target.arrivals.clear()

    begun = await relay.said("replay", "--conversation", "1", "--since", "1h")
    assert [one["subscription"] for one in begun["replays"]] == ["developer"]
    await target.received(3)
    number = begun["replays"][0]["number"]
    await relay.becomes(f"replays/{number}", state="done")
    replay = await relay.said("replays", "show", str(number))
    assert (replay["delivered"], replay["percent"]) == (3, 100)
    assert spoken(target.arrivals) == {1: [1, 4, 7]}
    listed = await relay.said("replays", "list")
    assert [one["number"] for one in listed["replays"]] == [number]

    event = target.arrivals[0].event_id
    assert (await relay.said("replay", event))["replays"][0]["at_most"] == 1
    await target.received(4)
    assert target.event_ids[3] == event
    errors = await relay.refused("replay", status=2)
    assert "which events are meant" in errors


async def test_a_running_replay_is_stopped(relay: Relay, target: Target, token: str) -> None:
    for number in range(1, 21):
        await relay.send(message(relay.send_token, number, number))
    await target.received(20)
    status, output, errors = await asyncio.to_thread(
        relay.client_command, token, "replay", "--all", "--rate-per-s", "0.1", "--json"
    )
    assert (status, errors) == (0, "")
    number = json.loads(output)["replays"][0]["number"]

    stopped = await relay.said("replays", "stop", str(number))
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
    paused = await relay.said("subscription", "pause", "chatwoot", "developer")
    assert paused["paused"] == "paused by hand"
    event = (await relay.send(message(relay.send_token, 7, 1))).json["id"]
    assert "paused" in relay.command("subscription", "list")[1]
    assert "paused by hand" in relay.command("status")[1]
    shown = await relay.said("subscription", "show", "chatwoot", "developer")
    assert (shown["backlog"], shown["connected"]) == (1, True)
    assert target.arrivals == []

    status, output, _ = await asyncio.to_thread(relay.client_command, token, "resume")
    assert (status, "what waited of chatwoot is delivered now" in output) == (0, True)
    await target.received(1)
    assert target.event_ids == [event]


async def test_a_target_that_is_gone_pauses_until_its_developer_resumes(
    relay: Relay, target: Target, token: str
) -> None:
    target.answer = always(GONE)
    await relay.send(message(relay.send_token, 7, 1))
    await relay.becomes(DEVELOPER, paused="the target answered 410")
    status, output, _ = await asyncio.to_thread(relay.client_command, token, "status")
    assert (status, "paused: the target answered 410" in output) == (0, True)

    target.answer = always(OK)
    await relay.said("subscription", "resume", "chatwoot", "developer")
    await target.received(2)
