"""Each channel's deliveries go to that channel's target."""

from __future__ import annotations

import asyncio
import socket

from relay_client.replayer import Replayer
from tests.support.raw_target import make_delivery, raw_target


async def test_each_channel_has_a_target_of_its_own() -> None:
    """Nothing of one goes to the other."""
    async with raw_target() as bot, raw_target() as shop:
        targets = {"chatwoot": bot.target, "shop": shop.target}
        async with Replayer(targets, 5.0, 8) as replayer:
            for channel, body in (("chatwoot", b"1"), ("shop", b"2"), ("chatwoot", b"3")):
                delivery = make_delivery(channel=channel, body=body)
                assert (await replayer.replay(delivery)).delivered
            assert replayer.of("shop") == shop.target

    assert [request[-1:] for request in bot.requests] == [b"1", b"3"]
    assert [request[-1:] for request in shop.requests] == [b"2"]


async def test_a_target_that_comes_back_is_noticed() -> None:
    """Whichever channel's it is."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
    async with raw_target() as gone:
        target = type(gone.target)("127.0.0.1", port)
    async with Replayer({"chatwoot": target}, 5.0, 8) as replayer:
        looking = asyncio.create_task(replayer.until_listening("chatwoot"))
        await asyncio.sleep(0)
        async with raw_target(port):
            await asyncio.wait_for(looking, 10)
