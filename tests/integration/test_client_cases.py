"""Single events looked into and delivered again, by `relay-client` alone."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests.support.chatwoot import fixture, message, spoken
from tests.support.relay import Relay
from tests.support.senders import request
from tests.support.target import BROKEN, OK, Target, always, gated
from tests.support.waiting import until_true


class Ana:
    """A developer at a shell."""

    def __init__(self, relay: Relay, token: str) -> None:
        self.relay, self.token = relay, token

    async def runs(self, *arguments: str) -> tuple[int, str, str]:
        done = await asyncio.to_thread(self.relay.client_command, self.token, *arguments)
        assert "Traceback" not in done[2], done[2]
        return done

    async def says(self, *arguments: str) -> str:
        status, output, errors = await self.runs(*arguments)
        assert status == 0, errors
        return output

    async def sends(self, body: bytes) -> str:
        """A webhook: its event's id."""
        raw = request("/webhook", body, token=self.relay.send_token)
        return str((await self.relay.send(raw)).json["id"])


@pytest.fixture
async def ana(relay: Relay, target: Target) -> Ana:
    """Her client is connected to the target."""
    token = await relay.make_token("ana", "subscribe")
    await relay.connect(token, "--to", target.address)
    return Ana(relay, token)


async def test_what_is_replayed_is_said_before_and_waited_for(
    relay: Relay, target: Target, ana: Ana
) -> None:
    for number in range(1, 7):
        await relay.send(message(relay.send_token, number % 2, number))
    await target.received(6)
    target.arrivals.clear()

    said = await ana.says("replay", "--last", "2", "conv:1", "--wait")
    assert "2 events" in said
    assert "Done: 2 events delivered." in said
    assert spoken(target.arrivals) == {1: [3, 5]}
    status, output, errors = await ana.runs("replay", "kind:nothing", "--wait")
    assert (status, output) == (6, "")
    assert "no event matches" in errors
    assert (await ana.runs("replay", "--last", "1", "kind:nothing"))[0] == 6
    assert (await ana.runs("replay", "--last", "2", "--dead"))[0] == 2
    assert (await ana.runs("replay", "latest", "kind:x"))[0] == 2

    ranged = await ana.says("replay", "--first", "2", "--last", "3", "--json", "--wait")
    assert json.loads(ranged)["at_most"] == 2, "as a range was written before"
    [latest] = json.loads(await ana.says("replay", "latest", "--json"))["replays"]
    stopped = await ana.says("replays", "stop", str(latest["number"]))
    assert f"Replay {latest['number']} is stopped" in stopped
    assert str(latest["number"]) in await ana.says("replays")


async def test_what_died_is_listed_and_a_replay_of_it_fails_again(
    relay: Relay, target: Target, ana: Ana
) -> None:
    target.answer = always(BROKEN)
    await relay.said("channel", "set", "chatwoot", "--retry-delays", "none")
    event = await ana.sends(fixture("message_created_incoming"))
    await relay.becomes("channels/chatwoot/subscriptions/ana", dead=1)

    listed = await ana.says("dead")
    for part in (event[-8:], "message_created", "2/318", "answered 500", "replay --dead"):
        assert part in listed
    why = await ana.says("why", "#318")
    assert why.splitlines()[0].startswith("It was given up")
    assert "relay-client replay --dead" in why
    assert why == await ana.says("why", event[-8:])

    status, _, errors = await ana.runs("replay", "--dead", "--wait")
    assert (status, "1 is dead" in errors) == (8, True), errors
    target.answer = always(OK)
    assert "Done: 1 event delivered." in await ana.says("replay", "--dead", "--wait")
    assert "Nothing is dead" in await ana.says("dead")


async def test_pins_are_set_listed_and_taken_off(ana: Ana) -> None:
    event = await ana.sends(fixture("contact_created"))

    assert "@maria" in await ana.says("pin", "latest", "@maria")
    listed = await ana.says("pins")
    assert event[-8:] in listed
    assert "contact_created" in listed
    assert "not pinned" in await ana.says("unpin", "@maria")
    assert "Nothing is pinned" in await ana.says("pins")
    assert (await ana.runs("unpin", event))[0] == 1


async def test_a_conversation_is_found_in_the_chatwoot_that_was_named(ana: Ana) -> None:
    for body in (fixture("message_created_incoming"), hostile()):
        await ana.sends(body)
    event = await ana.sends(b"{}")
    chatwoot = ("--chatwoot-url", "https://chat.example.com/")

    url = "https://chat.example.com/app/accounts/2/conversations/318"
    assert (await ana.says("open", "318", *chatwoot)).strip() == url
    assert json.loads(await ana.says("open", "2/318", *chatwoot, "--json")) == {"url": url}
    page = await ana.says("open", event[-8:], "--dashboard")
    assert page.strip() == f"{ana.relay.url}/events/{event}"
    status, output, errors = await ana.runs("open", "318")
    assert (status, output, "--chatwoot-url" in errors) == (2, "", True)
    for case in ("evil", "latest", "999"):
        status, output, _ = await ana.runs("open", case, *chatwoot)
        assert (status in (1, 6), output) == (True, "")
    assert (await ana.runs("open", "318", "--chatwoot-url", "javascript:alert(1)"))[0] == 2


def hostile() -> bytes:
    """A message of a conversation whose number would lead elsewhere."""
    body = json.loads(fixture("message_created_incoming"))
    body["conversation"]["id"] = "1@evil.example/../"
    body["account"]["id"] = "..//evil.example"
    return json.dumps(body).encode()


async def test_a_first_attempt_is_given_up_as_soon_as_it_is_under_way(
    relay: Relay, target: Target, ana: Ana
) -> None:
    answering = gated(target, BROKEN)
    event = await ana.sends(b"{}")
    await target.received(1)
    path = "channels/chatwoot/subscriptions/ana/give-up"
    line = await relay.control("POST", path, {"event": event})
    assert line["state"] == "dead"
    answering.set()

    async def ended() -> bool:
        return len((await relay.control("GET", f"events/{event}/attempts"))["attempts"]) == 1

    await until_true(ended)
    [dead] = (await relay.control("GET", "dead"))["dead"]
    assert (dead["id"], dead["attempts"], len(target.arrivals)) == (event, 1, 1)
