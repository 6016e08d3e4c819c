"""The live feed of a real server, through what ends connections."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from tests.support.chatwoot import message
from tests.support.feeds import FeedReader
from tests.support.proxy import Link, open_proxy
from tests.support.relay import Relay
from tests.support.senders import Load, load
from tests.support.target import Arrival, Target
from tests.support.waiting import Stopwatch, until


@asynccontextmanager
async def following(reader: FeedReader) -> AsyncIterator[None]:
    """Read, and come back whenever the feed ended, as a browser does."""

    async def follow() -> None:
        while True:
            with suppress(OSError, asyncio.IncompleteReadError):
                await reader.read()
            await asyncio.sleep(0.01)  # the pace of coming back

    task = asyncio.create_task(follow())
    await reader.got("beat")
    yield
    task.cancel()


@asynccontextmanager
async def loaded(relay: Relay) -> AsyncIterator[Load]:
    """Webhooks go on coming; each conversation ends its last one."""
    token = relay.send_token
    async with load(relay.port, lambda c, n: message(token, c, n), conversations=4) as going:
        yield going
        await going.stop()


async def told_all(relay: Relay, reader: FeedReader) -> None:
    """Everything that is stored was told, and nothing twice."""
    stored = sorted(event["sequence"] for event in await relay.events())
    await until(lambda: len(reader.sequences) >= len(stored))
    assert reader.sequences == stored


async def test_a_reader_goes_on_through_kills_of_the_server(relay: Relay) -> None:
    reader = FeedReader(relay.port, await relay.make_token("ana", "subscribe"))
    async with following(reader):
        async with loaded(relay) as going:
            for _ in range(3):
                await going.accepts(60)
                relay.server.kill()
                await relay.start()
            await going.accepts(60)
        await told_all(relay, reader)


async def test_a_reader_goes_on_through_a_network_that_cuts_and_holds_back(relay: Relay) -> None:
    """Behind a proxy that passes bytes on late, and breaks connections anywhere."""
    chance = random.Random(7)

    def spoil(link: Link) -> None:
        link.down.delay_s = chance.choice([0, 0.15])
        link.down.cut_at = chance.randrange(300, 9_000)

    async with open_proxy(relay.port) as proxy:
        reader = FeedReader(proxy.port, await relay.make_token("ana", "subscribe"))
        async with following(reader):
            proxy.on_link = spoil
            proxy.link.cut()
            async with loaded(relay) as going:
                await going.accepts(300)
            await until(lambda: proxy.cuts > 5)
            await told_all(relay, reader)


async def test_a_stop_says_goodbye_within_three_seconds(relay: Relay, target: Target) -> None:
    """Though a delivery is under way; and the next server goes on where the feed was."""

    async def never(_: Arrival) -> bytes:
        await asyncio.Event().wait()
        return b""

    target.answer = never
    ana = await relay.make_token("ana", "subscribe")
    await relay.connect(ana, "--to", target.address)
    reader = FeedReader(relay.port, ana)
    async with reader.reading() as feed:
        await relay.send(message(relay.send_token, 1, 1))
        await target.received(1)
        await reader.got("event")
        relay.server.terminate()
        watch = Stopwatch()
        await feed
        assert watch.elapsed_s < 3
    assert [bye["why"] for bye in reader.of("bye")] == ["stopping"]

    assert await relay.server.exit_status() == 0
    await relay.start()
    async with reader.reading():
        await relay.send(message(relay.send_token, 1, 2))
        await told_all(relay, reader)
