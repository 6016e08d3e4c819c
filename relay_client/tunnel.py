"""The WebSocket around a `ClientSession`: keeps it connected and does what it decides.

    run ─┬─ _keep_connected   dial ──▶ listen … ──▶ lost ──▶ wait (backoff) ──▶ dial …
         ├─ _watch_clocks     each second: tick; a jump of the wall clock is a sleep
         ├─ _wait_for         one for each delivery that waits for more than the target's answer
         └─ _probe            one for each target that is down

    socket ──received──▶ session ──▶ _perform ──▶ poster ──_posted──▶ session ──▶ _perform
                                        └──▶ outbox, news ──once a turn of the loop──▶ socket, tell

The session decides and the tunnel performs. Whatever happens (a message, an outcome, a second that
passed, a stop) is told to the session, which answers at once with effects. `_perform` carries them
out in order and never waits. An ordinary webhook costs no task and two wake-ups: for its frame and
for the target's answer. What is to be sent and told is collected until the end of the loop's turn:
results that are ready together go out in one write, in one frame to a relay that takes batches,
and people are told after the relay is.

*What outlives a connection.* The session and its posts do: a target works on while the connection
is away, and its outcome answers the delivery when the relay brings it again. The outbox belongs to
one connection and goes with it.

*Backpressure.* The outbox is written as far as the relay reads. While more than `MAX_OUTBOX`
messages wait there nothing more is read, so a relay that takes no results brings no deliveries.

*Ends.* `_over` is set once all is drained after `stop`, or by an error anywhere: none fails
quietly. Then the last results get `CLOSE_TIMEOUT_S` to go out. An answer of the relay that is
final (a refused token, a takeover) is raised; everything else is tried again. A connection that
nobody may be at the other end of is cut without a goodbye, which would hang.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import ssl
import time
from collections import deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Protocol, assert_never

from websockets.exceptions import WebSocketException

from relay_client import notices, websocket
from relay_client.absence import Absence
from relay_client.backoff import Backoff, SleepWatch
from relay_client.errors import ClientError
from relay_client.notices import Notice, Resumed, Settled, Slept, Waiting
from relay_client.relay import Relay
from relay_client.verdicts import Verdicts
from relay_client.websocket import CLOSE_TIMEOUT_S, Reason, Socket
from relay_http.poster import Posted, not_listening
from relay_http.target import Target
from relay_protocol.client_session import ClientEffect, ClientSession, Drained, Paused, Probe
from relay_protocol.codec import batch, encode, unpack_server
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
    Verdict,
    Welcome,
    Working,
)
from relay_protocol.session import Close, Ping
from relay_protocol.values import Delivery, Failure, FailureKind, Outcome
from relay_terminal.words import _

# The relay may ask the client to stay away no longer.
LONGEST_WAIT_S = 60.0
# How often the session is told the time, and the clocks are compared.
LOOK_S = 1.0
# Messages that wait for the relay to read: nothing more of it is read meanwhile. One that reads has
# at most one to come for each delivery.
MAX_OUTBOX = 256
_WRITE_BYTES = 65_536  # of messages that are handed to the system together


Tell = Callable[[Sequence[Notice]], None]


class Posts(Protocol):
    """The way to a channel's target: a `Poster`, or what stands for one."""

    @property
    def target(self) -> Target:
        """The server that it posts to."""

    def begin(self, delivery: Delivery, ended: Callable[[Posted], None]) -> object:
        """Post a delivery, and hand over its outcome once, or what brings it."""

    async def until_listening(self) -> None:
        """Return once the target takes connections."""


class Tunnel:
    """Keeps a session connected to its relay until it is stopped or refused for good.

    Make it where an event loop runs.

    Args:
        relay: Where to connect to.
        session: Decides everything.
        posters: Where deliveries go, by channel.
        tell: Takes what happened during a turn of the loop; must not block.
        backoff: Decides how long to wait between connections.
        wall: The wall clock, in Unix seconds; a jump of it is a sleep.
        cut: Told how many seconds a connection lasted that broke without a word.
    """

    def __init__(
        self,
        relay: Relay,
        session: ClientSession,
        posters: Mapping[str, Posts],
        tell: Tell,
        *,
        backoff: Backoff | None = None,
        wall: Callable[[], float] = time.time,
        look_s: float = LOOK_S,
        cut: Callable[[float], None] = lambda _: None,
    ) -> None:
        self._relay = relay
        self._session = session
        self._posters = posters
        self._tell = tell
        self._backoff = backoff or Backoff()
        self._wall = wall
        self._look_s = look_s
        self._cut = cut
        self._loop = asyncio.get_running_loop()
        self._socket: Socket | None = None
        self._outbox: deque[bytes] = deque()  # messages, encoded
        self._sent = asyncio.Event()  # the relay reads, and nothing waits for it to
        self._why_down: dict[str, str] = {}  # what is known of it beyond that, by channel
        self._news: list[Notice] = []
        self._turn_ends = False  # `_end_turn` was asked for
        self._connection_over: asyncio.Future[ProtocolError | None]
        self._tasks: dict[asyncio.Task[None], None] = {}  # in the order of starting
        # Set by the end of draining, or by an error in a task.
        self._over: asyncio.Future[None] = self._loop.create_future()
        self._hurry = asyncio.Event()  # connect at once
        self._come_back: Goaway | None = None
        self._refused: Error | None = None
        self._dropped = ""  # why the connection was cut from here
        self._absence = Absence(self._say)
        self._verdicts = Verdicts()

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
            self._absence.forget()
            await self._cancel_tasks()
            self._tell_unjudged()
            self._tell_news()

    def stop(self) -> None:
        """Take nothing new, and end `run` once what is under way is finished."""
        self._perform(self._session.drain())

    async def _keep_connected(self) -> None:
        while True:
            reason = await self._connection()
            self._session.disconnected()
            self._tell_unjudged()
            if not self._over.done():  # otherwise it is the end, by goodbye
                self._absence.lost(reason, self._session.heard_at, time.monotonic())
            await self._pause()

    async def _connection(self) -> Reason:
        """Live through one connection, from dialling to its end."""
        self._refused, self._come_back, self._dropped = None, None, ""
        self._hurry.clear()
        try:
            socket = await self._dial()
        except (OSError, WebSocketException) as exc:
            if isinstance(exc, ssl.SSLCertVerificationError):
                self._relay.read_ca_again()  # it may have been renewed since the start
            return _or_raise(websocket.of_failed_handshake(exc))
        began = time.monotonic()
        self._backoff.opened(began)
        self._socket = socket
        self._connection_over = self._loop.create_future()
        try:
            reason = await self._converse(socket)
            if reason.cut:
                self._cut(time.monotonic() - began)
            return reason
        finally:
            self._socket = None
            self._outbox.clear()
            socket.transport.abort()

    async def _dial(self) -> Socket:
        return await websocket.dial(self._relay)

    async def _converse(self, socket: Socket) -> Reason:
        if socket.subprotocol != SUBPROTOCOL:
            return Reason(_("what answers there speaks no relay.v1"), _("Check the URL."))
        now = time.monotonic()
        self._perform(self._session.connected(now, self._absence.away_s(now)))
        socket.listen(self)
        error = await self._connection_over
        if error is not None:
            socket.read(go_on=True)  # for the answer to the close
            await socket.close(CloseCode.PROTOCOL_ERROR, error.code)
            return Reason(
                _("the relay sent something unexpected: {error}").format(error=error),
                websocket.VERSIONS_HINT,
            )
        if self._dropped:
            return Reason(self._dropped)
        return _or_raise(websocket.of_close(socket.close_exc, self._refused))

    def received(self, message: bytes) -> None:
        """Part of `Listener`, as are the next three."""
        if self._connection_over.done():
            return
        session = self._session
        try:
            now = time.monotonic()
            for each in unpack_server(message, batches=session.batches):
                self._perform(session.receive(each, now))
        except ProtocolError as exc:
            self._connection_over.set_result(exc)
        except Exception as exc:  # noqa: BLE001  (the loop would only log it)
            self._fail(exc)

    def ponged(self) -> None:
        self._session.heard(time.monotonic())

    def has_room(self) -> None:
        self._end_turn_soon()

    def lost(self) -> None:
        if not self._connection_over.done():
            self._connection_over.set_result(None)

    def _perform(self, effects: list[ClientEffect]) -> None:
        for effect in effects:
            match effect:
                case Delivery():  # first: these and results come most often
                    posted = functools.partial(self._posted, effect)
                    self._posters[effect.channel].begin(effect, posted)
                case Result() | Hello() | Working() | Pause() | Resume():
                    self._put(effect)
                case Welcome() | Paused() | Verdict() | Goaway() | Error():
                    self._note(effect)
                case Probe(channel):
                    self._start(self._probe(channel))
                case Ping():
                    self._ping()
                case Close(reason=reason):
                    self._drop(reason)
                case Drained():
                    self._finish()
                case _:
                    assert_never(effect)

    def _posted(self, delivery: Delivery, got: Posted) -> None:
        try:
            if not isinstance(got, Outcome):
                self._start(self._wait_for(delivery, got))
            elif self._turn_ends or self._session.under_way > 1:
                self._settle(delivery, got)
            else:  # no other outcome can be there in this turn: its end is not waited for
                self._turn_ends = True
                self._settle(delivery, got)
                self._end_turn()
        except Exception as exc:  # noqa: BLE001  (as above)
            self._fail(exc)

    async def _wait_for(
        self, delivery: Delivery, outcome: Coroutine[object, object, Outcome]
    ) -> None:
        self._settle(delivery, await outcome)

    def _settle(self, delivery: Delivery, outcome: Outcome) -> None:
        if isinstance(outcome, Failure) and outcome.kind is FailureKind.TARGET_DOWN:
            plain = not_listening(self._posters[delivery.channel].target)
            self._why_down[delivery.channel] = outcome.text if outcome.text != plain else ""
        effects = self._session.finished(delivery, outcome)
        self._perform(effects)
        settled = Settled(delivery, outcome)
        if outcome.delivered or not (
            self._session.verdicts and self._verdicts.holds(settled, effects, time.monotonic())
        ):
            self._say(settled)

    def _put(self, message: ClientMessage) -> None:
        if self._socket is None:
            return  # what a connection did not bring says nothing to the next one
        self._outbox.append(encode(message))
        if len(self._outbox) > MAX_OUTBOX:
            self._sent.clear()
            self._socket.read(go_on=False)
        self._end_turn_soon()

    def _ping(self) -> None:
        if self._socket is not None:
            self._socket.send_ping()

    def _say(self, notice: Notice) -> None:
        self._news.append(notice)
        self._end_turn_soon()

    def _end_turn_soon(self) -> None:
        if not self._turn_ends:
            self._turn_ends = True
            self._loop.call_soon(self._end_turn)

    def _end_turn(self) -> None:
        self._turn_ends = False
        try:
            self._write()
            self._tell_news()
        except Exception as exc:  # noqa: BLE001  (as above)
            self._fail(exc)

    def _write(self) -> None:
        """Write what waits, in order, as far as the relay reads."""
        socket, outbox = self._socket, self._outbox
        if socket is None:
            return
        while outbox and not socket.paused:
            messages = [outbox.popleft()]
            size = len(messages[0])
            while outbox and size < _WRITE_BYTES:
                messages.append(outbox.popleft())
                size += len(messages[-1])
            socket.send_all(batch(messages) if self._session.batches else messages)
        if outbox:
            self._sent.clear()
        elif not self._sent.is_set():
            self._sent.set()
            socket.read(go_on=True)

    def _tell_news(self) -> None:
        if self._news:
            news, self._news = self._news, []
            self._tell(news)

    async def _probe(self, channel: str) -> None:
        poster = self._posters[channel]
        self._say(Waiting(channel, poster.target, self._why_down.get(channel, "")))
        await poster.until_listening()
        self._say(Resumed(channel, poster.target))
        self._perform(self._session.target_up(channel))

    async def _watch_clocks(self) -> None:
        watch = SleepWatch(self._wall(), time.monotonic())
        while True:
            await asyncio.sleep(self._look_s)
            now = time.monotonic()
            self._tell_unjudged(now)
            if slept_s := watch.slept(self._wall(), now):
                self._say(Slept(slept_s))
                self._absence.slept(now - slept_s)
                self._backoff.reset()
                self._drop(_("this machine slept"))
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
        with contextlib.suppress(TimeoutError):
            # Not `wait_for`: before Python 3.12 it may lose a cancellation, and `run` waits for it.
            async with asyncio.timeout(delay):
                await self._hurry.wait()

    def _note(self, news: Welcome | Paused | Verdict | Goaway | Error) -> None:
        match news:
            case Welcome():
                self._absence.over(news, time.monotonic())
            case Paused(channel, name, reason):
                self._say(notices.Paused(channel, name, reason))
            case Verdict():
                for settled in self._verdicts.judged(news):
                    self._say(settled)
            case Goaway():
                self._come_back = news
            case Error():
                self._refused = news

    def _tell_unjudged(self, now: float | None = None) -> None:
        for settled in self._verdicts.overdue(now):
            self._say(settled)

    async def _say_goodbye(self) -> None:
        """Let the last results go out before the connection is closed."""
        socket = self._socket  # which may be lost meanwhile
        if socket is None:
            return
        self._write()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self._sent.wait()
                await socket.close()

    def _finish(self) -> None:
        if not self._over.done():
            self._over.set_result(None)

    def _start(self, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks[task] = None
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.pop(task, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        """End everything with an error: none may pass quietly."""
        if not self._over.done():
            self._over.set_exception(error)

    async def _cancel_tasks(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _or_raise(verdict: Reason | ClientError) -> Reason:
    if isinstance(verdict, ClientError):
        raise verdict
    return verdict
