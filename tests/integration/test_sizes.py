"""What the processes cost while nothing happens."""

from __future__ import annotations

from tests.support.chatwoot import message
from tests.support.relay import Relay
from tests.support.target import Target

SERVER_MIB, CLIENT_MIB = 80, 60


async def test_idle_processes_are_small(relay: Relay, target: Target) -> None:
    client = await relay.connect(await relay.make_token("ana", "subscribe"), "--to", target.address)
    await relay.send(message(relay.send_token, 1, 1))
    await target.received(1)

    assert relay.server.resident_mib() <= SERVER_MIB
    assert client.resident_mib() <= CLIENT_MIB
