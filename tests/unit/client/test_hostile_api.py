"""What answers the client's commands is no relay: an error that is said, within time and memory."""

from __future__ import annotations

import asyncio
import gzip
import io
import time
import tracemalloc
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from relay_client import api, commands, doctor, replays
from relay_client.console import Console
from relay_client.errors import ClientError
from relay_client.settings import ClientSettings, Configuration
from tests.unit.client.support import TOKEN

SOURCES = dict.fromkeys(ClientSettings.model_fields, "default")
MIB = 1 << 20

Run = Callable[[Configuration, Console], Coroutine[Any, Any, object]]


def simple(command: Any, as_json: bool) -> Run:
    return lambda configuration, console: command(configuration, console, as_json=as_json)


def replay(as_json: bool) -> Run:
    chosen = replays.selection(events=("evt_1",), since=None, until=None)
    return lambda c, console: replays.run_replay(chosen, None, c, console, as_json=as_json)


def list_replays(as_json: bool) -> Run:
    return lambda c, console: replays.run_replays(None, c, console, as_json=as_json)


RUNS: dict[str, Callable[[bool], Run]] = {
    "whoami": lambda as_json: simple(commands.run_whoami, as_json),
    "channels": lambda as_json: simple(commands.run_channels, as_json),
    "status": lambda as_json: simple(commands.run_status, as_json),
    "resume": lambda as_json: simple(commands.run_resume, as_json),
    "doctor": lambda as_json: simple(doctor.run_doctor, as_json),
    "replay": replay,
    "replays": list_replays,
}


def body(content: bytes, *, status: str = "200 OK", fields: bytes = b"") -> bytes:
    """An answer with this body."""
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\n".encode()
    return head + fields + b"Content-Length: %d\r\n\r\n" % len(content) + content


def deep(levels: int) -> bytes:
    return b'{"x": ' + b"[" * levels + b"]" * levels + b"}"


EVIL = "\x1b]52;c;ZXZpbA==\x07\x9b2J\u202e\u2066\r\x00"
NUMBERS = b'{"version": "1", "uptime_s": %b, "channels": [{"name": "a", "events": %b}]}'
BODIES = {
    "empty": b"",
    "null": b"null",
    "a list": b"[1]",
    "no JSON": b"<html>" + EVIL.encode(),
    "no UTF-8": b'{"name": "\xff\xfe"}',
    "half a pair": b'{"name": "\\ud800", "scopes": [], "channels": null, "server_version": "1"}',
    "200,000 levels": deep(200_000),
    "200,000 levels of maps": b'{"x":' * 200_000 + b"1" + b"}" * 200_000,
    "5,000 digits": NUMBERS % (b"1" * 5_000, b"1" * 5_000),
    "4,000 digits": NUMBERS % (b"1", b"1" * 4_000),
    "too large a number": NUMBERS % (b"1e999", b"-1"),
    "the end of time": NUMBERS.replace(b"%b}", b'1, "last_received_at": 253402300799999}') % b"1",
    "the same twice": b'{"name": "a", "name": 1, "replays": [], "replays": {}}',
    "a megabyte of text": b'{"error": {"code": "x", "message": "%b"}}' % (b"\\u001b" * 170_000),
}
ANSWERS = {
    **{name: body(content) for name, content in BODIES.items()},
    **{f"{name}, refused": body(content, status="400 Bad") for name, content in BODIES.items()},
    "a redirect": body(b"", status="307 Go", fields=b"Location: http://127.0.0.1:9/\r\n"),
    "100,000 headers": body(b"{}", fields=b"X: 1\r\n" * 100_000),
    "a long header": body(b"{}", fields=b"X: " + b"x" * MIB + b"\r\n"),
    "1xx without end": b"HTTP/1.1 103 Early\r\nLink: x\r\n\r\n" * 2_000,
    "another protocol": b"HTTP/1.1 101 Go\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n",
    "no HTTP": b"\x00\x01\x02SSH-2.0-x\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "chunks that overflow": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"ffffffffffffffff1\r\n{}",
    "half an answer": b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{",
    "no gzip": body(b"{}", fields=b"Content-Encoding: gzip\r\n"),
}


@asynccontextmanager
async def answering(answer: bytes) -> AsyncIterator[str]:
    """A server that says the same to everything, then ends the connection; gives its URL."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


async def printed(run: Run, url: str) -> str:
    """What a command prints; its end is a result or an error of ours."""
    settings = ClientSettings.model_validate({"url": url, "token": TOKEN})
    out, err = io.StringIO(), io.StringIO()
    said = ""
    try:
        await run(Configuration(settings, SOURCES, Path(), colour=False), Console(out, err))
    except ClientError as exc:
        said = f"{exc.hint}\n"  # the message is made harmless where it is told
    return said + out.getvalue() + err.getvalue()


@pytest.fixture
def in_the_east(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Where the year 10,000 begins first."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("in_the_east")
@pytest.mark.parametrize("name", ANSWERS)
async def test_no_command_ends_in_a_traceback(name: str) -> None:
    """Nor does anything that it prints steer the terminal."""
    async with answering(ANSWERS[name]) as url:
        for make in RUNS.values():
            for as_json in (False, True):
                text = await printed(make(as_json), url)
                assert all(c.isprintable() or c == "\n" for c in text), text


async def test_an_answer_is_as_deep_as_it_can_be_printed() -> None:
    """There is no depth that is read and then cannot be written."""
    for levels in range(900, 1_000):
        async with answering(body(deep(levels))) as url:
            await printed(simple(commands.run_channels, as_json=True), url)


@asynccontextmanager
async def streaming(head: bytes, piece: bytes, sent: list[int]) -> AsyncIterator[str]:
    """A server that goes on until it is cut off; gives its URL, and counts the bytes."""

    async def stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(head)
        try:
            while True:
                writer.write(piece)
                await writer.drain()
                sent.append(len(piece))
        except ConnectionError:
            pass

    server = await asyncio.start_server(stream, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.mark.parametrize(
    ("head", "piece"),
    [
        (b"Content-Length: 9999999999\r\n\r\n", b" " * 65_536),
        (b"Transfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + b" " * 65_536 + b"\r\n"),
        (b"\r\n", b" " * 65_536),
    ],
    ids=["a length", "chunks", "until it closes"],
)
async def test_an_answer_of_gigabytes_is_cut(head: bytes, piece: bytes) -> None:
    """At its bound, which is all that it costs."""
    sent: list[int] = []
    async with streaming(b"HTTP/1.1 200 OK\r\n" + head, piece, sent) as url:
        tracemalloc.start()
        try:
            assert "no relay" in await failure(RUNS["status"](True), url)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert sum(sent) < 64 * MIB
    assert peak < 48 * MIB, "the bound, and one more copy of it while it grows"


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "gzip, gzip"])
async def test_no_answer_is_inflated(coding: str) -> None:
    """A kilobyte can be a gigabyte."""
    content = gzip.compress(bytes(64 * MIB), 1)
    answer = body(content, fields=f"Content-Encoding: {coding}\r\n".encode())
    async with answering(answer) as url:
        tracemalloc.start()
        try:
            assert "no relay" in await failure(RUNS["status"](True), url)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < 4 * MIB


async def failure(run: Run, url: str) -> str:
    settings = ClientSettings.model_validate({"url": url, "token": TOKEN})
    console = Console(io.StringIO(), io.StringIO())
    with pytest.raises(ClientError) as caught:
        await run(Configuration(settings, SOURCES, Path(), colour=False), console)
    return str(caught.value)


async def test_an_answer_that_does_not_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time is for all of it, however steadily it trickles."""
    monkeypatch.setattr(api, "_TIMEOUT_S", 0.3)
    stopped = asyncio.Event()

    async def trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n")
            while True:
                writer.write(b" ")
                await writer.drain()
                await asyncio.sleep(0.01)
        except ConnectionError:
            stopped.set()

    server = await asyncio.start_server(trickle, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with asyncio.timeout(5):
            assert "no answer within" in await failure(RUNS["status"](False), url)
            await stopped.wait()


async def test_a_compressed_answer_is_not_asked_for() -> None:
    """A proxy before the relay has no reason to send one."""
    heads: list[bytes] = []

    async def keep(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(body(gzip.compress(b"{}")))
        writer.close()

    server = await asyncio.start_server(keep, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        await failure(RUNS["status"](False), url)
    assert b"gzip" not in heads[0]
