"""A bridge to another server: to whom it leads, and when it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import aiohttp
import pytest
from aiohttp import WSMsgType, web
from aiohttp.test_utils import TestServer
from structlog.testing import capture_logs

from relay_protocol.codec import encode
from relay_protocol.limits import SUBPROTOCOL
from relay_protocol.messages import Hello, Wanted
from relay_server.reported import Neighbour
from relay_server.sealing import Sealer
from relay_server.store.interface import Store
from relay_server.web import bridge
from relay_server.web.bridge import announced, opened, owner_of

ADDRESS = "http://10.0.0.7:8802"
WANTED = Wanted("chatwoot", share=True)


async def found(written: str, sealer: Sealer) -> str | None:
    """To whom a bridge leads, by what the database has of the one that reads."""

    async def reading_server(_channel: str, _name: str) -> Neighbour:
        return Neighbour("b/2", written)

    store = cast(Store, SimpleNamespace(reading_server=reading_server))
    owner = await owner_of(store, [(WANTED, "ana")], sealer.open)
    return None if owner is None else owner.address


async def test_it_leads_where_a_server_of_the_store_announced_that_it_is(tmp_path: Path) -> None:
    sealer = Sealer(tmp_path)
    assert await found(announced(ADDRESS, sealer), sealer) == ADDRESS
    assert await found(announced("", sealer), sealer) is None


async def test_it_leads_nowhere_that_somebody_wrote_into_the_database(tmp_path: Path) -> None:
    """Neither in the clear, nor by another key, nor something that is sealed for another use."""
    sealer, other = Sealer(tmp_path), Sealer(tmp_path / "other")
    (tmp_path / "other").mkdir()
    written = [ADDRESS, announced(ADDRESS, other), sealer.seal(b"a secret").decode()]
    with capture_logs() as said:
        assert [await found(one, sealer) for one in written] == [None] * 3
    assert [one["log_level"] for one in said] == ["warning"] * 3
    assert "a secret" not in str(said)


def page(path: str, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> TestServer:
    """A server that has one page."""
    app = web.Application()
    app.router.add_get(path, handler)
    return TestServer(app)


@pytest.mark.parametrize(
    ("status", "why"),
    [
        (204, ""),
        (401, ""),
        (421, "another server answers at "),
        (404, " answers with the status 404, as no server of this store does"),
    ],
)
async def test_another_server_is_reached_if_it_says_that_it_is_the_one(
    status: int, why: str
) -> None:
    """401 is what one says that knows nothing of being asked."""

    async def answer(request: web.Request) -> web.Response:
        assert request.headers[bridge.HEADER] == "b/2"
        assert "Authorization" not in request.headers
        return web.Response(status=status)

    async with page("/connect", answer) as other:
        said = await missed(str(other.make_url("")))
        assert why in said
        assert ("set RELAY_SERVER_REPLICA_URL" in said) is bool(why)


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("http://127.0.0.1:1", "cannot be reached: Connection refused"),
        ("http://a..b:1", "http://a..b:1 cannot be reached: "),  # of an empty template
        ("http://no-such-host.invalid:1", "no-such-host.invalid:1 cannot be reached: "),
    ],
)
async def test_why_another_server_is_not_reached_is_told(address: str, why: str) -> None:
    assert why in await missed(address)


async def test_one_that_takes_connections_and_says_nothing_is_not_reached(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bridge, "CONNECT_S", 0.1)

    async def frozen(_request: web.Request) -> web.Response:
        return await asyncio.Future[web.Response]()

    async with page("/connect", frozen) as other:
        assert "does not answer within 0.1 s" in await missed(str(other.make_url("")))


async def missed(address: str) -> str:
    """Why a server is not reached; empty if it is."""
    try:
        await bridge.ask(Neighbour("b/2", address))
    except bridge.NoBridge as exc:
        return f"{exc}; {exc.fix}"
    return ""


async def silent(request: web.Request) -> web.StreamResponse:
    """Takes what a client says, and says nothing."""
    socket = web.WebSocketResponse(protocols=(SUBPROTOCOL,), autoping=False)
    await socket.prepare(request)
    async for _ in socket:
        pass
    return socket


async def test_it_ends_when_the_other_server_says_nothing_any_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its host is gone, or frozen, and no connection breaks: the client is to come back."""
    monkeypatch.setattr(bridge, "SILENT_S", 0.2)

    async def passed_on(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(autoping=False)
        await socket.prepare(request)
        hello = encode(Hello("1", "host", (WANTED,), 1))
        async with opened(Neighbour("b/2", str(other.make_url(""))), "Bearer x", hello) as link:
            assert link is not None
            end = await bridge.bridge(socket, link, lambda: None)
        await socket.close(code=end.code)
        return socket

    async with (
        page("/connect", silent) as other,
        page("/", passed_on) as this,
        aiohttp.ClientSession() as session,
        asyncio.timeout(20),
    ):
        client = await session.ws_connect(this.make_url("/"))
        assert (await client.receive()).type is WSMsgType.CLOSE
        assert client.close_code == bridge.BROKEN.code
