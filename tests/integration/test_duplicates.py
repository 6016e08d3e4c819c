"""The same delivery of a sender is stored once."""

from __future__ import annotations

import asyncio

from tests.support import chatwoot
from tests.support.relay import Relay
from tests.support.senders import exchange, request
from tests.support.target import Target

DELIVERY = "6f1d3c1e-0000-4000-8000-000000000001"


async def test_twenty_at_once_and_one_after_a_restart_are_one_event(
    relay: Relay, target: Target
) -> None:
    await relay.connect(await relay.make_token("ana", "subscribe"), "--to", target.address)
    body = chatwoot.fixture("message_updated")
    fields = chatwoot.headers(body, delivery=DELIVERY, authorization=f"Bearer {relay.send_token}")
    raw = chatwoot.webhook("/webhook", body, fields)

    answers = await asyncio.gather(*(exchange(relay.port, raw) for _ in range(20)))
    relay.server.kill()
    await relay.start()
    later = await relay.send(raw)
    last = await relay.send(request(body=b"last", token=relay.send_token))
    await target.received(2)

    assert {answer.status for answer in [*answers, later]} == {200}
    [id_] = {answer.json["id"] for answer in [*answers, later]}
    assert sorted(target.event_ids) == sorted([id_, last.json["id"]])
    assert sorted(target.bodies) == sorted([body, b"last"])
    assert len(await relay.events()) == 2


async def test_two_paths_two_events(relay: Relay, target: Target) -> None:
    """One id and one body, to `/billing` and to `/crm`: both arrive."""
    await relay.connect(await relay.make_token("ana", "subscribe"), "--to", target.address)
    named = [("X-Chatwoot-Delivery", DELIVERY)]

    for path in ("/webhook/billing", "/webhook/crm", "/webhook/crm"):
        answer = await relay.send(request(path, headers=named, token=relay.send_token))
        assert answer.status == 200
    await target.received(2)

    assert sorted(a.request_target for a in target.arrivals) == ["/webhook/billing", "/webhook/crm"]
    assert [event["conflict"] for event in await relay.events()] == [False, False]


async def test_who_subscribed_since_gets_what_is_sent_again(relay: Relay, target: Target) -> None:
    """GitHub's *Redeliver* keeps its id."""
    raw = request(headers=[("X-GitHub-Delivery", DELIVERY)], token=relay.send_token)
    first = (await relay.send(raw)).json["id"]
    await relay.connect(await relay.make_token("ana", "subscribe"), "--to", target.address)

    again = [(await relay.send(raw)).json["id"] for _ in range(2)]
    await target.received(1)

    assert target.event_ids == [again[0]] == [again[1]] != [first]
    status, shown, _ = relay.command("events", "show", again[0])
    assert (status, first in shown) == (0, True)
