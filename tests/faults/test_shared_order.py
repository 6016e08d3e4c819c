"""Two clients that share the work keep every conversation in order, whatever fails around them."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Iterable, Mapping

import pytest

from tests.support.chatwoot import message
from tests.support.processes import Running
from tests.support.relay import Relay
from tests.support.senders import post_all
from tests.support.target import BROKEN, OK, Arrival, Target
from tests.support.waiting import until

SEED = 20_261_123
CONVERSATIONS = 50
MESSAGES = 100
STUCK = 0  # the conversation whose first message the target never takes
OFTEN = [0.02] * 30  # seconds between tries: each event comes through in the end


class Moody:
    """A target's mood: it fails at random, and always with the first message of one conversation.

    Attributes:
        taken: (conversation, number) of what it answered 2xx, in order; repeats included.
    """

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self.taken: list[tuple[int, int]] = []

    async def answer(self, arrival: Arrival) -> bytes:
        body = json.loads(arrival.body)
        conversation, number = body["conversation"]["id"], body["id"]
        if conversation == STUCK or self._rng.random() < 0.15:
            return BROKEN
        self.taken.append((conversation, number))
        return OK

    def first_taken(self) -> dict[int, list[int]]:
        """The numbers of each conversation in the order in which each was first taken."""
        found: dict[int, list[int]] = {}
        for conversation, number in dict.fromkeys(self.taken):
            found.setdefault(conversation, []).append(number)
        return found


@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_order_holds_across_two_clients_and_restarts(relay: Relay, target: Target) -> None:
    rng = random.Random(SEED)
    mood = Moody(rng)
    target.answer = mood.answer
    token = await relay.make_token("ana", "subscribe")
    policy = {"retry_delays_s": OFTEN, "strict_order": True}
    await relay.control("PATCH", "channels/chatwoot", {"policy": policy})
    clients = [await connect(relay, target, token) for _ in range(2)]

    posting = asyncio.create_task(post_everything(relay))
    for half in range(1, 5):
        await until(lambda half=half: len(mood.taken) >= half * 500, 60)  # type: ignore[misc]
        await disturb(rng, relay, target, token, clients)
    await posting
    wanted = {c: list(range(MESSAGES)) for c in range(CONVERSATIONS) if c != STUCK}
    await until(lambda: set(mood.taken) >= pairs(wanted), 90)

    assert mood.first_taken() == wanted, f"seed {SEED}"


async def connect(relay: Relay, target: Target, token: str) -> Running:
    return await relay.connect(token, "--to", target.address, "--share")


async def disturb(
    rng: random.Random, relay: Relay, target: Target, token: str, clients: list[Running]
) -> None:
    """Kill one of the clients, or stop or kill the server; and bring it back."""
    match rng.choice(["client", "server", "restart"]):
        case "client":
            victim = rng.randrange(2)
            clients[victim].kill()
            clients[victim] = await connect(relay, target, token)
        case "server":
            relay.server.kill()
            await relay.start()
        case _:
            relay.server.terminate()
            await relay.server.exit_status()
            await relay.start()


async def post_everything(relay: Relay) -> None:
    """Every conversation says its messages one after the other, and again what got no answer."""
    await asyncio.gather(*(converse(relay, c) for c in range(CONVERSATIONS)))


async def converse(relay: Relay, conversation: int) -> None:
    for number in range(MESSAGES):
        while not await said(relay, conversation, number):  # noqa: ASYNC110
            await asyncio.sleep(0.05)  # the server is away


async def said(relay: Relay, conversation: int, number: int) -> bool:
    try:
        [answer] = await post_all(relay.port, [message(relay.send_token, conversation, number)])
    except (OSError, asyncio.IncompleteReadError):
        return False
    return answer.status == 200


def pairs(wanted: Mapping[int, Iterable[int]]) -> set[tuple[int, int]]:
    return {(conversation, n) for conversation, numbers in wanted.items() for n in numbers}
