"""A connection to a target that is only bytes: what is understood of any answer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from relay_http.connection import Broken, Connection, NotHttp
from relay_protocol.limits import MAX_RESULT_BODY_BYTES, MAX_RESULT_HEADERS
from relay_protocol.values import Response
from tests.support.raw_target import OK

HEAD = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n"


class Wire(asyncio.Transport):
    """Takes everything, and keeps nothing of it."""

    def __init__(self) -> None:
        super().__init__()
        self.aborted = False

    def write(self, data: Any) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0

    def abort(self) -> None:
        self.aborted = True


async def understood(pieces: Sequence[bytes], *, ends: bool, bodiless: bool) -> Response | None:
    """What one exchange makes of these bytes; None when that is no answer.

    Whatever it is, it is within its bounds, and nothing of it is left for the next exchange.
    """
    connection = Connection()
    connection.connection_made(Wire())
    running = asyncio.create_task(_exchange(connection, bodiless))
    await asyncio.sleep(0)  # let it begin
    for piece in pieces:
        if connection.is_open:
            connection.data_received(piece)
    if ends and connection.is_open:
        connection.eof_received()
    await asyncio.sleep(0)
    if not running.done():  # it waits for more until its deadline
        running.cancel()
    answer = (await asyncio.gather(running, return_exceptions=True))[0]
    if isinstance(answer, Response):
        check(answer)
        await check_next(connection)
        return answer
    assert isinstance(answer, Broken | NotHttp | asyncio.CancelledError), answer
    assert not connection.is_open, "nothing may follow on it"
    return None


def check(answer: Response) -> None:
    """See that a server takes it as a result."""
    assert 200 <= answer.status <= 999
    assert len(answer.body) <= MAX_RESULT_BODY_BYTES
    assert len(answer.headers) <= MAX_RESULT_HEADERS


async def check_next(connection: Connection) -> None:
    """See that what is kept open gives the next request its own answer."""
    if not connection.is_open:
        return
    running = asyncio.create_task(_exchange(connection, bodiless=False))
    await asyncio.sleep(0)
    connection.data_received(OK)
    answer = await running
    assert (answer.status, answer.body, len(answer.headers)) == (200, b"", 1)
    connection.close()


async def _exchange(connection: Connection, bodiless: bool) -> Response:
    deadline = asyncio.get_running_loop().time() + 60
    return await connection.exchange(HEAD, b"{}", deadline, bodiless=bodiless)
