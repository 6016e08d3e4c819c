"""A result that never reached the server does not make the target see the event again."""

from __future__ import annotations

import random

from relay_client.journal import read_on
from relay_protocol.codec import encode
from relay_protocol.messages import Result
from relay_protocol.values import Response
from tests.support.chatwoot import message
from tests.support.proxy import open_proxy
from tests.support.relay import Relay
from tests.support.senders import post_all
from tests.support.target import OK, Arrival, Target
from tests.support.waiting import until

SEED = 20_260_702
CUTS = 100
FRAME_BYTES = 6 + len(encode(Result("1.1", Response(200))))  # of the shortest result, masked


def journaled(relay: Relay) -> int:
    """How many deliveries the client's journal has on disk."""
    return len(list(read_on(relay.folder / "state", {})))


async def test_a_hundred_cuts_between_answer_and_result_repeat_nothing(
    relay: Relay, target: Target
) -> None:
    rng = random.Random(SEED)
    relay.client_constants = [("relay_client.backoff", "LONGEST_S", 0.05)]
    async with open_proxy(relay.port) as proxy:

        async def answer(_: Arrival) -> bytes:
            proxy.link.up.cut_after(rng.randrange(1, FRAME_BYTES))  # the next sent is the result
            return OK

        target.answer = answer
        token = await relay.make_token("ana", "subscribe")
        client = await relay.connect(token, "--url", proxy.url, "--to", target.address)
        webhooks = [message(relay.send_token, 1, number) for number in range(CUTS)]
        answers = await post_all(relay.port, webhooks)
        await target.received(CUTS)
        await until(lambda: proxy.cuts == CUTS)
        await relay.becomes("channels/chatwoot/subscriptions/ana", backlog=0)
        await client.said("delivered", CUTS)  # it posts and settles before it says so

        assert client.alive, f"seed {SEED}: {client.errors}"
        assert target.event_ids == [one.json["id"] for one in answers], f"seed {SEED}"
        assert len(client.lines("delivered")) == CUTS, f"seed {SEED}"


async def test_a_client_that_was_killed_knows_from_its_journal_what_the_target_took(
    relay: Relay, target: Target
) -> None:
    async with open_proxy(relay.port) as proxy:

        async def answer(_: Arrival) -> bytes:
            proxy.link.up.swallow()
            return OK

        target.answer = answer
        token = await relay.make_token("ana", "subscribe")
        arguments = ("--url", proxy.url, "--to", target.address)
        first = await relay.connect(token, *arguments)
        posted = await relay.send(message(relay.send_token, 1, 1))
        await until(lambda: journaled(relay) == 1)
        first.kill()
        proxy.link.cut()  # so that the server notices now and not when the lease ends
        assert await relay.backlog() == 1

        second = await relay.connect(token, *arguments)
        await relay.becomes("channels/chatwoot/subscriptions/ana", backlog=0)

        assert target.event_ids == [posted.json["id"]]
        assert second.lines("delivered") == []


async def test_a_client_that_is_stopped_writes_everything_first(
    relay: Relay, target: Target
) -> None:
    """Though it was stopped while its target still had some of it."""
    token = await relay.make_token("ana", "subscribe")
    client = await relay.connect(token, "--to", target.address)
    await post_all(relay.port, [message(relay.send_token, n, n) for n in range(50)])
    await target.received(50)

    client.terminate()

    assert await client.exit_status() == 0
    assert journaled(relay) == 50
