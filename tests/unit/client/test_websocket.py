"""The WebSocket: what cannot be opened, what abuses it, and what its end means."""

from __future__ import annotations

import asyncio
import itertools
import socket

import msgspec
import pytest
from websockets.protocol import State

from relay_client import tunnel, websocket
from relay_client.errors import ChannelRefused, ClientError, TakenOver, TokenRefused, UsageError
from relay_client.notices import Connected, Lost, Waiting
from relay_client.relay import Relay
from relay_client.tunnel import LONGEST_WAIT_S, MAX_OUTBOX
from relay_client.websocket import MAX_UNSENT_BYTES
from relay_protocol.codec import encode
from relay_protocol.limits import MAX_FRAME_BYTES
from relay_protocol.messages import CloseCode, Deliver, Error, Goaway
from relay_protocol.values import Failure, FailureKind, Response
from tests.support.raw_target import make_delivery
from tests.support.raw_websocket import (
    BINARY,
    CLOSE,
    CONT,
    PING,
    PONG,
    TEXT,
    Behaviour,
    accept,
    frame,
    raw_relay,
    said,
    welcome,
)
from tests.support.waiting import until
from tests.unit.client.support import TOKEN, FakeRelay, fake_relay
from tests.unit.client.test_tunnel import Client, connected, ended, running

LARGE = b"x" * 65_536


@pytest.fixture(autouse=True)
def short_goodbyes(monkeypatch: pytest.MonkeyPatch) -> None:
    """These relays answer no close."""
    for module in (tunnel, websocket):
        monkeypatch.setattr(module, "CLOSE_TIMEOUT_S", 0.1)


class Pieces:
    """Counts what a socket was handed, so that no two pieces of a stream are read together."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.bytes = 0
        hand = websocket.Socket.data_received

        def counted(to: websocket.Socket, data: bytes) -> None:
            self.bytes += len(data)
            hand(to, data)

        monkeypatch.setattr(websocket.Socket, "data_received", counted)


class Collecting:
    """A listener that keeps messages."""

    def __init__(self) -> None:
        self.messages = list[bytes]()

    def received(self, message: bytes) -> None:
        self.messages.append(message)

    def ponged(self) -> None: ...

    def has_room(self) -> None: ...

    def lost(self) -> None: ...


# An ordinary relay


async def test_the_handshake_says_who_comes() -> None:
    """Token in the header, own subprotocol, own name, no compression."""
    async with connected() as (relay, client):
        headers = relay.handshakes[0]
        assert headers["Authorization"] == f"Bearer {TOKEN}"
        assert headers["Sec-WebSocket-Protocol"] == "relay.v1"
        assert headers["User-Agent"].startswith("relay-client/")
        assert "Sec-WebSocket-Extensions" not in headers
        assert "Origin" not in headers
        assert relay.hellos[0].host == "laptop"
        assert client.told(Connected) == [Connected(client.notices[0].welcome)]  # type: ignore[union-attr]


@pytest.mark.parametrize("status", [401, 403])
async def test_a_refused_handshake_is_final(status: int) -> None:
    """Trying again would not help."""
    async with fake_relay() as relay:
        relay.handshake_status = status
        async with running(Client(relay)) as client:
            with pytest.raises(TokenRefused, match=str(status)):
                await ended(client)

    assert len(relay.handshakes) == 1


@pytest.mark.parametrize(
    ("code", "why", "error", "status"),
    [
        (CloseCode.TOKEN_REFUSED, "code", TokenRefused, 4),
        (CloseCode.CHANNEL_REFUSED, "code", ChannelRefused, 4),
        (CloseCode.CHANNEL_REFUSED, "invalid_filter", UsageError, 2),
        (CloseCode.TAKEN_OVER, "code", TakenOver, 5),
    ],
)
async def test_a_close_that_says_no_is_final(
    code: CloseCode, why: str, error: type[ClientError], status: int
) -> None:
    """The relay's own words are passed on."""
    async with fake_relay() as relay:
        relay.refusal = (code, why, "the channel secret is not yours")
        async with running(Client(relay)) as client:
            with pytest.raises(error, match="secret is not yours") as caught:
                await ended(client)

    assert caught.value.exit_status == status
    assert len(relay.connections) == 1


@pytest.mark.parametrize("status", [404, 429, 500, 502, 503, 302])
async def test_other_refusals_are_tried_again_and_told_once(status: int) -> None:
    """A proxy answers so while the relay is restarted."""
    async with fake_relay() as relay:
        relay.handshake_status = status
        async with running(Client(relay)) as client:
            await until(lambda: len(relay.handshakes) >= 4)
            relay.handshake_status = 0
            await until(lambda: client.told(Connected))

    lost = client.told(Lost)
    assert len(lost) == 1
    assert isinstance(lost[0], Lost)
    assert lost[0].before_first
    assert str(status) in lost[0].text


async def test_a_server_without_the_subprotocol_is_no_relay() -> None:
    """Nothing is sent to it."""
    async with fake_relay() as relay:
        relay.subprotocol = None
        async with running(Client(relay)) as client:
            await until(lambda: client.told(Lost))

        assert "relay.v1" in client.told(Lost)[0].text  # type: ignore[union-attr]
        assert relay.hellos == []


async def test_a_redirect_is_not_followed() -> None:
    """The token goes to the configured relay and nowhere else."""
    async with fake_relay() as elsewhere, fake_relay() as relay:
        relay.handshake_status, relay.redirect_to = 307, elsewhere.url
        async with running(Client(relay)):
            await until(lambda: len(relay.handshakes) >= 2)

    assert elsewhere.handshakes == []


async def test_a_proxy_is_used_towards_the_relay(monkeypatch: pytest.MonkeyPatch) -> None:
    """But not to reach this machine itself."""
    lines: list[bytes] = []

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if line := await reader.readline():  # empty where the client stopped meanwhile
            lines.append(line)
        writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(proxy, "127.0.0.1", 0) as server, fake_relay() as relay:
        address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
            monkeypatch.setenv(name, address)
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        async with running(Client(relay, url="https://relay.invalid")) as client:
            await until(lambda: client.told(Lost))
            assert "proxy" in client.told(Lost)[0].text  # type: ignore[union-attr]
        async with running(Client(relay)) as client:
            await until(lambda: client.told(Connected))

    assert lines[0] == b"CONNECT relay.invalid:443 HTTP/1.1\r\n"
    assert all(b"relay.invalid" in line for line in lines)


# What calls itself a relay and abuses the WebSocket


def saying(raw: bytes, *, greets: bool = True) -> Behaviour:
    """Open the WebSocket, welcome the client, say this, and read until it leaves."""

    async def behave(
        head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        writer.write(accept(head) + (welcome() if greets else b"") + raw)
        await writer.drain()
        await reader.read(-1)

    return behave


def answering(raw: bytes) -> Behaviour:
    """Answer the handshake with this."""

    async def behave(
        head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        writer.write(raw.replace(b"ACCEPT", accept(head).split(b"\r\n")[3].split()[-1]))
        await writer.drain()
        await reader.read(-1)

    return behave


FRAMES = {
    "masked": frame(BINARY, b"x", masked=True),
    "text": frame(TEXT, b"{}"),
    "text that is no UTF-8": frame(TEXT, b"\xff\xfe"),
    "an opcode for data that is none": frame(0x3, b"x"),
    "an opcode for control that is none": frame(0xB, b"x"),
    "reserved bits": frame(BINARY, b"x", reserved=0b010),
    "compressed, though nobody agreed to it": frame(BINARY, b"x", reserved=0b100),
    "2^63 bytes": frame(BINARY, size=1 << 63) + LARGE,
    "2^62 bytes": frame(BINARY, size=1 << 62) + LARGE,
    "one byte too many": frame(BINARY, size=MAX_FRAME_BYTES + 1) + LARGE,
    "fragments that are too large together": frame(BINARY, LARGE, fin=False)
    + frame(CONT, LARGE, fin=False) * 8,
    "100,000 empty fragments": frame(BINARY, fin=False) + frame(CONT, fin=False) * 100_000,
    "100,000 fragments": frame(BINARY, b"x", fin=False) + frame(CONT, b"x", fin=False) * 100_000,
    "a fragment of nothing": frame(CONT, b"x"),
    "a message within another": frame(BINARY, b"x", fin=False) + frame(BINARY, b"y"),
    "a fragmented ping": frame(PING, b"x", fin=False),
    "a ping of 126 bytes": frame(PING, b"x" * 126),
    "a close of 126 bytes": frame(CLOSE, b"\x03\xe8" + b"x" * 124),
    "a close of one byte": frame(CLOSE, b"\x03"),
    "a close with half a letter": frame(CLOSE, b"\x03\xe8\xc3"),
    "a close with no code of the wire": frame(CLOSE, b"\x03\xed"),
    "a close with the code 0": frame(CLOSE, b"\x00\x00"),
    "a close with the code 65535": frame(CLOSE, b"\xff\xff" + b"\x1b]0;x\x07" * 9),
    "a close, then more": frame(CLOSE, b"\x03\xe8") + frame(BINARY, LARGE) * 9,
    "no message": frame(BINARY, b"\xc1"),
    "a type in letters of four bytes": frame(BINARY, msgspec.msgpack.encode({"type": "🎉" * 99})),
    "an empty message": frame(BINARY),
    "a second welcome": welcome(),
    "a batch that nobody agreed to": frame(BINARY, b"\x91" + encode(Error("x", "y"))),
}


@pytest.mark.parametrize("name", FRAMES)
async def test_frames_that_are_none_end_the_connection_alone(name: str) -> None:
    """The client dials again; nothing of it ends in a traceback."""
    async with (
        raw_relay(saying(FRAMES[name])) as relay,
        running(Client(FakeRelay(relay.url))) as client,
    ):
        await until(lambda: len(relay.heads) >= 2)
        assert client.told(Connected)
        assert client.told(Lost)
        assert not client.running.done()


async def test_a_message_may_come_in_several_frames() -> None:
    """What stands between may cut it up, and a ping come in its midst."""
    payload = welcome()[4:]  # behind a header with its length in two bytes
    cut_up = frame(BINARY, payload[:5], fin=False) + frame(PING) + frame(CONT, fin=False)
    relay_says = saying(cut_up + frame(CONT, payload[5:]), greets=False)
    async with raw_relay(relay_says) as relay, running(Client(FakeRelay(relay.url))) as client:
        await until(lambda: client.told(Connected))
        assert client.told(Lost) == []


@pytest.mark.parametrize("behind", [-1, 0, 1, 2, 3, 4, 500, 501])
async def test_messages_arrive_whole_and_in_order_wherever_they_are_cut(
    behind: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of every length that a frame's head says in another way; what is in them looks like frames.

    Each is cut so many bytes behind its beginning.
    """
    messages = [b"\x82\x00" * (size // 2) for size in (2, 100, 5_000, 80_000, 60_000, 4, 70_000)]
    frames = [frame(BINARY, message) for message in messages]
    frames.insert(3, frame(PING))
    stream = b"".join(frames)
    begins = itertools.accumulate(map(len, frames), initial=0)
    cuts = [0, *(min(begin + behind, len(stream)) for begin in begins if begin + behind > 0)]
    read = Pieces(monkeypatch)

    async def behave(
        head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        writer.write(accept(head))
        for start, end in itertools.pairwise([*cuts, len(stream)]):
            await until(lambda: read.bytes == len(accept(head)) + start)  # noqa: B023
            writer.write(stream[start:end])
        await reader.read(-1)

    async with raw_relay(behave) as relay:
        socket, listener = await websocket.dial(Relay(relay.url, TOKEN)), Collecting()
        socket.listen(listener)
        await until(lambda: len(listener.messages) >= len(messages))
        assert listener.messages == messages
        assert socket.protocol.state is State.OPEN
        await socket.close()


async def test_results_of_every_length_are_read_by_the_relay() -> None:
    """More of them than masks are drawn at once."""
    async with connected() as (relay, client):
        sizes = [*range(140), *range(65_420, 65_537, 3)]
        for number, size in enumerate(sizes):
            client.poster.outcome = Response(200, body=b"x" * size)
            await relay.open[0].deliver(make_delivery(number))
            await until(lambda: len(relay.settled) > number)  # noqa: B023
            assert relay.settled[-1] == (f"dlv_{number}", client.poster.outcome)


def test_no_two_frames_have_the_same_mask() -> None:
    frames = {websocket._framed(bytes(8)) for _ in range(1_000)}
    assert len(frames) == 1_000


async def test_a_flood_of_pongs_and_pings_is_borne() -> None:
    """As long as the answers are read; and compression is never offered."""
    flood = (frame(PING, b"x" * 125) + frame(PONG, b"y" * 125)) * 10_000
    answered = asyncio.Event()

    async def behave(
        head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        writer.write(accept(head) + welcome() + flood)
        await reader.readexactly(10_000 * 131)
        answered.set()
        await reader.read(-1)

    async with raw_relay(behave) as relay, running(Client(FakeRelay(relay.url))) as client:
        async with asyncio.timeout(20):
            await answered.wait()
        assert client.told(Lost) == []
        assert b"extensions" not in relay.heads[0].lower()


async def test_a_relay_that_pings_and_reads_nothing_is_cut() -> None:
    """Each answer waits in memory for it."""
    sent: list[int] = []

    async def behave(
        head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        writer.write(accept(head) + welcome())
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        while True:
            writer.write(frame(PING, b"x" * 125) * 500)
            await writer.drain()
            sent.append(500 * 127)

    async with raw_relay(behave) as relay, running(Client(FakeRelay(relay.url))) as client:
        await until(lambda: client.told(Lost))
        assert sum(sent) < 40 * MAX_UNSENT_BYTES, "what fits into the system's buffers, and one"


async def test_a_relay_that_reads_no_results_gets_no_more() -> None:
    """While the target is down each delivery is answered at once, and frees its own room."""
    delivered = 0
    delivery = make_delivery()
    is_down = asyncio.Event()

    async def behave(
        head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        nonlocal delivered
        writer.write(accept(head) + welcome())
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        while True:
            name = f"{delivered:0120}"
            message = Deliver(name, 1, 1, False, delivery.event, 2, b"{}")
            writer.write(said(message))
            await writer.drain()
            delivered += 1
            await is_down.wait()

    async with raw_relay(behave) as relay:
        client = Client(FakeRelay(relay.url))
        client.poster.outcome = Failure(FailureKind.TARGET_DOWN)
        async with running(client):
            await until(lambda: client.told(Waiting))
            assert client.tunnel._socket is not None
            mine = client.tunnel._socket.transport.get_extra_info("socket")
            mine.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_096)
            is_down.set()
            await until(lambda: len(client.tunnel._outbox) > MAX_OUTBOX)
            before = -1
            while before != delivered:  # until the relay itself is held up
                before = delivered
                await asyncio.sleep(0.1)
            assert len(client.tunnel._outbox) <= MAX_OUTBOX + 64
            assert client.told(Lost) == []


HANDSHAKES = {
    "no HTTP": b"SSH-2.0-OpenSSH_9.9\r\n\r\n",
    "a page": b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>",
    "a page without end": b"HTTP/1.1 200 OK\r\n\r\n" + LARGE * 40,
    "a redirect": b"HTTP/1.1 302 Go\r\nLocation: ws://127.0.0.1:9/\r\nContent-Length: 0\r\n\r\n",
    "a wrong key": b"HTTP/1.1 101 Go\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: AAAA\r\n\r\n",
    "no upgrade": b"HTTP/1.1 101 Go\r\nSec-WebSocket-Accept: ACCEPT\r\n\r\n",
    "two subprotocols": b"HTTP/1.1 101 Go\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: ACCEPT\r\nSec-WebSocket-Protocol: relay.v1, evil\r\n\r\n",
    "another subprotocol": b"HTTP/1.1 101 Go\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: ACCEPT\r\nSec-WebSocket-Protocol: evil\r\n\r\n",
    "compression that nobody offered": b"HTTP/1.1 101 Go\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\nSec-WebSocket-Accept: ACCEPT\r\n"
    b"Sec-WebSocket-Protocol: relay.v1\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n",
    "a header without end": b"HTTP/1.1 101 Go\r\nX: " + LARGE * 4,
    "100,000 headers": b"HTTP/1.1 101 Go\r\n" + b"X: 1\r\n" * 100_000,
    "a header that steers": b"HTTP/1.1 101 Go\r\nUpgrade: \x1b]0;x\x07\r\n\r\n",
    "half an answer": b"HTTP/1.1 101 Go\r\nUpgrade",
    "nothing": b"",
}


@pytest.mark.parametrize("name", HANDSHAKES)
async def test_handshakes_that_are_none_are_tried_again(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within the time for a handshake; nobody is believed to be a relay."""
    monkeypatch.setattr(websocket, "OPEN_TIMEOUT_S", 0.3)
    behaviour = answering(HANDSHAKES[name])
    async with raw_relay(behaviour) as relay, running(Client(FakeRelay(relay.url))) as client:
        await until(lambda: len(relay.heads) >= 2)
        assert client.told(Lost)
        assert not client.told(Connected)
        assert not client.running.done()


@pytest.mark.parametrize("after_s", [1e12, 1e308, 61.0, -1.0, -1e308])
async def test_a_relay_cannot_send_a_client_away_for_good(after_s: float) -> None:
    """However long it asks for; a time that has passed is now."""
    goodbye = said(Goaway("\x1b[2J", after_s)) + frame(CLOSE, b"\x03\xf4")
    async with raw_relay(saying(goodbye)) as relay, running(Client(FakeRelay(relay.url))) as client:
        await until(lambda: len(relay.heads) >= 2)
        assert all(0 <= high <= LONGEST_WAIT_S for high in client.draws)
        assert (max(client.draws) == LONGEST_WAIT_S) is (after_s > 0)
