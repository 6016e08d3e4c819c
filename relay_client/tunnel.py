"""The WebSocket around a `ClientSession`: keeps it connected and does what it decides.

    run ─┬─ _keep_connected   dial ──▶ receive … ──▶ lost ──▶ wait (backoff) ──▶ dial …
         │     └─ _write      outbox ──▶ socket; one task for each connection
         ├─ _watch_clocks     each second: tick; a jump of the wall clock is a sleep
         ├─ _replay           one task for each delivery that a target has
         └─ _probe            one for each target that is down

The session decides and the tunnel performs. Whatever happens (a message, an outcome, a second that
passed, a stop) is told to the session, which answers at once with effects. `_perform` carries them
out in order and never waits: what is to be sent goes into the outbox, what is to be posted becomes
a task.

*What outlives a connection.* The session and its posts do: a target works on while the connection
is away, and its outcome answers the delivery when the relay brings it again. Outbox and writer
belong to one connection and go with it.

*Backpressure.* While more than `MAX_OUTBOX` messages wait to be written nothing more is read, so a
relay that takes no results brings no deliveries.

*Ends.* `_over` is set once all is drained after `stop`, or by an error in any task: none of them
fails quietly. Then the last results get `CLOSE_TIMEOUT_S` to go out. An answer of the relay that is
final (a refused token, a takeover) is raised; everything else is tried again. A connection that
nobody may be at the other end of is cut without a goodbye, which would hang.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import Protocol, assert_never

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, WebSocketException

from relay_client import notices, websocket
from relay_client.backoff import Backoff, SleepWatch
from relay_client.errors import ClientError
from relay_client.notices import (
    Connected,
    Lost,
    Notice,
    Resumed,
    Settled,
    Slept,
    StillAway,
    Waiting,
)
from relay_client.relay import Relay
from relay_client.websocket import CLOSE_TIMEOUT_S, Reason
from relay_http.target import Target
from relay_protocol.client_session import ClientEffect, ClientSession, Drained, Paused, Probe
from relay_protocol.codec import decode_server, encode
from relay_protocol.errors import ProtocolError
from relay_protocol.limits import SUBPROTOCOL
from relay_protocol.messages import (
    ClientMessage,
    CloseCode,
    Error,
    Goaway,
    Hello,
    Pause,
    Result,
    Resume,
    Welcome,
    Working,
)
from relay_protocol.session import Close, Ping
from relay_protocol.values import Delivery, Outcome

# People are not told of a shorter absence.
BLINK_S = 2.0
# The relay may ask the client to stay away no longer.
LONGEST_WAIT_S = 60.0
# How often the session is told the time, and the clocks are compared.
LOOK_S = 1.0
# Messages that wait for the relay to read: nothing more of it is read meanwhile. One that reads has
# at most one to come for each delivery.
MAX_OUTBOX = 256


class Posts(Protocol):
    """The way to a channel's target: a `Poster`, or what stands for one."""

    @property
    def target(self) -> Target:
        """The server that it posts to."""

    async def post(self, delivery: Delivery) -> Outcome:
        """Post a delivery; never raises."""

    async def until_listening(self) -> None:
        """Return once the target takes connections."""


class Tunnel:
    """Keeps a session connected to its relay until it is stopped or refused for good.

    Make it where an event loop runs.

    Args:
        relay: Where to connect to.
        session: Decides everything.
        posters: Where deliveries go, by channel.
        tell: Takes what happens; must not block.
        backoff: Decides how long to wait between connections.
        wall: The wall clock, in Unix seconds; a jump of it is a sleep.
    """

    def __init__(
        self,
        relay: Relay,
        session: ClientSession,
        posters: Mapping[str, Posts],
        tell: Callable[[Notice], None],
        *,
        backoff: Backoff | None = None,
        wall: Callable[[], float] = time.time,
        look_s: float = LOOK_S,
    ) -> None:
        self._relay = relay
        self._session = session
        self._posters = posters
        self._tell = tell
        self._backoff = backoff or Backoff()
        self._wall = wall
        self._look_s = look_s
        self._socket: ClientConnection | None = None
        self._outbox: asyncio.Queue[ClientMessage | Ping] = asyncio.Queue()
        self._tasks: dict[asyncio.Task[None], None] = {}  # in the order of starting
        # Set by the end of draining, or by an error in a task.
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._hurry = asyncio.Event()  # connect at once
        self._come_back: Goaway | None = None
        self._refused: Error | None = None
        self._dropped = ""  # why the connection was cut from here
        self._lost_at: float | None = None
        self._was_connected = False
        self._blink: asyncio.TimerHandle | None = None

    async def run(self) -> None:
        """Return once `stop` was called and what was under way is finished.

        Raises:
            ClientError: The relay refused, for good.
        """
        keeping = self._start(self._keep_connected())
        self._start(self._watch_clocks())
        try:
            await asyncio.wait({keeping, self._over}, return_when=asyncio.FIRST_COMPLETED)
            self._over.result()
            await self._say_goodbye()
        finally:
            self._forget_blink()
            await self._cancel_tasks()

    def stop(self) -> None:
        """Take nothing new, and end `run` once what is under way is finished."""
        self._perform(self._session.drain())

    async def _keep_connected(self) -> None:
        while True:
            reason = await self._connection()
            self._session.disconnected()
            self._note_loss(reason)
            await self._pause()

    async def _connection(self) -> Reason:
        """Live through one connection, from dialling to its end."""
        self._refused, self._come_back, self._dropped = None, None, ""
        self._hurry.clear()
        try:
            socket = await self._dial()
        except (OSError, WebSocketException, ImportError) as exc:  # the last: no SOCKS library
            return _or_raise(websocket.of_failed_handshake(exc))
        self._backoff.opened(time.monotonic())
        self._socket, self._outbox = socket, asyncio.Queue()
        writing = self._start(self._write(socket, self._outbox))
        try:
            self._perform(self._session.connected(time.monotonic()))
            return await self._receive(socket, writing)
        finally:
            self._socket = None
            writing.cancel()
            socket.transport.abort()

    async def _dial(self) -> ClientConnection:
        return await websocket.dial(self._relay)

    async def _receive(self, socket: ClientConnection, writing: asyncio.Task[None]) -> Reason:
        if socket.subprotocol != SUBPROTOCOL:
            return Reason("what answers there speaks no relay.v1", "Check the URL.")
        try:
            while True:
                message = decode_server(await socket.recv(decode=False))
                self._perform(self._session.receive(message, time.monotonic()))
                while self._outbox.qsize() > MAX_OUTBOX and not writing.done():
                    await self._write_some(writing)
        except ConnectionClosed as exc:
            if self._dropped:
                return Reason(self._dropped)
            return _or_raise(websocket.of_close(exc, self._refused))
        except ProtocolError as exc:
            await socket.close(CloseCode.PROTOCOL_ERROR, exc.code)
            return Reason(f"the relay sent something unexpected: {exc}", websocket.VERSIONS_HINT)

    async def _write_some(self, writing: asyncio.Task[None]) -> None:
        """Return once the outbox is empty, or there is nobody to write to any more."""
        joining = asyncio.create_task(self._outbox.join())
        try:
            await asyncio.wait({joining, writing}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            joining.cancel()

    async def _write(
        self, socket: ClientConnection, outbox: asyncio.Queue[ClientMessage | Ping]
    ) -> None:
        """Send in order what was queued; while that is much, nothing more is read."""
        try:
            while True:
                effect = await outbox.get()
                if isinstance(effect, Ping):
                    pong = asyncio.ensure_future(await socket.ping())
                    pong.add_done_callback(self._ponged)
                else:
                    await socket.send(encode(effect))
                outbox.task_done()
        except ConnectionClosed:
            return  # the reader learns of it too, and says why

    def _ponged(self, pong: asyncio.Future[float]) -> None:
        if not pong.cancelled() and pong.exception() is None:
            self._session.heard(time.monotonic())

    def _perform(self, effects: list[ClientEffect]) -> None:
        for effect in effects:
            match effect:
                case Result() | Hello() | Working() | Pause() | Resume() | Ping():
                    self._outbox.put_nowait(effect)
                case Delivery():
                    self._start(self._replay(effect))
                case Welcome() | Paused():
                    self._note(effect)
                case Probe(channel):
                    self._start(self._probe(channel))
                case Close(reason=reason):
                    self._drop(reason)
                case Goaway():
                    self._come_back = effect
                case Error():
                    self._refused = effect
                case Drained():
                    self._finish()
                case _:
                    assert_never(effect)

    def _note(self, effect: Welcome | Paused) -> None:
        match effect:
            case Welcome():
                self._note_return(Connected(effect, self._away_s()))
            case Paused(channel, name, reason):
                self._tell(notices.Paused(channel, name, reason))

    async def _replay(self, delivery: Delivery) -> None:
        outcome = await self._posters[delivery.channel].post(delivery)
        self._perform(self._session.finished(delivery, outcome))
        self._tell(Settled(delivery, outcome))

    async def _probe(self, channel: str) -> None:
        poster = self._posters[channel]
        self._tell(Waiting(channel, poster.target))
        await poster.until_listening()
        self._tell(Resumed(channel, poster.target))
        self._perform(self._session.target_up(channel))

    async def _watch_clocks(self) -> None:
        watch = SleepWatch(self._wall(), time.monotonic())
        while True:
            await asyncio.sleep(self._look_s)
            if watch.slept(self._wall(), time.monotonic()):
                self._tell(Slept())
                self._backoff.reset()
                self._drop("this machine slept")
                self._hurry.set()
            self._perform(self._session.tick(time.monotonic()))

    def _drop(self, reason: str) -> None:
        """Cut a connection that nobody may be at the other end of: a goodbye would hang."""
        if self._socket is not None:
            self._dropped = reason
            self._socket.transport.abort()

    async def _pause(self) -> None:
        delay = self._backoff.delay(time.monotonic())
        if self._come_back is not None:
            # The relay says when; drawing the time keeps its clients from coming all at once.
            asked = self._come_back.retry_after_s
            delay = max(delay, self._backoff.draw(0.0, min(max(asked, 0.0), LONGEST_WAIT_S)))
        try:
            async with asyncio.timeout(delay):
                await self._hurry.wait()
        except TimeoutError:
            pass

    def _note_loss(self, reason: Reason) -> None:
        if self._lost_at is not None:
            return
        self._lost_at = time.monotonic()
        self._tell(Lost(reason.text, reason.hint, before_first=not self._was_connected))
        if self._was_connected:
            still_away = StillAway(reason.text, reason.hint)
            loop = asyncio.get_running_loop()
            self._blink = loop.call_later(BLINK_S, self._tell, still_away)

    def _note_return(self, notice: Connected) -> None:
        self._forget_blink()
        self._lost_at, self._was_connected = None, True
        self._tell(notice)

    def _away_s(self) -> float | None:
        if not self._was_connected or self._lost_at is None:
            return None
        return time.monotonic() - self._lost_at

    def _forget_blink(self) -> None:
        if self._blink is not None:
            self._blink.cancel()
            self._blink = None

    async def _say_goodbye(self) -> None:
        """Let the last results go out before the connection is closed."""
        if self._socket is None:
            return
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self._outbox.join()
                await self._socket.close()
        except TimeoutError:
            pass

    def _finish(self) -> None:
        if not self._over.done():
            self._over.set_result(None)

    def _start(self, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks[task] = None
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        """End everything with the error of one: none of these may fail quietly."""
        self._tasks.pop(task, None)
        if task.cancelled():
            return
        exc = task.exception()
        if exc is not None and not self._over.done():
            self._over.set_exception(exc)

    async def _cancel_tasks(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _or_raise(verdict: Reason | ClientError) -> Reason:
    if isinstance(verdict, ClientError):
        raise verdict
    return verdict
