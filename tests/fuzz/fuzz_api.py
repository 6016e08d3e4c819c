"""Any request of an administrator's to the API: `METHOD path LF body`.

A `!` before the method leaves the token out; `evt` stands for the id of an event.
"""

from __future__ import annotations

import asyncio
import json

from relay_server.listening import public_app
from relay_server.web.front import Front
from relay_server.web.server import BoundedRunner
from tests.fuzz.doors import ADMIN_TOKEN, Wire, World, at_once, open_world
from tests.fuzz.running import run
from tests.support.clock import START_MS
from tests.support.events import new_event

EVENT = "evt_0199"
ANSWER_S = 20.0
STATUSES = frozenset({200, 201, 204, 400, 401, 403, 404, 405, 409, 413, 414, 422, 426, 431})
STRANGERS = frozenset({400, 401, 404, 405, 414, 431})


def consider(data: bytes) -> None:
    """Whatever is asked, the answer is JSON, and no failure of the server's."""
    at_once(_consider(data))


async def _consider(data: bytes) -> None:
    first, _, body = data.partition(b"\n")
    known = not first.startswith(b"!")
    method, _, path = first.removeprefix(b"!").partition(b" ")
    world = await open_world()
    await world.store.subscribe("chatwoot", "ana", None, START_MS)
    await world.store.append(1, new_event(id=EVENT))
    runner = BoundedRunner(public_app(world.context))
    await runner.setup()
    try:
        answer = await _ask(world, runner, _request(method, path, body, known))
    finally:
        await world.context.hub.close()
        await runner.cleanup()
    if answer:
        _check(answer, known, method)


def _request(method: bytes, path: bytes, body: bytes, known: bool) -> bytes:
    token = b"Authorization: Bearer %b\r\n" % ADMIN_TOKEN.encode() if known else b""
    fields = b"Host: relay\r\nConnection: close\r\n%b" % token
    head = b"%b /api/v1/%b HTTP/1.1\r\n%b" % (method, path, fields)
    return head + b"Content-Length: %d\r\n\r\n" % len(body) + body


async def _ask(world: World, runner: BoundedRunner, raw: bytes) -> bytes:
    wire, front = Wire(), Front(world.context, runner.handler)
    door = front()
    door.connection_made(wire)
    door.data_received(raw)
    async with asyncio.timeout(ANSWER_S):
        await wire.over.wait()
    return bytes(wire.written)


def _check(answer: bytes, known: bool, method: bytes) -> None:
    head, _, body = answer.partition(b"\r\n\r\n")
    status = int(head.split(b" ")[1])
    assert status in (STATUSES if known else STRANGERS), answer
    if status != 204 and method != b"HEAD":
        json.loads(body)
    assert ADMIN_TOKEN.encode() not in body


if __name__ == "__main__":
    run(consider)
