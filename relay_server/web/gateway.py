"""The WebSocket that deliveries leave by: the I/O around `ServerSession`, no decisions.

    socket ──frames──▶ _read ──▶ session.receive ──▶ readers (settle, extend, hold, let go)
    reader ──deliver──▶ session.deliver ──▶ _send ──flush──▶ socket, or outbox ──_write──▶ socket

Where the socket takes it, what is said at once is written as one, by whoever has no more to say: a
reader that has lent what may go, or what took a frame of results. A task, a turn of the event loop
or a call of the system for each cost more than the frames. To a client that takes batches it goes
in few frames, too. Two tasks serve a connection, while the request's own
waits for the end. The one that reads takes a frame at a time, and waits for nothing but the store,
when a client joins. The one that writes has what must wait: pongs and pings, the outbox while the
socket takes no more, and one chunk of a large body whenever that is empty: no body holds up a
heartbeat.

A client that takes nothing is bounded twice: at `MAX_QUEUED_BYTES` of frames that wait to be sent
it is lent nothing more, whatever its window says, and after `SEND_DEADLINE_S` it is cut.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Iterable, Sequence
from importlib.metadata import version

import msgspec
import structlog
from aiohttp import WSMsgType, web
from aiohttp.abc import AbstractStreamWriter

from relay_protocol.codec import EventsSent, batch, encode, unpack_client
from relay_protocol.errors import ProtocolError, RelayError
from relay_protocol.limits import CHUNK_BYTES, MAX_FRAME_BYTES, SUBPROTOCOL
from relay_protocol.messages import (
    CloseCode,
    Follows,
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
from relay_protocol.server_session import ServerEffect, ServerSession
from relay_protocol.session import Close, Ping
from relay_protocol.values import Delivery
from relay_server.auth import allows
from relay_server.channels import check_name, check_subscription_name, is_name
from relay_server.delivery.reader import Reader
from relay_server.delivery.retry import Next
from relay_server.errors import Forbidden, InvalidValue, StoreUnavailable
from relay_server.filters.language import check_standing
from relay_server.operations.forwards import DEFAULT_FORWARD
from relay_server.store.interface import Store
from relay_server.values import Scope, Token
from relay_server.wake import Wake
from relay_server.web.access import bearer, error_response
from relay_server.web.bridge import (
    ANYBODY,
    HEADER,
    MISDIRECTED,
    REACHED,
    bridge,
    opened,
    owner_of,
)
from relay_server.web.context import CONTEXT, Context

log = structlog.get_logger()
UNREACHABLE = (
    "another server of this relay has those that share this, and this one cannot reach it:"
    " RELAY_SERVER_REPLICA_URL there leads nowhere from here"
)
_sent = EventsSent()  # by all connections

VERSION = version("relay-tunnel")
SEND_DEADLINE_S = 55.0  # a client that takes nothing for so long is cut, within 60 s in all
CLOSE_DEADLINE_S = 5.0  # for the answer to a close
MAX_VERSION_CHARS = 40  # of a client's version that is told
MAX_HOST_CHARS = 255  # a longer name of a client's host is cut
# Waiting to be written to a client: a window of the largest heads and bodies fits.
MAX_QUEUED_BYTES = 4_194_304
# Written and not taken by the system yet; from then on messages wait in the outbox. It is where an
# event loop's transports ask their writers to pause, too.
MAX_UNSENT_BYTES = 65_536
MAX_PINGS = 4  # that wait to be answered; who sends more is answered the last ones


async def connect(request: web.Request) -> web.StreamResponse:
    """`GET /connect`: authenticate, then talk `relay.v1` until either side ends it."""
    context = request.app[CONTEXT]
    if "Origin" in request.headers:  # a browser, and no browser has business here
        return error_response(403, "forbidden", "browsers cannot connect here")
    if (answer := _of_server(request, context.store)) is not None:
        return answer
    token = bearer(request, Scope.SUBSCRIBE)
    offered = ",".join(request.headers.getall("Sec-WebSocket-Protocol", ()))
    if SUBPROTOCOL not in [name.strip() for name in offered.split(",")]:
        return error_response(400, "bad_request", f"this is a WebSocket that speaks {SUBPROTOCOL}")
    if not request.headers.get("Sec-WebSocket-Key", "").isascii():  # aiohttp looks at all else
        return error_response(400, "bad_request", "this is no key of a WebSocket")
    socket = web.WebSocketResponse(
        protocols=(SUBPROTOCOL,),
        autoping=False,  # pings and pongs show that the client lives
        compress=False,
        max_msg_size=MAX_FRAME_BYTES,
        timeout=CLOSE_DEADLINE_S,
    )
    await socket.prepare(request)
    if (transport := request.transport) is not None:
        # What came over a bridge goes over no other.
        own = None if HEADER in request.headers else request.headers["Authorization"]
        await Connection(context, transport, request.writer, socket, token, own).run()
    return socket


def _of_server(request: web.Request, store: Store) -> web.Response | None:
    """The answer to a server that means another one, or asks whether it reaches this one."""
    meant = request.headers.get(HEADER, ANYBODY)
    if meant not in (ANYBODY, store.replica):
        return web.Response(status=MISDIRECTED)
    if HEADER not in request.headers or "Authorization" in request.headers:
        return None
    asks_well = "Sec-WebSocket-Key" in request.headers  # and nothing between took that away
    return web.Response(status=REACHED if asks_well else 426)


class Connection:
    """One client: a `Peer` of the hub.

    Args:
        authorization: Its own, by which another server may serve it; None where none is to.
    """

    def __init__(
        self,
        context: Context,
        transport: asyncio.Transport,
        writer: AbstractStreamWriter,
        socket: web.WebSocketResponse,
        token: Token,
        authorization: str | None = None,
    ) -> None:
        self.token = token.name
        self.host = self.version = ""
        self._context = context
        self._transport = transport
        self._writer = writer  # only to wait until the transport takes more
        self._socket = socket
        self._bearer = token
        self._authorization = authorization
        self._session = ServerSession(context.clock.monotonic())
        self._readers: dict[int, Reader] = {}  # the one that was served last is the last
        self._lent: dict[str, Reader] = {}  # by whom, of each delivery under way
        self._said: list[bytes] = []  # messages that are written as one, with the next flush
        self._unwritten = 0  # bytes in it
        # Lists, since an empty deque weighs 0.7 KB, and most clients only wait.
        self._outbox: list[bytes] = []  # frames
        self._queued = 0  # bytes in it, and of what is being written
        self._pings: list[bytes] = []  # to answer, the last few
        self._ping_due = False
        self._joined_at: float | None = None  # monotonic
        self._wake = Wake()
        self._closing: Close | None = None
        self._sending_since: float | None = None

    async def run(self) -> None:
        """Talk until the conversation ends."""
        self._context.hub.add(self)
        writer = asyncio.create_task(self._write(), name="connection writer")
        writer.add_done_callback(self._written)
        try:
            # By itself: what wakes it need not pass all that the request was handed on by.
            await asyncio.create_task(self._read(), name="connection reader")
        finally:
            # Before the slow end: what was lent to this client, another one may get at once.
            self._context.hub.remove(self)
            if self._closing is None:
                writer.cancel()  # the client is gone
            await asyncio.wait([writer], timeout=CLOSE_DEADLINE_S)
            writer.cancel()
            # Also where the client reads nothing of what still waits for it.
            asyncio.get_running_loop().call_later(CLOSE_DEADLINE_S, self._transport.abort)
            await self._socket.close()
            if self._joined_at is not None:
                lasted_s = round(self._context.clock.monotonic() - self._joined_at)
                log.info("client left", token=self.token, host=self.host, lasted_s=lasted_s)

    @property
    def credit(self) -> int:
        return self._session.credit

    def accepts(self, size: int) -> bool:
        # Results make room in the window; whoever sends them and reads nothing gets no more.
        return self._queued < MAX_QUEUED_BYTES and self._session.accepts(size)

    def deliver(self, delivery: Delivery) -> None:
        number = delivery.subscription
        self._readers[number] = reader = self._readers.pop(number)  # now last
        self._lent[delivery.id] = reader
        event = None
        if self._context.hub.connections > 1 and not reader.signs:  # others may get the same
            event = _sent.encoded(delivery.event)
        self._send(self._session.deliver(delivery, event))
        if len(delivery.body) > CHUNK_BYTES:
            self._wake.set()

    def flush(self) -> None:
        """Write what was said: each write is a call of the system."""
        if not (said := self._said):
            return
        self._said, self._unwritten = [], 0
        if not self._transport.is_closing():
            if len(said) > 1 and self._session.batches:
                said = batch(said)
            self._transport.write(b"".join(map(_framed, said)))

    def tick(self, now: float) -> None:
        self._perform(self._session.tick(now))
        if self._transport.get_write_buffer_size() > MAX_UNSENT_BYTES:
            self._wake.set()  # the writer waits for room, and so knows since when there is none
        since = self._sending_since
        if since is not None and now - since >= SEND_DEADLINE_S:
            log.warning("client takes nothing, cut", token=self.token, host=self.host)
            self._transport.abort()

    def taken_over(self, subscription: str, host: str) -> None:
        text = f"{subscription} is connected from {host or 'somewhere else'} now"
        self._perform(self._session.refuse(CloseCode.TAKEN_OVER, "taken_over", text))

    def revoked(self) -> None:
        text = "the token was revoked"
        self._perform(self._session.refuse(CloseCode.TOKEN_REFUSED, "token_revoked", text))

    def go_away(self, reason: str, retry_after_s: float) -> None:
        self._perform(self._session.go_away(reason, retry_after_s))

    async def _read(self) -> None:
        while True:
            message = await self._socket.receive()
            now = self._context.clock.monotonic()
            match message.type:
                case WSMsgType.BINARY:
                    if (hello := self._receive(message.data, now)) is not None:
                        await self._join(hello, message.data)
                case WSMsgType.PING:
                    self._session.heard(now)
                    self._pings = [*self._pings[1 - MAX_PINGS :], message.data]
                    self._wake.set()
                case WSMsgType.PONG:
                    self._session.heard(now)
                case WSMsgType.CLOSE | WSMsgType.CLOSING | WSMsgType.CLOSED:
                    return
                case WSMsgType.ERROR:  # aiohttp has said so to the client already
                    self._protocol_error(f"not a frame that is understood here: {message.data}")
                case _:
                    self._protocol_error("only binary messages are understood here")

    def _receive(self, frame: bytes, now: float) -> Hello | None:
        """Carry out what a frame says, but for a hello: that has to wait for the store."""
        settled = False
        try:
            for message in unpack_client(frame, batches=self._session.batches):
                match self._session.receive(message, now):
                    case Result() as result:
                        settled = True
                        self._settle(result)
                    case Working(deliveries):
                        self._extend(deliveries)
                    case Pause(subscription):
                        self._readers[subscription].hold(self, "its target is not there")
                    case Resume(subscription):
                        self._readers[subscription].let_go(self)
                    case Hello() as hello:  # comes before batches are agreed on: by itself
                        return hello
                    case None:  # too late, or after a close
                        pass
        except ProtocolError as exc:
            self._protocol_error(str(exc))
        if settled:
            self._follow_results()
        return None

    def _perform(self, effects: Sequence[ServerEffect]) -> None:
        """Carry out what the session decided; what has to wait is left to the writer."""
        for effect in effects:
            match effect:
                case Ping():
                    self._ping_due = True
                case Close():
                    self._closing = effect
                case message:
                    self._send(message)
        if effects:
            self._wake.set()

    async def _join(self, hello: Hello, frame: bytes) -> None:
        self.host = hello.host[:MAX_HOST_CHARS]
        self.version = hello.version[:MAX_VERSION_CHARS]
        try:
            asked = [self._check(wanted) for wanted in hello.subscriptions]
            if await self._bridge(frame, asked):
                return
            for wanted, name in asked:
                await self._check_new(wanted.channel, name)
            join, away_ms = self._context.hub.join, hello.away_ms
            joined = [await join(self, *one, away_ms) for one in asked]
        except (Forbidden, InvalidValue) as exc:
            self._refuse(CloseCode.CHANNEL_REFUSED, exc)
            return
        except RelayError as exc:  # the store is not well; the client comes back
            self._refuse(CloseCode.RESTART, exc)
            return
        self._readers = {reader.subscription.number: reader for _, reader in joined}
        epoch = max(reader.claim.epoch for _, reader in joined)
        granted = tuple(granted for granted, _ in joined)
        welcome = self._session.welcome(Welcome(VERSION, epoch, granted))
        if not welcome:
            return  # it was sent away meanwhile, and was told so
        self._perform(welcome)
        self.flush()  # by itself: only then may batches follow
        for _, reader in joined:
            self._context.hub.start(reader, self)
        self._joined_at = self._context.clock.monotonic()
        log.info("client joined", token=self.token, host=self.host, reads=self._reads())
        self._say_version()

    def _reads(self) -> str:
        """What it reads, for people: `chatwoot/developer`."""
        subscriptions = (reader.subscription for reader in self._readers.values())
        return ", ".join(f"{one.channel}/{one.name}" for one in subscriptions)

    async def _bridge(self, hello: bytes, asked: Sequence[tuple[Wanted, str]]) -> bool:
        """Have another server serve it, where that reads what it wants to share.

        Where that cannot be reached it is served here, but for what that one has taken from here:
        else each would take it from the other again and again.
        """
        if self._authorization is None:
            return False
        owner = await owner_of(self._context.store, asked, self._context.sealer.open)
        if owner is None:
            return False
        names = {(wanted.channel, name) for wanted, name in asked}
        async with opened(owner, self._authorization, hello) as other:
            if other is None:
                if self._context.hub.taken.among(names):
                    raise StoreUnavailable(UNREACHABLE)
                return False
            self._context.hub.taken.reached(names)
            log.info("client bridged", token=self.token, host=self.host, to=owner.name)
            clock, session = self._context.clock, self._session
            end = await bridge(self._socket, other, lambda: session.heard(clock.monotonic()))
        self._perform(self._session.close(end.code, end.reason))
        return True

    def _say_version(self) -> None:
        """The log tells of a client that knows less, or more: what both know works."""
        version = self.version
        if version.split(".")[:2] == VERSION.split(".")[:2]:
            return
        kind, now = ("version", self.token, version), self._context.clock.monotonic()
        if times := self._context.throttle.due(kind, now):
            facts = {"token": self.token, "host": self.host, "version": version}
            log.warning("client of another version", **facts, server=VERSION, times=times)

    def _refuse(self, code: CloseCode, error: RelayError) -> None:
        facts = {"token": self.token, "host": self.host, "code": error.code}
        log.info("client refused", **facts, error=str(error))
        self._perform(self._session.refuse(code, error.code, str(error)))

    def _check(self, wanted: Wanted) -> tuple[Wanted, str]:
        """A wanted subscription and its name, if this token may have it."""
        channel = self._context.store.catalog.channels.get(wanted.channel)
        if channel is None or not allows(self._bearer, Scope.SUBSCRIBE, channel):
            raise Forbidden(f"the token is not for the channel {wanted.channel!r}")
        name = check_subscription_name(wanted.name or self.token)
        if wanted.filter:
            only = check_standing(wanted.filter, self._context.clock.unix_ms())
            wanted = msgspec.structs.replace(wanted, filter=only)
        return wanted, name

    async def _check_new(self, channel: str, name: str) -> None:
        """See that a subscription that is to be made may have this name; those there are have it.

        Raises:
            InvalidValue: It may not.
        """
        if name == DEFAULT_FORWARD or not is_name(name):
            known = await self._context.store.subscriptions(channel)
            if all(one.name != name for one in known):
                check_name(name)
                raise InvalidValue(f"{name!r} is what forwards are named: choose another name")

    def _follow_results(self) -> None:
        """Have readers go on after the results of a frame, and say what followed from these."""
        # The window is shared: of all that may send now, whoever waits longest goes first.
        for reader in self._readers.values():
            reader.follow()
        self.flush()

    def _settle(self, result: Result) -> None:
        verdict = self._lent.pop(result.delivery).take(self, result.delivery, result.outcome)
        if verdict is None or verdict.next is Next.DELIVERED or not self._session.verdicts:
            return
        if verdict.next in _FOLLOWS:
            follows, after_ms = _FOLLOWS[verdict.next], round(verdict.after_s * 1_000)
            self._send(Verdict(result.delivery, follows, after_ms))

    def _extend(self, deliveries: Iterable[str]) -> None:
        for delivery in deliveries:
            self._lent[delivery].extend(self, (delivery,))

    def _protocol_error(self, text: str) -> None:
        log.warning("client broke the protocol", token=self.token, host=self.host, error=text)
        self._perform(self._session.refuse(CloseCode.PROTOCOL_ERROR, "protocol_error", text))

    async def _write(self) -> None:
        """Send what is queued: small things first, then one chunk of a large body at a time."""
        try:
            while True:
                await self._write_queued()
                if self._closing is not None:
                    code, reason = self._closing.code, self._closing.reason
                    await self._socket.close(code=code, message=reason.encode()[:120])
                    return
                chunk = self._session.next_chunk()
                if chunk is not None:
                    self._send(chunk)
                    self._extend((chunk.delivery,))
                    continue
                self._wake.clear()
                await self._wake.wait()
        except ConnectionError:
            pass  # the reader meets the same end, and says so

    async def _write_queued(self) -> None:
        self.flush()  # before the outbox, which came later
        self._sending_since = self._context.clock.monotonic()
        while self._pings:
            await self._socket.pong(self._pings.pop(0))
        if self._ping_due:
            self._ping_due = False
            await self._socket.ping()
        while self._outbox:
            await self._writer.drain()
            frame = self._outbox.pop(0)  # not before: nothing overtakes it
            self._transport.write(frame)
            self._queued -= len(frame)
            self._sending_since = self._context.clock.monotonic()
        await self._writer.drain()
        self._sending_since = None

    def _send(self, message: ServerMessage) -> None:
        """Write it with the next flush, or where the socket is full leave it to the writer."""
        encoded = encode(message)
        unsent = self._transport.get_write_buffer_size() + self._unwritten
        if self._outbox or unsent > MAX_UNSENT_BYTES:
            frame = _framed(encoded)
            self._outbox.append(frame)
            self._queued += len(frame)
            self._wake.set()
            return
        self._said.append(encoded)
        self._unwritten += len(encoded)

    def _written(self, writer: asyncio.Task[None]) -> None:
        """A writer that failed must not leave a client waiting for nothing."""
        if writer.cancelled() or (error := writer.exception()) is None:
            return
        log.error("a client could not be written to", token=self.token, exc_info=error)
        self._transport.abort()


# What a client is told of: what was delivered, or given back, it knows by itself.
_FOLLOWS = {
    Next.AGAIN: Follows.AGAIN,
    Next.DEAD: Follows.DEAD,
    Next.PAUSED: Follows.PAUSED,
}


def _framed(message: bytes) -> bytes:
    """A binary frame of its own, not masked, as a server's are (RFC 6455 §5.2)."""
    size = len(message)
    if size < 126:
        return struct.pack(">BB", 0x82, size) + message
    if size < 65_536:
        return struct.pack(">BBH", 0x82, 126, size) + message
    return struct.pack(">BBQ", 0x82, 127, size) + message
