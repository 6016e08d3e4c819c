"""Posts deliveries to one target, and says how that went.

    compose ──refused──▶ REFUSED
       │
    pool.take() ──a kept connection──▶ exchange ──▶ Response
       │                                  │ broke at once, with nothing heard: it was stale
    pool.connect() ◀──────────────────────┘
       │     └──nothing listens──▶ TARGET_DOWN: no byte of the event was sent
    exchange ──▶ Response
       └──▶ TIMEOUT, NETWORK (no HTTP, or it hung up), TARGET_LOST (it hung up, and is gone)

`begin` costs no task while a kept connection brings the answer, which is nearly always: what then
remains to be waited for, if anything, is a coroutine that whoever began it runs.

A request is sent a second time in one case only. Servers close connections that idle, and one that
closes while a request is on its way has not read it: such a break comes within `_STALE_S`, before
any byte of an answer, and on a kept connection alone. Any other break may have come over the event
itself, so it is an attempt that failed, and whether to try again is for the server to say.

`TARGET_DOWN` and `TARGET_LOST` differ in what the target may have seen, which decides whether an
attempt counts. So once a request went out on a kept connection, a failure to connect anew is never
called down. The body is not copied, and nothing is parsed: what arrives is what the sender signed.
"""

from __future__ import annotations

import asyncio
import functools
import socket
from collections.abc import Callable, Coroutine
from ssl import SSLCertVerificationError, SSLContext, SSLError

from relay_http.connection import Broken, Connection, NotHttp
from relay_http.outgoing import RequestRefused, compose
from relay_http.pool import Pool, Unreachable
from relay_http.target import Target
from relay_protocol.values import Delivery, Failure, FailureKind, Outcome, Response

# An outcome, or what is still to be waited for before there is one.
Posted = Outcome | Coroutine[object, object, Outcome]

CONNECT_S = 5.0  # a target that does not take a connection by then counts as down
# A kept connection that breaks this soon was closed before the request came: it is sent anew
# instead of costing an attempt. One that breaks later may have broken over the event.
_STALE_S = 0.1
_PROBE_S = 2.0
FIRST_LOOK_S = 1.0  # until the first look at a target that went down
# Between two: all that waited shall have arrived 5 s after the target's return.
LONGEST_LOOK_S = 2.0


def not_listening(target: Target) -> str:
    """What is said of a target of which nothing is known but that it takes no connections."""
    return f"{target.authority} does not take connections"


class Poster:
    """The client of one target: opens connections to it, and to nothing else.

    Make it where an event loop runs.

    Args:
        timeout_s: How long the target may take for its whole answer.
        most_idle: How many connections are kept between deliveries.
        pool: Opens the connections, if not one that goes to the target without further ado.
        tls: Whom to trust, for a target that is spoken to by TLS, and a pool that is not given.
        look_s: How long a look at the target may take.
    """

    def __init__(
        self,
        target: Target,
        timeout_s: float,
        most_idle: int,
        *,
        pool: Pool | None = None,
        tls: SSLContext | None = None,
        look_s: float = _PROBE_S,
    ) -> None:
        self.target = target
        self._timeout_s = timeout_s
        self._look_s = look_s
        self._pool = Pool(target, most_idle, tls=tls) if pool is None else pool
        self._loop = asyncio.get_running_loop()
        self._under_way: set[Connection] = set()  # begun by `begin`

    def close(self) -> None:
        """Close what is idle and what was begun, and keep nothing more."""
        self._pool.close()
        for connection in self._under_way:
            connection.close()

    async def look(self) -> str:
        """Say why the target takes no connections now; nothing when it does."""
        try:
            async with asyncio.timeout(self._look_s):
                connection = await self._pool.connect()
        except OSError as exc:
            return self._why_not(exc)
        connection.close()
        return ""

    async def until_listening(self) -> None:
        """Return once the target takes connections, looking every second or two."""
        pause = FIRST_LOOK_S
        while await self.look():
            await asyncio.sleep(pause)
            pause = min(LONGEST_LOOK_S, pause * 1.25)

    def begin(self, delivery: Delivery, ended: Callable[[Posted], None]) -> Connection | None:
        """Post a delivery, and hand over its outcome once, or what brings it.

        Returns:
            The kept connection that carries it; who closes that is told nothing any more.
        """
        begun = self._loop.time()
        try:
            head = compose(delivery, self.target)
        except RequestRefused as exc:
            ended(Failure(FailureKind.REFUSED, str(exc)))
            return None
        kept = self._pool.take()
        if kept is None:
            ended(self._outcome(self._send(delivery, head, begun, sent_before=False), begun))
            return None
        self._under_way.add(kept)
        answered = functools.partial(self._answered, kept, delivery, head, begun, ended)
        bodiless = delivery.event.request.method == "HEAD"
        kept.begin(head, delivery.body, begun + self._timeout_s, answered, bodiless=bodiless)
        return kept

    async def post(self, delivery: Delivery) -> Outcome:
        """Post a delivery, and wait for its outcome, which tells whatever happens."""
        ended: asyncio.Future[Posted] = self._loop.create_future()
        kept = self.begin(delivery, ended.set_result)
        try:
            posted = await ended
        except asyncio.CancelledError:
            # Once the answer came, the connection may be carrying another delivery already.
            if kept is not None and ended.cancelled():
                self._under_way.discard(kept)
                kept.close()
            raise
        return posted if isinstance(posted, Response | Failure) else await posted

    def _answered(
        self,
        kept: Connection,
        delivery: Delivery,
        head: bytes,
        begun: float,
        ended: Callable[[Posted], None],
        answer: Response | Exception,
    ) -> None:
        self._under_way.discard(kept)
        self._pool.give_back(kept)
        if isinstance(answer, Response):
            ended(answer)
            return
        was_stale = not kept.heard and self._loop.time() - begun < _STALE_S
        if isinstance(answer, Broken) and was_stale:
            rest = self._send(delivery, head, begun, sent_before=True)
        else:
            rest = _raised(answer)
        ended(self._outcome(rest, begun))

    async def _outcome(self, sending: Coroutine[object, object, Response], begun: float) -> Outcome:
        try:
            return await sending
        except _NotConnected as exc:
            kind, text = FailureKind.TARGET_DOWN, str(exc)
        except TimeoutError:
            kind = FailureKind.TIMEOUT
            text = f"the target did not answer within {self._timeout_s:g} s"
        except NotHttp as exc:
            kind, text = FailureKind.NETWORK, f"the target's answer is not HTTP: {exc}"
        except Broken:
            kind, text = await self._explain_break()
        return Failure(kind, text, round((self._loop.time() - begun) * 1000))

    async def _send(
        self, delivery: Delivery, head: bytes, begun: float, *, sent_before: bool
    ) -> Response:
        """Send over a new connection."""
        connection = await self._connect(sent_before=sent_before)
        deadline = begun + self._timeout_s
        bodiless = delivery.event.request.method == "HEAD"
        try:
            return await connection.exchange(head, delivery.body, deadline, bodiless=bodiless)
        finally:
            self._pool.give_back(connection)

    async def _connect(self, *, sent_before: bool) -> Connection:
        try:
            async with asyncio.timeout(min(CONNECT_S, self._timeout_s)):
                return await self._pool.connect()
        except OSError as exc:
            if not sent_before:
                raise _NotConnected(self._why_not(exc)) from exc
            if isinstance(exc, TimeoutError):
                raise
            raise Broken from exc

    def _why_not(self, exc: OSError) -> str:
        match exc:
            case Unreachable():
                return str(exc)
            case SSLCertVerificationError():
                return f"the certificate of {self.target.authority} is not good: " + (
                    exc.verify_message
                )
            case SSLError():
                return (
                    f"{self.target.authority} does not speak TLS as it should"
                    f" ({exc.reason or exc}), perhaps it is http:// there"
                )
            case socket.gaierror(errno=socket.EAI_AGAIN):
                return f"the name {self.target.host} cannot be looked up now"
            case socket.gaierror():
                return f"the name {self.target.host} is not known here"
            case _:
                return not_listening(self.target)

    async def _explain_break(self) -> tuple[FailureKind, str]:
        """Tell a target that hung up from one that is gone."""
        if not await self.look():
            return FailureKind.NETWORK, "the target closed the connection without a whole answer"
        text = f"{self.target.authority} went away while it had the event"
        return FailureKind.TARGET_LOST, text


async def _raised(trouble: Exception) -> Response:
    raise trouble


class _NotConnected(Exception):
    """The target takes no connection, and got nothing."""
