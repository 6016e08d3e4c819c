"""A forward and a client read one channel at once, each in order, though each fails at random."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.chatwoot import message, spoken
from tests.support.relay import Relay, open_relay
from tests.support.senders import post_all
from tests.support.target import BROKEN, OK, Arrival, Target, open_target
from tests.support.waiting import until

SEED = 20_261_124
MESSAGES = 50
REDIRECT = "HTTP/1.1 307 Temporary Redirect\r\nLocation: {}\r\nContent-Length: 0\r\n\r\n"


@pytest.fixture
async def relay(tmp_path: Path) -> AsyncIterator[Relay]:
    """A server that may forward to the loopback's first address."""
    async with open_relay(tmp_path / "relay", forward_allow="127.0.0.1") as relay:
        yield relay


@pytest.mark.timeout(60)
async def test_a_conversation_arrives_in_order_both_ways(relay: Relay, target: Target) -> None:
    rng = random.Random(SEED)
    taken: dict[int, list[Arrival]] = {1: [], 2: []}

    def moody(way: int) -> object:
        async def answer(arrival: Arrival) -> bytes:
            if rng.random() < 0.3:
                return BROKEN
            taken[way].append(arrival)
            return OK

        return answer

    policy = {"retry_delays_s": [0.02] * 30, "strict_order": True}
    await relay.control("PATCH", "channels/chatwoot", {"policy": policy})
    token = await relay.make_token("ana", "subscribe")
    async with open_target() as service:
        target.answer, service.answer = moody(1), moody(2)  # type: ignore[assignment]
        await relay.control("POST", "forwards", forward(service))
        await relay.connect(token, "--to", target.address)

        await post_all(relay.port, [message(relay.send_token, 7, n) for n in range(MESSAGES)])
        await until(lambda: all(len(arrivals) >= MESSAGES for arrivals in taken.values()), 40)

    for arrivals in taken.values():
        assert spoken(arrivals) == {7: list(range(MESSAGES))}, f"seed {SEED}"
    assert {a.request_target for a in taken[2]} == {"/bot"}


async def test_a_redirect_leads_a_forward_nowhere(relay: Relay, target: Target) -> None:
    """What it leads to gets no connection; the answer counts like any other 3xx."""
    async with open_target() as service, open_target() as elsewhere:

        async def redirect(_: Arrival) -> bytes:
            return REDIRECT.format(f"http://{elsewhere.address}/").encode()

        service.answer = redirect
        policy = {"retry_delays_s": [0.02] * 5}
        await relay.control("PATCH", "channels/chatwoot", {"policy": policy})
        await relay.control("POST", "forwards", forward(service))
        await post_all(relay.port, [message(relay.send_token, 1, 1)])
        await service.received(3)
        await until_dead(relay)
        assert (len(service.arrivals), elsewhere.connections) == (3, 0)


async def test_an_address_that_is_not_allowed_gets_no_connection(tmp_path: Path) -> None:
    async with (
        open_target() as service,
        open_relay(tmp_path / "relay", forward_allow="127.0.0.2") as relay,
    ):
        given = relay.command(
            "forward", "create", "chatwoot", f"http://{service.address}/bot", "--json"
        )
        assert given[0] == 1
        assert "RELAY_SERVER_FORWARD_ALLOW" in given[2]
        assert service.connections == 0


def forward(service: Target) -> dict[str, str]:
    return {"channel": "chatwoot", "url": f"http://{service.address}/bot"}


async def until_dead(relay: Relay) -> None:
    while not (await relay.control("GET", "status"))["subscriptions"][0]["dead"]:
        pass
