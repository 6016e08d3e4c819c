"""The JSON API as the client asks it: refusals, and answers of what may be no relay at all."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import gzip
import time
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from relay_client import __version__, api, doctor, reasons, websocket
from relay_client.api import Api, choose_channel
from relay_client.commands import account, replaying, replays, subscriptions
from relay_client.errors import (
    ClientError,
    ExitStatus,
    RelayProblem,
    RelayUnreachable,
    TokenRefused,
    UsageError,
)
from relay_client.relay import Relay
from relay_client.settings import Configuration
from relay_terminal.console import Console
from tests.unit.client.support import (
    REPLAY,
    STATUS,
    TOKEN,
    asked,
    configuration,
    console,
    fake_relay,
    printed,
)

MIB = 1 << 20
STEERING = "\x1b]0;owned\x07"

Run = Callable[[Configuration, Console], Coroutine[Any, Any, object]]
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


# Refusals


async def test_refusals_and_absence_are_different_errors() -> None:
    """Each with its exit status."""
    async with fake_relay() as relay:
        async with Api(Relay(relay.url, "wrong")) as api:
            with pytest.raises(TokenRefused) as refused:
                await api.whoami()
        async with Api(Relay(relay.url, TOKEN)) as api:
            with pytest.raises(RelayProblem, match="no such thing") as problem:
                await api.event("evt_2")
        relay.whoami = {"unexpected": True}
        async with Api(Relay(relay.url, TOKEN)) as api:
            with pytest.raises(RelayProblem, match="no relay"):
                await api.whoami()
    async with Api(Relay("http://127.0.0.1:9", TOKEN)) as api:
        with pytest.raises(RelayUnreachable, match="refused") as away:
            await api.whoami()

    statuses = [error.value.exit_status for error in (refused, problem, away)]
    assert statuses == [4, 1, 3]
    assert problem.value.hint == "Look elsewhere."


async def test_hints_name_commands_of_this_program() -> None:
    """Whoever has a laptop has no relay-server at hand."""
    refused = {"code": "replay_not_found", "message": "no", "hint": "relay-server replays list"}
    async with fake_relay() as relay:
        relay.refusals["DELETE /api/v1/replays/9"] = (404, refused)
        async with Api(Relay(relay.url, TOKEN)) as api:
            with pytest.raises(RelayProblem) as caught:
                await api.do("DELETE", "replays/9")
    assert caught.value.hint == "relay-client replays lists the replays there are."


async def test_wrong_tokens_are_refused_alike_however_many_there_were() -> None:
    """After 20 of them the relay answers 429; a good one it lets in even then."""
    refused = {"code": "too_many_failures", "message": "not authorized"}
    async with fake_relay() as relay:
        relay.refusals["GET /api/v1/whoami"] = (429, refused)
        async with Api(Relay(relay.url, TOKEN)) as api:
            with pytest.raises(TokenRefused) as caught:
                await api.whoami()
    assert caught.value.exit_status is ExitStatus.TOKEN_REFUSED
    body = b'{"error": {"code": "too_many_failures"}}'
    assert isinstance(websocket.of_status(429, body), TokenRefused)
    assert isinstance(websocket.of_status(429, b"slow down"), websocket.Reason), "a proxy's"


@pytest.mark.parametrize(
    ("channels", "chosen"),
    [
        (["only"], "only"),
        (["github", "chatwoot"], "chatwoot"),
    ],
)
def test_a_channel_is_chosen_where_it_is_clear(channels: list[str], chosen: str) -> None:
    """The only one, or Chatwoot's."""
    assert choose_channel(channels, "Say which.") == chosen


@pytest.mark.parametrize("channels", [[], ["github", "stripe"]])
def test_a_channel_that_is_not_clear_is_asked_for(channels: list[str]) -> None:
    """Naming those there are."""
    with pytest.raises(UsageError) as caught:
        choose_channel(channels, "Say which.")
    assert all(channel in str(caught.value) for channel in channels)


# Commands that something else than a relay answers


def simple(command: Any, as_json: bool, **options: Any) -> Run:
    return lambda settings, told: asked(command, settings, told, as_json=as_json, **options)


def examine(as_json: bool) -> Run:
    return lambda settings, told: doctor.run_doctor(settings, told, as_json=as_json)


RUNS: dict[str, Callable[[bool], Run]] = {
    "whoami": lambda as_json: simple(account.whoami, as_json),
    "channels": lambda as_json: simple(account.channels, as_json),
    "status": lambda as_json: simple(account.status, as_json),
    "resume": lambda as_json: simple(subscriptions.resume, as_json),
    "doctor": examine,
    "replay": lambda as_json: simple(replaying.replay, as_json, words=["kind:x"]),
    "replays": lambda as_json: simple(replays.list_replays, as_json),
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
async def serving(serve: Serve) -> AsyncIterator[str]:
    """A server that does this with each connection, then ends it; gives its URL."""

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            await serve(reader, writer)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(once, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


def saying(answer: bytes) -> Serve:
    """Say the same to everything."""

    async def say(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)

    return say


async def said(run: Run, url: str) -> str:
    """What a command prints; its end is a result or an error of ours."""
    told, hint = console(), ""
    try:
        await run(configuration(url), told)
    except ClientError as exc:
        hint = f"{exc.hint}\n"  # the message is made harmless where it is told
    return hint + printed(told)


async def failure(run: Run, url: str) -> str:
    with pytest.raises(ClientError) as caught:
        await run(configuration(url), console())
    return str(caught.value)


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
    async with serving(saying(ANSWERS[name])) as url:
        for make in RUNS.values():
            for as_json in (False, True):
                text = await said(make(as_json), url)
                assert all(c.isprintable() or c == "\n" for c in text), text


async def test_an_answer_is_as_deep_as_it_can_be_printed() -> None:
    """There is no depth that is read and then cannot be written."""
    for levels in range(900, 1_000):
        async with serving(saying(body(deep(levels)))) as url:
            await said(simple(account.channels, as_json=True), url)


def bent(answer: Any) -> list[Any]:
    """The answer with one value of it replaced by a text that steers, in every way."""
    if isinstance(answer, dict):
        return [answer | {name: other} for name, value in answer.items() for other in bent(value)]
    if isinstance(answer, list):
        return [STEERING, *([other] for value in answer for other in bent(value))]
    return [STEERING, None, [], 10**30, {}]


CHANNEL = {"name": "chatwoot", "webhook_path": "/webhook", "sender_auth": [], "retention_days": 7}


@pytest.mark.parametrize(
    ("name", "call", "answer"),
    [
        ("replays", "GET /api/v1/replays", {"replays": [REPLAY]}),
        ("replay", "POST /api/v1/replays", {"replays": [REPLAY]}),
        ("status", "GET /api/v1/status", STATUS),
        ("channels", "GET /api/v1/channels", {"channels": [CHANNEL]}),
    ],
)
async def test_no_answer_steers_the_terminal_or_ends_in_a_traceback(
    name: str, call: str, answer: dict[str, Any]
) -> None:
    """What is there in the place of a number is not printed."""
    async with fake_relay() as relay:
        for other in [copy.deepcopy(answer), *bent(answer)]:
            relay.answers[call] = other
            told = console()
            with contextlib.suppress(RelayProblem):
                await RUNS[name](False)(configuration(relay.url), told)
            assert not {"\x1b", "\x07"} & set(printed(told))


# Answers without end


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

    async def stream(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n" + head)
        while True:
            writer.write(piece)
            await writer.drain()
            sent.append(len(piece))

    async with serving(stream) as url:
        assert await peak_of_failure(url) < 48 * MIB, "the bound, and a copy of it while it grows"
    assert sum(sent) < 64 * MIB


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "gzip, gzip"])
async def test_no_answer_is_inflated(coding: str) -> None:
    """A kilobyte can be a gigabyte."""
    content = gzip.compress(bytes(64 * MIB), 1)
    answer = body(content, fields=f"Content-Encoding: {coding}\r\n".encode())
    async with serving(saying(answer)) as url:
        assert await peak_of_failure(url) < 4 * MIB


async def peak_of_failure(url: str) -> int:
    """How many bytes it takes to find out that something is no relay."""
    tracemalloc.start()
    try:
        assert "no relay" in await failure(RUNS["status"](True), url)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n"])
async def test_an_answer_that_does_not_end_is_given_up(
    said: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time is for all of it, however steadily it trickles."""
    monkeypatch.setattr(api, "_TIMEOUT_S", 0.3)
    left = asyncio.Event()

    async def trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(said)
        reading = asyncio.create_task(reader.read())
        while not reading.done():
            writer.write(said[-1:])  # a newline of what seems to be the body
            await asyncio.wait([reading], timeout=0.01)
        left.set()

    async with serving(trickle) as url, asyncio.timeout(20):
        assert "no answer within" in await failure(RUNS["status"](False), url)
        await left.wait()


async def test_a_compressed_answer_is_not_asked_for() -> None:
    """A proxy before the relay has no reason to send one."""
    async with fake_relay() as relay, Api(Relay(relay.url, TOKEN)) as asking:
        await asking.status()

    assert relay.requests[0]["Accept-Encoding"] == "identity"


@pytest.mark.parametrize("call", ["channels", "status"])
async def test_a_token_that_may_only_send_is_named_as_such(call: str) -> None:
    """Whether it is refused, or shown nothing."""
    async with fake_relay() as relay:
        relay.whoami |= {"name": "chatwoot", "scopes": ["send"]}
        for answer in ("empty", 401, 403, 404):
            if answer == "empty":
                relay.answers = {f"GET /api/v1/{call}": {"version": "1", "channels": []}}
            else:
                refusal = (int(answer), {"code": "not_for_you", "message": "no"})
                relay.refusals = {f"GET /api/v1/{call}": refusal}
            async with Api(Relay(relay.url, TOKEN)) as api:
                with pytest.raises(TokenRefused, match="the token chatwoot may only send") as told:
                    await getattr(api, call)()
            assert "scope subscribe" in told.value.hint


@pytest.mark.parametrize(
    ("version", "said"),
    [("0.0.9", "this relay is older than this client"), (__version__, "there is no such thing")],
)
async def test_a_route_that_an_older_relay_has_not(version: str, said: str) -> None:
    async with fake_relay() as relay:
        relay.version = relay.whoami["server_version"] = version
        async with Api(Relay(relay.url, TOKEN)) as api:
            with pytest.raises(RelayProblem, match=said):
                await api.do("DELETE", "replays/7")


@pytest.mark.parametrize(
    ("version", "said"),
    [
        ("0.0.9", "older than this client's"),
        ("99.1", "newer than this client's"),
        (__version__, ""),
        ("unknown", ""),
    ],
)
def test_versions_that_differ(version: str, said: str) -> None:
    told = reasons.of_versions(version)
    assert (said in told, bool(told)) == (True, bool(said))
