"""The proxy that fault tests break connections with does what it says, to the byte."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.support.proxy import Link, Proxy, open_proxy
from tests.support.waiting import until


class Peer:
    """A server that keeps what it gets, and can say something."""

    def __init__(self) -> None:
        self.got = b""
        self.ended = 0
        self.resets = 0
        self.writers: list[asyncio.StreamWriter] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        try:
            while piece := await reader.read(1000):
                self.got += piece
            self.ended += 1
        except ConnectionResetError:
            self.resets += 1
        finally:
            writer.close()


@asynccontextmanager
async def between() -> AsyncIterator[tuple[Peer, Proxy]]:
    """A peer, and a proxy before it."""
    peer = Peer()
    server = await asyncio.start_server(peer.serve, "127.0.0.1", 0)
    async with open_proxy(server.sockets[0].getsockname()[1]) as proxy:
        yield peer, proxy
    server.close()


async def dial(proxy: Proxy) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection that has a link."""
    count = len(proxy.links)
    streams = await asyncio.open_connection("127.0.0.1", proxy.port)
    await until(lambda: len(proxy.links) > count)
    return streams


async def test_bytes_pass_both_ways_and_ends_are_passed_on() -> None:
    async with between() as (peer, proxy):
        reader, writer = await dial(proxy)
        writer.write(b"up")
        await until(lambda: peer.got == b"up")
        peer.writers[0].write(b"down")
        assert await reader.readexactly(4) == b"down"
        writer.write_eof()

        await until(lambda: peer.ended == 1)
        assert await reader.read() == b""
        assert (proxy.link.up.passed, proxy.link.down.passed, proxy.cuts) == (2, 4, 0)


@pytest.mark.parametrize("count", [0, 1, 5, 999])
async def test_a_link_is_cut_after_so_many_bytes_up(count: int) -> None:
    async with between() as (peer, proxy):
        reader, writer = await dial(proxy)
        writer.write(b"before")
        await until(lambda: peer.got == b"before")
        proxy.link.up.cut_after(count)
        writer.write(b"x" * 1000)

        with pytest.raises(ConnectionResetError):
            await reader.read()
        await until(lambda: peer.resets == 1)
        assert peer.got == b"before" + b"x" * count
        assert proxy.cuts == 1


async def test_a_link_is_cut_at_an_offset_down() -> None:
    def cut_early(link: Link) -> None:
        link.down.cut_at = 3

    async with between() as (peer, proxy):
        proxy.on_link = cut_early
        reader, _ = await dial(proxy)
        await until(lambda: peer.writers)
        peer.writers[0].write(b"abcdef")

        assert await reader.readexactly(3) == b"abc"
        with pytest.raises(ConnectionResetError):
            await reader.read(1)


async def test_one_direction_vanishes_and_the_other_goes_on() -> None:
    async with between() as (peer, proxy):
        reader, writer = await dial(proxy)
        await until(lambda: peer.writers)
        proxy.link.up.swallow()
        writer.write(b"lost")
        await until(lambda: proxy.link.up.swallowed == 4)
        peer.writers[0].write(b"down")
        assert await reader.readexactly(4) == b"down"
        proxy.link.up.swallow(False)
        writer.write(b"again")

        await until(lambda: peer.got == b"again")
        assert proxy.link.alive


async def test_an_end_that_breaks_ends_the_other() -> None:
    async with between() as (peer, proxy):
        reader, _ = await dial(proxy)
        await until(lambda: peer.writers)
        peer.writers[0].transport.abort()

        assert await reader.read() == b""
        await until(lambda: not proxy.link.alive or proxy.link.down.passed == 0)


async def test_a_delay_holds_what_comes_back_and_keeps_its_order() -> None:
    loop = asyncio.get_running_loop()
    async with between() as (peer, proxy):
        _, writer = await dial(proxy)
        proxy.link.up.delay_s = 0.1
        began = loop.time()
        for piece in (b"a", b"b", b"c"):
            writer.write(piece)
        await until(lambda: peer.got == b"abc")

        assert loop.time() - began >= 0.1


async def test_a_stopped_proxy_refuses_and_can_be_started_again() -> None:
    async with between() as (peer, proxy):
        reader, _ = await dial(proxy)
        await until(lambda: peer.writers)
        await proxy.stop()
        with pytest.raises(ConnectionResetError):
            await reader.read()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", proxy.port)

        await proxy.start()
        _, writer = await dial(proxy)
        writer.write(b"back")
        await until(lambda: peer.got == b"back")
