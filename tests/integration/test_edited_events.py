"""An edited event reaches the chosen subscription, and nobody else, whatever happens then."""

from __future__ import annotations

import base64
from pathlib import Path

from tests.support.chatwoot import message
from tests.support.relay import open_relay
from tests.support.target import Target, open_target
from tests.support.waiting import until

BODY = b"{edited \x00 and no JSON"


def edited(target: Target) -> list[str]:
    """Ids of edited events that came, in order."""
    return [
        a.event_id
        for a in target.arrivals
        if any(name == b"Relay-Edited-From" for name, _ in a.headers)
    ]


async def test_an_edited_event_reaches_the_chosen_subscription_alone(tmp_path: Path) -> None:
    async with (
        open_relay(tmp_path / "relay", forward_allow="127.0.0.1") as relay,
        open_target() as ana,
        open_target() as bob,
        open_target() as forwarded,
        open_target() as later,
    ):
        ana_token = await relay.make_token("ana", "subscribe")
        bob_token = await relay.make_token("bob", "subscribe")
        clients = [
            await relay.connect(ana_token, "--to", ana.address),
            await relay.connect(bob_token, "--to", bob.address),
        ]
        url = f"http://{forwarded.address}/webhook"
        await relay.control("POST", "forwards", {"channel": "chatwoot", "url": url})
        event = (await relay.send(message(relay.send_token, 1, 1))).json["id"]
        for target in (ana, bob, forwarded):
            await target.received(1)

        asked = {
            "based_on": event,
            "subscription": "ana",
            "body_base64": base64.b64encode(BODY).decode(),
        }
        made = await relay.control("POST", "events", asked)
        await ana.received(2)

        arrival = ana.arrivals[-1]
        assert (arrival.body, arrival.event_id, arrival.attempt) == (BODY, made["id"], 1)
        assert arrival.header(b"Relay-Edited-From").decode() == event
        assert not [name for name, _ in arrival.headers if name == b"Relay-Replay"]
        assert arrival.method == ana.arrivals[0].method
        assert arrival.request_target == ana.arrivals[0].request_target

        # One that waits outlives a restart.
        for client in clients:
            client.terminate()
            await client.exit_status()
        waits = await relay.control("POST", "events", asked)
        relay.server.terminate()
        await relay.server.exit_status()
        await relay.start()
        await relay.connect(ana_token, "--to", ana.address)
        await relay.connect(bob_token, "--to", bob.address)
        later_token = await relay.make_token("later", "subscribe")
        await relay.connect(later_token, "--to", later.address, "--since", "beginning")
        await later.received(1)
        await until(lambda: waits["id"] in ana.event_ids)

        # Everything that is kept, to everybody.
        await relay.control("POST", "replays", {"selection": {"all": True}})
        for target in (bob, forwarded, later):
            await target.received(2)
        last = (await relay.send(message(relay.send_token, 1, 2))).json["id"]
        targets = (ana, bob, forwarded, later)
        await until(lambda: all(last in target.event_ids for target in targets))
        replays = (await relay.control("GET", "replays"))["replays"]
        for replay in replays:
            await relay.becomes(f"replays/{replay['number']}", state="done")
        assert len(replays) == len(targets)

        assert edited(ana) == [made["id"], waits["id"]]
        assert [edited(t) for t in (bob, forwarded, later)] == [[], [], []]
        assert {*bob.event_ids} == {*forwarded.event_ids} == {*later.event_ids} == {event, last}
        assert await relay.backlog() == 0
