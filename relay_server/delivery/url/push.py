"""The sink that is a URL: what a forward's subscription brings is posted by the server itself.

A push is a peer of the hub, as a connection is: its window has room for `concurrency` deliveries,
each posted in a task of its own, whose outcome goes to the reader as a result does. While a target
thinks, the leases of what is under way are extended.

When the target is not there, the reader is held and the target is looked for, at first each second,
then each five: what was tried is given back meanwhile, and uses up no attempt.

Connections go to addresses that the operator allowed (`Door`). A name is looked up for each new
one, the address is judged and then connected to, and judged again as the peer's; a kept connection
is used for a minute at most. So a name that changes its mind leads nowhere else than allowed.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import msgspec
import structlog

from relay_http.connection import Connection
from relay_http.outgoing import RequestRefused, check_header
from relay_http.pool import Address, Pool, Unreachable, addresses, connect_any
from relay_http.poster import CONNECT_S, Poster
from relay_http.target import Target
from relay_http.tls import target_context
from relay_protocol.limits import WORKING_INTERVAL_S
from relay_protocol.session import Window
from relay_protocol.values import Delivery, Failure, FailureKind, HeaderList, Outcome
from relay_server.configs import MAX_HEADER_BYTES, MAX_HEADERS, ForwardConfig
from relay_server.delivery.reader import Reader
from relay_server.delivery.url.allow import Allowlist, read_url
from relay_server.errors import InvalidValue
from relay_server.sealing import OpenSealed
from relay_server.settables import check

log = structlog.get_logger()

FIRST_LOOK_S = 1.0  # until the first look at a target that went down
LONGEST_LOOK_S = 5.0  # between two such looks, beside what each takes
LONGEST_KEPT_S = 60.0  # of a connection: a name that leads elsewhere now is followed by then

Resolve = Callable[[str, int], Awaitable[Sequence[Address]]]


@dataclass(frozen=True, slots=True)
class Gone:
    """Why a push takes nothing more.

    Attributes:
        back_after_s: When to try again; None for never.
    """

    reason: str
    back_after_s: float | None = None


class Door:
    """Connects to addresses that are allowed, and to no others.

    A name is looked up for each new connection, and the connection goes to one of the addresses
    that were judged: what the name leads to a moment later does not matter.
    """

    def __init__(self, allowlist: Allowlist, host: str, resolve: Resolve) -> None:
        self._allowlist = allowlist
        self._host = host
        self._resolve = resolve
        self._loop = asyncio.get_running_loop()

    async def open(self, target: Target) -> socket.socket:
        """Connect.

        Raises:
            Unreachable: No address is known or allowed; the message says which it is.
            OSError: None of those that are takes the connection.
        """
        opened = await connect_any(await self._allowed(target.port), target.port)
        try:
            peer = str(opened.getpeername()[0])
            if why := self._allowlist.refusal(self._host, peer):
                raise Unreachable(why)
        except OSError:
            opened.close()
            raise
        return opened

    def still_good(self, connection: Connection) -> bool:
        """True if a kept connection may be used once more."""
        if self._loop.time() - connection.opened_at >= LONGEST_KEPT_S:
            return False
        return not self._allowlist.refusal(self._host, connection.peer)

    async def _allowed(self, port: int) -> list[Address]:
        try:
            found = await self._resolve(self._host, port)
        except OSError as exc:
            raise Unreachable(f"the name {self._host} leads nowhere") from exc
        reasons = [self._allowlist.refusal(self._host, address) for _, address in found]
        allowed = [place for place, why in zip(found, reasons, strict=True) if not why]
        if not allowed:
            raise Unreachable(reasons[0] if reasons else f"{self._host} has no address")
        return allowed


class Push:
    """Posts to one URL: a `Peer` of the hub. Make it where an event loop runs.

    Args:
        open_sealed: Gives a header's value back; raises InvalidValue when it cannot.
        resolve: Finds the addresses of a host, anew for each connection.
        tls: Whom to trust, if not whom the system trusts.

    Raises:
        InvalidValue: The configuration is impossible.

    Attributes:
        host: The target's, with its port, for people.
        why_waiting: Why the target gets nothing now; empty when it does.
        tried: It was connected to, or it was tried and was not there.
    """

    def __init__(
        self,
        config: ForwardConfig,
        allowlist: Allowlist,
        open_sealed: OpenSealed,
        *,
        resolve: Resolve = addresses,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        target = _target(config, open_sealed)
        self.token = ""  # nobody's: revoking one closes no forward
        self.version = ""
        self.host = target.authority
        self.why_waiting = ""
        self.tried = False
        self._window = Window(config.concurrency)
        self._poster = _poster(config, target, Door(allowlist, target.host, resolve), tls)
        self._loop = asyncio.get_running_loop()
        self._reader: Reader
        self._under_way: dict[str, asyncio.Task[Outcome]] = {}
        self._extended_at = 0.0
        self._looking: asyncio.Task[None] | None = None
        self._gone: asyncio.Future[Gone] = self._loop.create_future()

    def attach(self, reader: Reader) -> None:
        """Take the reader that results go to; nothing may be delivered before."""
        self._reader = reader

    @property
    def credit(self) -> int:
        """How many deliveries may be posted now, whatever they weigh."""
        return self._window.credit

    def accepts(self, size: int) -> bool:
        """True if a body of so many bytes may be posted now."""
        if self._gone.done() or self._looking is not None:
            return False
        return self._window.accepts(size)

    def deliver(self, delivery: Delivery) -> None:
        """Begin to post it."""
        if delivery.id in self._under_way:
            return  # its lease ran out: one result will do
        self._window.take(delivery.id, len(delivery.body))
        task = self._loop.create_task(self._poster.post(delivery), name=f"post {delivery.id}")
        self._under_way[delivery.id] = task
        task.add_done_callback(functools.partial(self._posted, delivery.id))

    def flush(self) -> None:
        """Posts do not wait for each other."""

    async def try_target(self) -> None:
        """Connect once and post nothing; where it is not there, wait as after a delivery."""
        why = await self._poster.look()
        self.tried = True
        if why:
            self._wait(why)

    def tick(self, now: float) -> None:
        """Extend the leases of what is under way; call this about once a second."""
        if self._under_way and now - self._extended_at >= WORKING_INTERVAL_S:
            self._extended_at = now
            self._reader.extend(self, tuple(self._under_way))

    def taken_over(self, subscription: str, host: str) -> None:
        """Somebody else reads the subscription now: do not fight back."""
        log.warning("a forward was taken over", subscription=subscription, host=host)
        self._go(Gone(f"{subscription} is read from {host or 'somewhere else'} now"))

    def revoked(self) -> None:
        """There is no token that could be; taken as an end."""
        self._go(Gone("it was revoked"))

    def go_away(self, reason: str, retry_after_s: float) -> None:
        """Take nothing more; whoever keeps forwards may start another one later."""
        self._go(Gone(reason, retry_after_s))

    async def until_gone(self) -> Gone:
        """Wait until it takes nothing more."""
        return await asyncio.shield(self._gone)

    async def close(self, deadline_s: float) -> None:
        """Take nothing more, wait so long for what is under way, then let go of it."""
        self._go(Gone("it was stopped"))
        posting = list(self._under_way.values())
        try:
            if posting:
                await asyncio.wait(posting, timeout=deadline_s)
        finally:  # also where whoever waits is told not to
            looking = [] if self._looking is None else [self._looking]
            for task in (*posting, *looking):
                task.cancel()
            await asyncio.gather(*posting, *looking, return_exceptions=True)
            self._poster.close()

    def _go(self, gone: Gone) -> None:
        if not self._gone.done():
            self._gone.set_result(gone)

    def _posted(self, delivery: str, task: asyncio.Task[Outcome]) -> None:
        del self._under_way[delivery]
        self.tried = True
        self._window.give_back(delivery)
        if task.cancelled():
            return  # the lease is freed with the reader
        outcome: Outcome
        if (error := task.exception()) is None:
            outcome = task.result()
        else:
            log.error("posting a delivery failed", target=self.host, exc_info=error)
            text = "the server met an error while it posted this"
            outcome = Failure(FailureKind.NETWORK, text)
        if isinstance(outcome, Failure) and outcome.kind in _NOT_THERE:
            self._wait(outcome.text)
        self._reader.finish(self, delivery, outcome)

    def _wait(self, why: str) -> None:
        """Hold the reader until the target takes connections again."""
        if self._looking is None and not self._gone.done():
            log.warning("a forward waits", target=self.host, reason=why)
            self._hold(why)
            self._looking = self._loop.create_task(self._look(), name=f"look for {self.host}")

    def _hold(self, why: str) -> None:
        self.why_waiting = why
        self._reader.hold(self, why)

    async def _look(self) -> None:
        """Let go of the reader once the target takes connections again."""
        pause = FIRST_LOOK_S
        while True:
            await asyncio.sleep(pause)
            pause = min(LONGEST_LOOK_S, pause * 1.25)
            try:
                why = await self._poster.look()
            except Exception as exc:  # a target that is back would never be noticed otherwise
                log.error("looking for a forward's target failed", target=self.host, exc_info=exc)
                continue
            if not why:
                break
            if why != self.why_waiting:
                self._hold(why)
        self._looking = None
        self.why_waiting = ""
        log.info("a forward goes on", target=self.host)
        self._reader.let_go(self)


_NOT_THERE = frozenset({FailureKind.TARGET_DOWN, FailureKind.TARGET_LOST})


def check_forward(config: ForwardConfig, allowlist: Allowlist, open_sealed: OpenSealed) -> None:
    """See that a forward can be as it is configured, and may ever reach its URL.

    Raises:
        InvalidValue: It cannot; the message says what is wrong.
    """
    allowlist.check_url(config.url)
    _target(config, open_sealed)


@functools.cache
def system_tls() -> ssl.SSLContext:
    """Trust whom the system trusts. It reads all those certificates: first call it in a thread."""
    return target_context()


def _target(config: ForwardConfig, open_sealed: OpenSealed) -> Target:
    check(ForwardConfig, msgspec.structs.asdict(config))
    return dataclasses.replace(read_url(config.url), headers=_headers(config, open_sealed))


def _headers(config: ForwardConfig, open_sealed: OpenSealed) -> HeaderList:
    if len(config.headers) > MAX_HEADERS:
        raise InvalidValue(f"a forward adds {MAX_HEADERS} headers at most")
    if len({name.lower() for name, _ in config.headers}) < len(config.headers):
        raise InvalidValue("a header is given twice")
    headers = tuple(
        (name.encode(errors="replace"), open_sealed(sealed)) for name, sealed in config.headers
    )
    for name, value in headers:
        if len(name) > MAX_HEADER_BYTES or len(value) > MAX_HEADER_BYTES:
            raise InvalidValue(f"a forward's header has {MAX_HEADER_BYTES} bytes at most")
        try:
            check_header(name, value)
        except RequestRefused as exc:
            raise InvalidValue(str(exc)) from exc
    return headers


def _poster(
    config: ForwardConfig, target: Target, door: Door, tls: ssl.SSLContext | None
) -> Poster:
    if target.secure and tls is None:
        tls = system_tls()
    pool = Pool(target, config.concurrency, opener=door.open, tls=tls, usable=door.still_good)
    return Poster(target, config.timeout_s, config.concurrency, pool=pool, look_s=CONNECT_S)
