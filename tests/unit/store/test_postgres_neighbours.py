"""What a server takes from the catalogue that others change, too."""

from __future__ import annotations

import asyncio
from pathlib import Path
from unittest.mock import Mock

import pytest

from relay_server.configs import ChannelConfig
from relay_server.errors import StoreUnavailable
from relay_server.store.bodies import IN_THE_CLEAR
from relay_server.store.cache import Cache
from relay_server.store.feed import ChannelChanged, ChannelGone, Feed
from relay_server.store.postgres.link import Link
from relay_server.store.postgres.neighbours import Catalogue, Neighbours
from relay_server.store.postgres.spool import Spool
from relay_server.values import Channel
from tests.support.clock import START_MS
from tests.support.waiting import until

ONE, OTHER = (Channel(n, name, ChannelConfig(), START_MS) for n, name in ((1, "one"), (2, "other")))


def catalogue(version: int, *channels: Channel) -> Catalogue:
    return Catalogue(version, [(channel, 0, 0) for channel in channels], [], [])


def nobody() -> Link:
    raise StoreUnavailable("there is no database here")


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool" / "a", 1 << 20)


async def test_what_is_made_while_the_catalogue_is_read_stays(spool: Spool) -> None:
    """What was read before it was made does not have it: it is read once more."""
    feed, gone, may_read, reads = Feed(), list[str](), asyncio.Event(), list[Catalogue]()
    left = [catalogue(3, ONE, OTHER), catalogue(2, ONE)]

    async def read() -> Catalogue:
        reads.append(left.pop())
        await may_read.wait()
        return reads[-1]

    cache = Cache([], [], feed)
    feed.listen(ChannelGone, lambda change: gone.append(change.channel.name))
    told = Neighbours("a", "store", nobody, read, catalogue(0), cache, feed, spool, IN_THE_CLEAR)
    told.tell(Mock(spec=Link), (), 2)
    await until(lambda: reads)
    feed.tell(ChannelChanged(OTHER))
    may_read.set()
    await until(lambda: "one" in cache.catalog.channels)
    assert (left, gone) == ([], [])
    await told.close()
    spool.close()
