"""The WebSocket, spoken to by clients that are good, bad and slow."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import WSMsgType
from structlog.testing import capture_logs

from relay_protocol.codec import batch, encode, unpack_server
from relay_protocol.limits import CHUNK_BYTES, HANDSHAKE_S, HEARTBEAT_S, MAX_FRAME_BYTES
from relay_protocol.messages import (
    Chunk,
    ClientMessage,
    CloseCode,
    Deliver,
    Error,
    Goaway,
    Hello,
    Pause,
    Result,
    Resume,
    ServerMessage,
    Verdict,
    Wanted,
    Welcome,
    Working,
)
from relay_protocol.values import Response
from relay_server.configs import Policy
from relay_server.delivery.readers import ReaderState
from relay_server.errors import StoreUnavailable
from relay_server.values import Scope, Subscription
from relay_server.web import gateway
from relay_server.web.gateway import SEND_DEADLINE_S
from tests.support.raw_websocket import BINARY, CLOSE
from tests.support.raw_websocket import frame as raw_frame
from tests.support.senders import connection, handshake, head, request
from tests.support.waiting import settled, until
from tests.unit.server.clients import client, join_deaf, joined, store, tick
from tests.unit.server.support import Served

Edit = Callable[[dict[str, str]], None]
HELLO = Hello("1.0", "laptop", (Wanted("chatwoot"),), 32)


# The handshake.


@pytest.mark.parametrize(
    ("change", "status"),
    [
        (lambda fields: fields.pop("Authorization"), 401),
        (lambda fields: fields.update(Authorization="Bearer rly_wrong"), 401),
        (lambda fields: fields.update(Authorization="Bearer rly_sénha"), 401),
        (lambda fields: fields.update(Authorization="Basic cmVsYXk6eA=="), 401),
        (lambda fields: fields.update(Origin="https://evil.example"), 403),
        (lambda fields: fields.update(Origin="null"), 403),
        (lambda fields: fields.update(Origin=""), 403),
        (lambda fields: fields.pop("Sec-WebSocket-Protocol"), 400),
        (lambda fields: fields.update({"Sec-WebSocket-Protocol": "relay.v2"}), 400),
        (lambda fields: fields.update({"Sec-WebSocket-Protocol": "relay.v10, xrelay.v1"}), 400),
        (lambda fields: fields.update({"Sec-WebSocket-Version": "12"}), 400),
        (lambda fields: fields.pop("Sec-WebSocket-Key"), 400),
        (lambda fields: fields.pop("Upgrade"), 400),
    ],
)
async def test_handshakes_that_are_refused(
    served: Served, token: str, change: Edit, status: int
) -> None:
    lines = handshake(token).decode("latin-1").split("\r\n")[1:-2]
    fields = dict(line.split(": ", 1) for line in lines)
    change(fields)
    answer = await served.send(head("GET /connect HTTP/1.1", list(fields.items())))
    assert answer.status == status
    assert "error" in answer.json
    assert token not in answer.body.decode()
    assert served.context.hub.connections == 0


@pytest.mark.parametrize(
    ("name", "key", "status"),
    [("b/2", True, 204), ("b/2", False, 426), ("c/3", True, 421), ("1", True, 204)],
)
async def test_another_server_asks_whether_it_reaches_this_one(
    served: Served, monkeypatch: pytest.MonkeyPatch, name: str, *, key: bool, status: int
) -> None:
    """Without a token; what is between them may have taken away that it asks for a WebSocket."""
    monkeypatch.setattr(served.context.store, "replica", "b/2")
    fields = [("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")] if key else []
    raw = head("GET /connect HTTP/1.1", [("Host", "relay"), ("Relay-Bridged", name), *fields])
    assert (await served.send(raw)).status == status


async def test_a_client_handed_on_to_another_server_than_is_meant_is_refused(
    served: Served, token: str
) -> None:
    raw = handshake(token).replace(b"\r\n\r\n", b"\r\nRelay-Bridged: c/3\r\n\r\n")
    assert (await served.send(raw)).status == 421


async def test_a_handshake_may_offer_several_protocols(served: Served, token: str) -> None:
    raw = handshake(token, ("Sec-WebSocket-Protocol", "x , relay.v2"))
    async with connection(served.port) as one:
        answer = await one.exchange(raw.replace(b": relay.v1", b": y,relay.v1"))
        assert answer.status == 101
        assert dict(answer.headers)["Sec-WebSocket-Protocol"] == "relay.v1"


async def test_a_token_in_the_url_lets_nobody_in(served: Served, token: str) -> None:
    raw = handshake("rly_x").replace(b"/connect", f"/connect?token={token}".encode())
    assert (await served.send(raw)).status == 401
    assert (await served.send(request("/connect", token=token))).status == 405


async def test_what_is_no_handshake_is_refused_by_its_code(served: Served, token: str) -> None:
    answer = await served.send(handshake(token).replace(b"Version: 13", b"Version: 12"))

    assert (answer.status, answer.json["error"]["code"]) == (400, "http_error")


async def test_a_sender_s_token_lets_no_reader_in(served: Served) -> None:
    assert (await served.send(handshake(served.token))).status == 401


# Joining.


async def test_events_come_to_whoever_subscribed(served: Served, token: str) -> None:
    async with client(served, token) as ana:
        [granted] = (await ana.join()).subscriptions
        assert (granted.channel, granted.name, granted.created) == ("chatwoot", "ana", True)
        assert (await served.send(request(body=b"{1}", token=served.token))).status == 200
        deliver = await ana.take()
        assert (deliver.body, deliver.attempt, deliver.replay) == (b"{1}", 1, False)
        assert deliver.event.request.request_target == "/webhook"
        await until(lambda: served.metric("relay_connections") == 1)
    await until(lambda: served.context.hub.connections == 0)
    [status] = await served.store.subscription_status()
    assert status.backlog == 0


async def test_a_client_that_takes_batches_gets_few_frames_and_sends_few(
    served: Served, token: str
) -> None:
    """Of bytes that hold up no heartbeat; the welcome is by itself, as every version reads it."""
    await store(served, 20, size=3_000)
    async with client(served, token) as ana:
        await ana.say(Hello("1.0", "laptop", (Wanted("chatwoot", None, 0),), 32, batches=True))
        welcome = await ana.next()
        assert isinstance(welcome, Welcome)
        assert welcome.batches
        frames, came = list[bytes](), list[ServerMessage]()
        while len(came) < 20:
            frames.append(await ana.socket.receive_bytes(timeout=20))
            came += unpack_server(frames[-1], batches=True)
        assert [one.event.sequence for one in came if isinstance(one, Deliver)] == [*range(1, 21)]
        assert len(frames) < 10
        assert max(map(len, frames)) <= CHUNK_BYTES
        results = [Result(one.delivery, Response(200)) for one in came if isinstance(one, Deliver)]
        [frame] = batch([encode(result) for result in results])
        await ana.socket.send_bytes(frame)
        [connected] = served.context.hub._peers
        assert isinstance(connected, gateway.Connection)
        await until(lambda: not connected._session.under_way)


async def test_a_large_body_comes_in_chunks_and_lets_others_pass(
    served: Served, token: str
) -> None:
    async with client(served, token) as ana:
        await ana.join()
        await store(served, 1, size=5 * CHUNK_BYTES + 1)
        large = await ana.deliver()
        assert (large.body, large.size) == (None, 5 * CHUNK_BYTES + 1)
        parts = [await ana.next() for _ in range(6)]
    chunks = [part for part in parts if isinstance(part, Chunk)]
    assert [chunk.last for chunk in chunks] == [False] * 5 + [True]
    assert b"".join(chunk.data for chunk in chunks) == b"x" * large.size


@pytest.mark.parametrize("channel", ["other", "unknown", "canary-of-somebody", ""])
async def test_a_channel_that_the_token_is_not_for(served: Served, channel: str) -> None:
    await served.make_channel("other")
    await served.make_channel("canary-of-somebody", owner="bob")
    token = await served.make_token("ana", Scope.SUBSCRIBE, channels=["chatwoot"])
    async with client(served, token) as ana:
        await ana.hello("chatwoot", channel)
        code, said = await ana.closed()
    assert code == CloseCode.CHANNEL_REFUSED
    [error] = said
    assert isinstance(error, Error)
    assert (error.code, repr(channel) in error.text) == ("forbidden", True)
    assert await served.store.subscription_status() == [], "all or nothing"


@pytest.mark.parametrize("name", ["a/b", "", " x", "x" * 64, "a\x1b[2J", "a\n"])
async def test_a_name_that_is_none(served: Served, token: str, name: str) -> None:
    async with client(served, token) as ana:
        if not name:
            assert (await ana.join(name=name)).subscriptions[0].name == "ana"
            return
        await ana.hello(name=name)
        code, [error] = await ana.closed()
    assert code == CloseCode.CHANNEL_REFUSED
    assert isinstance(error, Error)
    assert error.code == "invalid_value"


@pytest.mark.parametrize(
    ("name", "said"),
    [("Ana's laptop", "is no name: it takes 1 to 63 of a-z"), ("forward", "choose another name")],
)
async def test_a_new_subscription_takes_a_plain_name(
    served: Served, token: str, name: str, said: str
) -> None:
    """One that is there keeps its own, however odd."""
    async with client(served, token) as ana:
        await ana.hello(name=name)
        _, [error] = await ana.closed()
    assert isinstance(error, Error)
    assert said in error.text
    await served.store.subscribe("chatwoot", name, None, 1)
    async with client(served, token) as ana:
        assert (await ana.join(name=name)).subscriptions[0].name == name


@pytest.mark.parametrize(
    "wanted", ["kin:x", '"', "is:failed", "status:5xx", "subscription:ana", "x " * 300]
)
async def test_a_filter_that_cannot_be_is_refused_with_a_sentence(
    served: Served, token: str, wanted: str
) -> None:
    async with client(served, token) as ana:
        await ana.say(Hello("1.0", "laptop", (Wanted("chatwoot", filter=wanted),), 32))
        code, [error] = await ana.closed()
    assert code == CloseCode.CHANNEL_REFUSED
    assert isinstance(error, Error)
    assert (error.code, len(error.text) > 20) == ("invalid_filter", True)
    assert await served.store.subscription_status() == []


async def test_a_filter_holds_until_another_one_is_given(served: Served, token: str) -> None:
    """It is the subscription's: a hello that says nothing of it changes nothing."""
    said = []
    for wanted in ("conv:1,2  after:2026-07-02", None, "conv:3", ""):
        async with client(served, token) as ana:
            await ana.say(Hello("1.0", "laptop", (Wanted("chatwoot", filter=wanted),), 32))
            welcome = await ana.next()
            assert isinstance(welcome, Welcome)
            said.append(welcome.subscriptions[0].filter)
    first = "conv:1,2 after:2026-07-02T00:00:00.000Z"
    assert said == [first, first, "conv:3", ""]


async def test_a_store_that_is_not_well_is_to_be_tried_again(
    served: Served, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object) -> None:
        raise StoreUnavailable("the database is locked")

    monkeypatch.setattr(served.store, "subscribe", away)
    async with client(served, token) as ana:
        await ana.hello()
        code, [error] = await ana.closed()
    assert code == CloseCode.RESTART
    assert isinstance(error, Error)
    assert error.code == "store_unavailable"


async def test_joining_and_leaving_are_told_in_pairs_and_a_refusal_by_itself(
    served: Served, token: str
) -> None:
    with capture_logs() as logs:
        async with client(served, token) as ana:
            await ana.hello("unknown")
            await ana.closed()
        async with client(served, token) as mute:
            await until(lambda: served.context.hub.connections == 1)
            assert mute.socket.protocol == "relay.v1"
        await until(lambda: served.context.hub.connections == 0)
        async with client(served, token) as ana:
            await ana.join()
        await until(lambda: any(entry["event"] == "client left" for entry in logs))
    told = [e for e in logs if "client" in e["event"]]
    assert [(e["event"], e["host"]) for e in told] == [
        ("client refused", "laptop"),
        ("client joined", "laptop"),
        ("client left", "laptop"),
    ]
    assert [told[0]["code"], told[1]["reads"], told[2]["lasted_s"]] == [
        "forbidden",
        "chatwoot/ana",
        0,
    ]


async def test_a_client_that_leaves_while_it_joins_leaves_nothing(
    served: Served, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, asked = asyncio.Event(), asyncio.Event()
    subscribe = served.store.subscribe

    async def slow(*wanted: Any) -> tuple[Subscription, bool]:
        asked.set()
        await opened.wait()
        return await subscribe(*wanted)

    monkeypatch.setattr(served.store, "subscribe", slow)
    async with client(served, token) as ana:
        await ana.hello()
        await asyncio.wait_for(asked.wait(), 20)
        transport = ana.socket._response.connection
        assert transport is not None
        assert transport.transport is not None
        transport.transport.abort()
        await settled()
        opened.set()
        await until(lambda: served.context.hub.connections == 0)
    [status] = await served.store.subscription_status()
    assert served.context.hub.readers.state(status.subscription.number).readers == 0
    assert not served.context.hub.readers
    await until(lambda: not served.context.hub._tasks)


# What breaks the protocol.


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\xc1",
        b"hello",
        b"\xff" * 1_000,
        b"\x81\xa4type\xa7goodbye",
        b"\x91" * 100_000,
        encode(Working(("1.1",))),
        encode(Pause(1)),
        encode(Chunk("1.1", b"x", last=True)),
        encode(Hello("1", "x", (), 32)),
        encode(Hello("1", "x", (Wanted("chatwoot"), Wanted("chatwoot")), 32)),
        encode(Hello("1", "x", (Wanted("chatwoot"),), 0)),
        encode(Hello("1", "x", (Wanted("chatwoot", None, -1),), 1)),
        encode(Hello("1", "x", (Wanted("chatwoot", None, 10**18),), 1)),
        encode(Goaway("x", 1.0)),
        encode(Error("x", "y")),
    ],
)
async def test_frames_that_are_no_hello(served: Served, token: str, frame: bytes) -> None:
    with capture_logs() as logs:
        async with client(served, token) as ana:
            await ana.socket.send_bytes(frame)
            code, said = await ana.closed()
        await until(lambda: served.context.hub.connections == 0)
    assert code == CloseCode.PROTOCOL_ERROR
    assert [m.code for m in said if isinstance(m, Error)] == ["protocol_error"]
    assert [e["event"] for e in logs if e["log_level"] != "info"] == ["client broke the protocol"]
    assert await served.store.subscription_status() == []


@pytest.mark.parametrize(
    "message",
    [
        Hello("1", "x", (Wanted("chatwoot"),), 1),
        Pause(999),
        Resume(999),
        Result("1.1", Response(1)),
        Result("1.1", Response(200, body=b"x" * 65_537)),
        Result("1.1", Response(200, headers=((b"a", b"b"),) * 129)),
        Result("1.1", Response(200, elapsed_ms=-1)),
    ],
)
async def test_messages_that_are_not_allowed_later(
    served: Served, token: str, message: ClientMessage
) -> None:
    async with client(served, token) as ana:
        await ana.join()
        await ana.say(message)
        code, _ = await ana.closed()
    assert code == CloseCode.PROTOCOL_ERROR
    await until(lambda: not served.context.hub.readers)


@pytest.mark.parametrize("asked", [True, False])
async def test_what_follows_from_a_failure_is_said_to_who_asked_for_it(
    served: Served, token: str, *, asked: bool
) -> None:
    """Of what was delivered nothing is said: that is most of all."""
    await served.configure(policy=Policy(retry_delays_s=(5.0,), other_tries=1))
    async with client(served, token) as ana:
        await ana.say(Hello("1.0", "laptop", (Wanted("chatwoot"),), 32, verdicts=asked))
        welcome = await ana.next()
        assert isinstance(welcome, Welcome)
        assert (welcome.verdicts, welcome.subscriptions[0].came) == (asked, 0)
        await store(served, 4)
        delivers = [await ana.deliver() for _ in range(4)]
        for deliver, status in zip(delivers, (200, 503, 404, 410), strict=True):
            await ana.say(Result(deliver.delivery, Response(status)))
        if asked:
            said = [await ana.next() for _ in range(3)]
            assert [v.delivery for v in said if isinstance(v, Verdict)] == [
                deliver.delivery for deliver in delivers[1:]
            ]
            assert [getattr(v, "follows", "") for v in said] == ["again", "dead", "paused"]
            assert 4_000 <= getattr(said[0], "after_ms", 0) <= 6_000
            return
        await ana.socket.ping()
        assert (await ana.socket.receive(timeout=20)).type is WSMsgType.PONG


async def test_results_of_what_was_never_sent_are_harmless(served: Served, token: str) -> None:
    async with client(served, token) as ana:
        [granted] = (await ana.join()).subscriptions
        for delivery in (
            f"{granted.subscription}.1",
            "999.1",
            "x",
            "",
            "1.2.3",
            "👋",
            "9" * 10_000,
        ):
            await ana.say(Result(delivery, Response(200)))
            await ana.say(Working((delivery,)))
        await store(served, 1)
        deliver = await ana.take()
        await ana.say(Result(deliver.delivery, Response(500)))
        await store(served, 1)
        assert (await ana.take()).event.sequence == 2


async def test_a_text_frame(served: Served, token: str) -> None:
    async with client(served, token) as ana:
        await ana.join()
        await ana.socket.send_str("hello")
        code, [error] = await ana.closed()
    assert code == CloseCode.PROTOCOL_ERROR
    assert isinstance(error, Error)
    assert error.text == "only binary messages are understood here"


async def test_a_frame_that_is_too_large(served: Served, token: str) -> None:
    with capture_logs() as logs:
        async with client(served, token) as ana:
            await ana.join()
            await ana.socket.send_bytes(bytes(MAX_FRAME_BYTES + 1))
            code, _ = await ana.closed()
        await until(lambda: served.context.hub.connections == 0)
    assert code == 1009
    [broke] = [entry["error"] for entry in logs if entry["log_level"] == "warning"]
    assert str(MAX_FRAME_BYTES) in broke
    assert not served.context.hub.readers


async def test_fragments_that_are_too_large_together(served: Served, token: str) -> None:
    size = 32_768
    part = b"\xfe" + size.to_bytes(2, "big") + bytes(4) + bytes(size)
    async with connection(served.port) as one:
        await one.send(handshake(token))
        await one.reader.readuntil(b"\r\n\r\n")
        await one.send(b"\x02" + part)
        for _ in range(20):
            await one.send(b"\x00" + part)  # more of it: its end never comes
        closing = await one.closed()
    assert not closing or closing[2:4] == (1009).to_bytes(2, "big"), "lost behind what was unread"
    await until(lambda: served.context.hub.connections == 0)


async def test_a_flood_of_pings_is_answered_and_not_kept(served: Served, token: str) -> None:
    async with client(served, token) as ana:
        await ana.join()
        [reader] = served.context.hub._peers
        assert isinstance(reader, gateway.Connection)
        for number in range(2_000):
            await ana.socket.ping(b"%d" % number)
            assert len(reader._pings) <= 4
        async with asyncio.timeout(20):
            message = await ana.socket.receive()
            while message.data != b"1999":
                assert message.type is WSMsgType.PONG
                message = await ana.socket.receive()
        await store(served, 1)
        assert (await ana.take()).event.sequence == 1


# Time.


async def test_a_client_that_says_no_hello(served: Served, token: str) -> None:
    async with client(served, token) as ana:
        await until(lambda: served.context.hub.connections == 1)
        tick(served, HANDSHAKE_S)
        assert (await ana.closed())[0] == CloseCode.PROTOCOL_ERROR


async def test_a_client_that_is_not_heard_is_let_go(served: Served, token: str) -> None:
    async with client(served, token) as ana:
        await ana.join()
        tick(served, HEARTBEAT_S)
        assert (await ana.socket.receive(timeout=20)).type is WSMsgType.PING
        await ana.socket.pong()
        [reader] = served.context.hub._peers
        assert isinstance(reader, gateway.Connection)
        await until(lambda: reader._session._liveness.heard_at == served.clock.now)
        for _ in range(5):
            tick(served, HEARTBEAT_S)
        assert (await ana.closed())[0] == CloseCode.NORMAL
    await until(lambda: not served.context.hub.readers)


async def test_a_client_that_reads_nothing_is_cut(served: Served, token: str) -> None:
    writer, _, _ = await join_deaf(served, token)
    tick(served, SEND_DEADLINE_S - 1)
    await settled()
    assert served.context.hub.connections == 1
    with capture_logs() as logs:
        tick(served, 2)
        await until(lambda: served.context.hub.connections == 0)

    assert "client takes nothing, cut" in [entry["event"] for entry in logs]
    assert not served.context.hub.readers
    writer.transport.abort()


async def test_a_client_that_reads_nothing_does_not_hold_its_own_end_up(
    served: Served, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says goodbye, and more waits for it than the system takes."""
    monkeypatch.setattr(gateway, "CLOSE_DEADLINE_S", 0.1)
    writer, _, ours = await join_deaf(served, token)

    writer.write(raw_frame(CLOSE, b"\x03\xe8", masked=True))

    await until(lambda: ours.fileno() == -1)
    writer.transport.abort()


def take_no_more(
    monkeypatch: pytest.MonkeyPatch, connection: gateway.Connection, drain: Callable[[], object]
) -> None:
    """The socket is full from now on."""
    monkeypatch.setattr(gateway, "MAX_UNSENT_BYTES", -1)
    monkeypatch.setattr(connection, "_writer", SimpleNamespace(drain=drain))


async def test_results_make_no_room_for_who_reads_nothing(
    served: Served, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ids of deliveries can be guessed: a window alone would be no bound."""
    monkeypatch.setattr(gateway, "MAX_QUEUED_BYTES", 200_000)
    async with client(served, token) as ana:
        greedy, number = await joined(served, ana)
        reads = asyncio.Event()
        take_no_more(monkeypatch, greedy, reads.wait)
        await store(served, 100, size=30_000)
        for sequence in range(1, 101):
            await until(lambda: greedy._queued)
            await ana.say(Result(f"{number}.{sequence}", Response(200)))
        await settled()
        assert 0 < greedy._queued < 200_000 + 32_000
        reads.set()
        await until(lambda: not greedy._queued)
        tick(served, 1)
        for one in served.context.hub.readers:
            one.reader.tick(served.clock.monotonic())
        await until(lambda: greedy._queued or greedy._session.under_way)


async def test_a_writer_that_fails_ends_its_connection(
    served: Served, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def failing() -> None:
        raise ZeroDivisionError

    async with client(served, token) as ana:
        broken, _ = await joined(served, ana)
        take_no_more(monkeypatch, broken, failing)
        with capture_logs() as logs:
            await store(served, 1)
            assert (await ana.socket.receive(timeout=20)).type in (
                WSMsgType.CLOSED,
                WSMsgType.ERROR,
            )
            await until(lambda: served.context.hub.connections == 0)
    assert "a client could not be written to" in [entry["event"] for entry in logs]


# Being sent away.


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
        async with connection(served.port) as one, asyncio.timeout(20):
            one.writer.write(handshake(token))
            await one.reader.readuntil(b"\r\n\r\n")
            one.writer.write(raw_frame(BINARY, encode(HELLO), masked=True))
            await joining.wait()
            await served.store.revoke_token("ana")
            said = await one.reader.read()  # to the end of the connection, which the server makes
    finally:
        may_join.set()

    assert b"token_revoked" in said


async def test_the_second_under_a_name_takes_over(served: Served, token: str) -> None:
    async with client(served, token) as first, client(served, token) as second:
        await first.join()
        await store(served, 2)
        lent = [(await first.deliver()).delivery for _ in range(2)]
        await second.join()
        code, [error] = await first.closed()
        again = [await second.take() for _ in range(2)]

    assert code == CloseCode.TAKEN_OVER
    assert isinstance(error, Error)
    assert error.text == "ana is connected from laptop now"
    assert [(d.delivery, d.attempt) for d in again] == [(delivery, 2) for delivery in lent]


async def test_a_revoked_token_closes_its_connections_alone(served: Served, token: str) -> None:
    bob = await served.make_token("bob", Scope.SUBSCRIBE)
    async with (
        client(served, token) as one,
        client(served, token) as mute,
        client(served, bob) as b,
    ):
        await one.join()
        await b.join()
        await until(lambda: served.context.hub.connections == 3)
        await served.store.revoke_token("ana")
        for revoked in (one, mute):
            code, [error] = await revoked.closed()
            assert code == CloseCode.TOKEN_REFUSED
            assert isinstance(error, Error)
            assert error.code == "token_revoked"
        await store(served, 1)
        assert (await b.take()).event.sequence == 1


async def test_clients_are_asked_to_come_back(served: Served, token: str) -> None:
    async with client(served, token) as ana:
        await ana.join()
        served.context.hub.go_away("the server restarts", 2.0)
        code, said = await ana.closed()
    assert code == CloseCode.RESTART
    assert said == [Goaway("the server restarts", 2.0)]


async def test_a_client_whose_target_is_away_gets_nothing_until_it_is_back(
    served: Served, token: str
) -> None:
    async with client(served, token) as ana:
        [granted] = (await ana.join()).subscriptions
        hub, number = served.context.hub, granted.subscription
        await ana.say(Pause(number))
        await until(lambda: hub.readers.state(number).waits_for_target)
        await store(served, 1)
        with pytest.raises(TimeoutError):
            await ana.socket.receive(timeout=0.05)
        await ana.say(Resume(number))
        assert (await ana.take()).event.sequence == 1
        assert hub.readers.state(number) == ReaderState(1, hosts=("laptop",))


# Two channels on one connection.


async def test_two_channels_share_one_window_and_none_starves(served: Served, token: str) -> None:
    await served.make_channel("busy")
    await served.make_channel("other")
    async with client(served, token) as ana:
        await ana.join("busy", "other", window=4)
        await store(served, 120, "busy")
        await store(served, 120, "other")
        under_way: list[Deliver] = []
        numbers = []
        for _ in range(100):
            while len(under_way) < 4:
                under_way.append(await ana.deliver())
            await settled(3)
            [reader] = served.context.hub._peers
            assert isinstance(reader, gateway.Connection)
            assert reader._session.credit == 0, "all of it is used"
            done = under_way.pop(0)
            numbers.append(done.subscription)
            await ana.say(Result(done.delivery, Response(200)))
    counts = sorted(numbers.count(number) for number in set(numbers))
    assert len(counts) == 2
    assert counts[0] >= 25, counts
