"""The same delivery of a sender is stored once."""

from __future__ import annotations

import asyncio

from tests.support import chatwoot
from tests.support.relay import Relay
from tests.support.senders import exchange, request
from tests.support.target import Target

DELIVERY = "6f1d3c1e-0000-4000-8000-000000000001"


async def test_twenty_at_once_are_one_event(relay: Relay, target: Target) -> None:
    await relay.connect(await relay.make_token("ana", "subscribe"), "--to", target.address)
    body = chatwoot.fixture("message_updated")
    fields = chatwoot.headers(body, delivery=DELIVERY, authorization=f"Bearer {relay.send_token}")
    raw = chatwoot.webhook("/webhook", body, fields)

    answers = await asyncio.gather(*(exchange(relay.port, raw) for _ in range(20)))
    later = await relay.send(raw)
    await relay.send(request(body=b"last", token=relay.send_token))
    await target.received(2)

    assert {answer.status for answer in [*answers, later]} == {200}
    [id_] = {answer.json["id"] for answer in [*answers, later]}
    assert target.event_ids[0] == id_
    assert target.bodies == [body, b"last"]
    assert len(await relay.events()) == 2


async def test_another_body_under_the_same_id_is_stored_and_flagged(relay: Relay) -> None:
    fields = [("X-Chatwoot-Delivery", DELIVERY)]
    for body in (b'{"a":1}', b'{"a":2}'):
        await relay.send(request(body=body, headers=fields, token=relay.send_token))

    newer, older = await relay.events()

    assert (older["conflict"], newer["conflict"]) == (False, True)
    assert older["id"] != newer["id"]


async def test_every_sender_s_own_id_counts(relay: Relay) -> None:
    names = ["webhook-id", "svix-id", "X-GitHub-Delivery", "Idempotency-Key", "x-chatwoot-delivery"]
    for name in names:
        raw = request(headers=[(name, f"of {name}")], token=relay.send_token)
        first, second = await relay.send(raw), await relay.send(raw)
        assert first.json == second.json, name
    assert len(await relay.events()) == len(names)


async def test_without_an_id_or_after_a_restart_or_in_another_channel(relay: Relay) -> None:
    await relay.control("POST", "channels", {"name": "other"})
    named = [("X-Chatwoot-Delivery", DELIVERY)]
    plain = request(token=relay.send_token)
    first = await relay.send(request(headers=named, token=relay.send_token))
    assert (await relay.send(plain)).json != (await relay.send(plain)).json

    relay.server.kill()
    await relay.start()
    again = await relay.send(request(headers=named, token=relay.send_token))
    other = await relay.send(request("/c/other/x", headers=named, token=relay.send_token))

    assert first.json == again.json
    assert other.json != first.json
    assert len(await relay.events()) == 3


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


async def test_a_channel_says_for_how_long(relay: Relay) -> None:
    status, _, said = relay.command("channel", "set", "chatwoot", "--dedupe-window-s", "0")
    assert status == 0, said
    raw = request(headers=[("X-Chatwoot-Delivery", DELIVERY)], token=relay.send_token)

    first, second = [(await relay.send(raw)).json["id"] for _ in range(2)]

    repeat = await relay.control("GET", f"events/{second}")
    assert (repeat["repeat_of"], repeat["damaged"]) == (first, False)
