"""What a client of the WebSocket can do no more of, or no longer, than it may."""

from __future__ import annotations

import asyncio
import re

import pytest

from relay_protocol.codec import encode
from relay_protocol.messages import Error, Hello, Wanted, Welcome
from relay_server.errors import StoreUnavailable
from relay_server.web import gateway
from tests.support.raw_websocket import BINARY, CLOSE, frame
from tests.support.senders import connection, handshake
from tests.support.waiting import until
from tests.unit.server.support import Served
from tests.unit.server.test_gateway import client, join_deaf, token

__all__ = ["token"]

HELLO = Hello("1.0", "laptop", (Wanted("chatwoot"),), 32)


async def test_a_long_name_of_a_host_is_cut(served: Served, token: str) -> None:
    """Whoever is taken over is told from where: no more than a name is long."""
    async with client(served, token) as first, client(served, token) as second:
        await first.join()
        await second.say(Hello("1.0", "h" * 1_000, (Wanted("chatwoot"),), 32))
        assert isinstance(await second.next(), Welcome)
        _, [*_, told] = await first.closed()

    assert isinstance(told, Error)
    assert max(map(len, re.findall("h+", told.text))) == 255


async def test_a_close_that_is_not_answered_is_done_without(
    served: Served, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has to be waited for where it falls into a wait for the store."""
    monkeypatch.setattr(gateway, "CLOSE_DEADLINE_S", 0.1)
    joining, may_join = asyncio.Event(), asyncio.Event()

    async def slowly(*_: object) -> None:
        joining.set()
        await may_join.wait()
        raise StoreUnavailable("the disk is busy")

    monkeypatch.setattr(served.context.hub, "join", slowly)
    try:
        async with connection(served.port) as one, asyncio.timeout(5):
            one.writer.write(handshake(token))
            await one.reader.readuntil(b"\r\n\r\n")
            one.writer.write(frame(BINARY, encode(HELLO), masked=True))
            await joining.wait()
            await served.store.revoke_token("ana")
            said = await one.reader.read()  # to the end of the connection, which the server makes
    finally:
        may_join.set()

    assert b"token_revoked" in said


async def test_what_is_no_handshake_is_refused_by_its_code(served: Served, token: str) -> None:
    answer = await served.send(handshake(token).replace(b"Version: 13", b"Version: 12"))

    assert (answer.status, answer.json["error"]["code"]) == (400, "http_error")


async def test_a_client_that_reads_nothing_does_not_hold_its_own_end_up(
    served: Served, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says goodbye, and more waits for it than the system takes."""
    monkeypatch.setattr(gateway, "CLOSE_DEADLINE_S", 0.1)
    writer, _, ours = await join_deaf(served, token)

    writer.write(frame(CLOSE, b"\x03\xe8", masked=True))

    await until(lambda: ours.fileno() == -1, 5)
    writer.transport.abort()
