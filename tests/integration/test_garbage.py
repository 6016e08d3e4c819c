"""Garbage, to every port and socket of a server that runs, and on to a target."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
from pathlib import Path

import pytest

from tests.support.garbage import BODIES, BROKEN, GARBAGE, HELLO, PATHS, ROUTES
from tests.support.processes import Running
from tests.support.relay import Relay
from tests.support.senders import Answer, Connection, handshake, head, request
from tests.support.target import Target

MIB = 1_048_576
# aiohttp answers by the version that it was asked by, and here that may be none.
ANSWERS = {
    "public": rb"HTTP/1\.[01] 4\d\d ",
    "ops": rb"HTTP/(?:1\.[01]|0\.9) 4\d\d ",
    "control": rb"HTTP/(?:1\.[01]|0\.9) 4\d\d ",
}
ROOM_KIB = 48 * 1024  # for all that a program needs beside the body


def peak_kib(process: Running) -> int:
    """The most memory that a process ever had."""
    text = Path(f"/proc/{process.process.pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", text)
    assert found
    return int(found[1])


async def ask(relay: Relay, where: str) -> Connection:
    """A connection to a port or the socket of a relay."""
    if where == "control":
        path = str(relay.data_dir / "control.sock")
        return Connection(*await asyncio.open_unix_connection(path))
    port = relay.port if where == "public" else relay.ops_port
    return Connection(*await asyncio.open_connection("127.0.0.1", port))


def unharmed(relay: Relay) -> None:
    """The server runs, and had no failure that nobody foresaw."""
    assert relay.server.alive, relay.server.errors
    assert "Traceback" not in relay.server.errors
    assert " failed" not in relay.server.errors


@pytest.mark.parametrize("where", ["public", "ops", "control"])
async def test_garbage_is_refused_or_cut(relay: Relay, where: str) -> None:
    for raw in GARBAGE:
        one = await ask(relay, where)
        await one.send(raw)
        one.writer.write_eof()  # so that nothing is waited for
        answer = await one.closed()
        assert answer == b"" or re.match(ANSWERS[where], answer), (raw[:60], answer[:80])
        assert answer.count(b"HTTP/1.") <= 1, raw[:60]
        one.writer.close()
        assert b"aiohttp" not in answer.lower(), "who answers is nobody's business"
    assert await relay.is_ready()
    unharmed(relay)


async def test_the_control_socket_refuses_what_is_no_sense(relay: Relay) -> None:
    """Whoever may open it may do everything, and may make mistakes."""
    hostile = [(method, path, body) for method, path in ROUTES for body in BODIES.values()]
    hostile += [(method, path, b"{}") for method in ("GET", "DELETE", "PATCH") for path in PATHS]
    files = ("/nowhere/x", "a\0b", "", ".", "/proc/self/mem", "x" * 5_000, "/dev/full")
    hostile += [("POST", "backup", json.dumps({"file": file}).encode()) for file in files]
    for method, path, body in hostile:
        answer = await _asked(relay, method, path, body)
        assert 400 <= answer.status < 500 or answer.status == 507, (method, path, body[:60], answer)
        assert answer.json["error"]["code"] != "error", (method, path, body[:60], answer)
    unharmed(relay)


async def _asked(relay: Relay, method: str, path: str, body: bytes) -> Answer:
    one = await ask(relay, "control")
    fields = [("Host", "relay"), ("Content-Length", str(len(body)))]
    answer = await one.exchange(head(f"{method} /api/v1/{path} HTTP/1.1", fields) + body)
    one.writer.close()
    return answer


async def test_a_bomb_goes_through_as_it_is(relay: Relay, target: Target) -> None:
    """1 GiB of zeros in 1 MiB: neither the server nor the client looks into it."""
    body = gzip.compress(bytes(16 * MIB), mtime=0) * 64
    token = await relay.make_token("ana", "subscribe")
    client = await relay.connect(token, "--to", target.address)
    before = [peak_kib(process) for process in (relay.server, client)]

    fields = [("Content-Encoding", "gzip")]
    assert (
        await relay.send(request(body=body, headers=fields, token=relay.send_token))
    ).status == 200
    await target.received(1)

    [arrival] = target.arrivals
    assert arrival.body == body
    assert arrival.header(b"Content-Encoding") == b"gzip"
    after = [peak_kib(process) for process in (relay.server, client)]
    grown = [later - earlier for earlier, later in zip(before, after, strict=True)]
    assert max(grown) < ROOM_KIB, grown


async def test_who_abuses_the_websocket_keeps_nobody_else_from_it(
    relay: Relay, target: Target
) -> None:
    """All at once, none of them reads, and strangers come by the hundred."""
    ana, eve = [await relay.make_token(name, "subscribe") for name in ("ana", "eve")]
    await relay.connect(ana, "--to", target.address)
    before = peak_kib(relay.server)
    said = [handshake(eve) + frames for frames in BROKEN.values()]
    said += [handshake(eve) + HELLO + frames for frames in BROKEN.values()]
    said += [handshake("rly_wrong"), handshake(eve)[:-9]] * 100
    ends = [await ask(relay, "public") for _ in said]

    await asyncio.gather(*(end.send(raw) for end, raw in zip(ends, said, strict=True)))
    answers = [await relay.send(request(token=relay.send_token)) for _ in range(20)]
    await target.received(20)

    assert {answer.status for answer in answers} == {200}
    assert peak_kib(relay.server) - before < ROOM_KIB
    unharmed(relay)
    for end in ends:
        end.writer.transport.abort()
