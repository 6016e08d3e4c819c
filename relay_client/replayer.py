"""Posts deliveries to their targets, and says how that went."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from relay_client.exchange import Broken, Connection, NotHttp
from relay_client.outgoing import RequestRefused, compose
from relay_client.pool import Pool
from relay_client.reach import is_listening, until_listening
from relay_client.target import Target
from relay_protocol.values import Delivery, Failure, FailureKind, Outcome, Response

_CONNECT_S = 5.0
# A kept connection that breaks this soon was closed before the request came: it is sent anew
# instead of costing an attempt. One that breaks later may have broken over the event.
_STALE_S = 0.1


class Replayer:
    """Opens connections to the configured targets, and to nothing else.

    Use it as an async context manager.

    Args:
        targets: By channel.
        timeout_s: How long a target may take for its whole answer.
        concurrency: How many deliveries the caller replays at once; so many idle connections
            are kept for each target.
    """

    def __init__(self, targets: Mapping[str, Target], timeout_s: float, concurrency: int) -> None:
        self._targets = targets
        self._timeout_s = timeout_s
        self._concurrency = concurrency
        self._pools: dict[str, Pool] = {}  # by channel

    async def __aenter__(self) -> Self:
        self._pools = {
            channel: Pool(target, self._concurrency) for channel, target in self._targets.items()
        }
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for pool in self._pools.values():
            pool.close()

    def of(self, channel: str) -> Target:
        """The target of a channel."""
        return self._targets[channel]

    async def until_listening(self, channel: str) -> None:
        """Return once the channel's target takes connections."""
        await until_listening(self._targets[channel])

    async def replay(self, delivery: Delivery) -> Outcome:
        """Post a delivery to its channel's target. Whatever happens is told by the outcome."""
        target = self._targets[delivery.channel]
        started = time.perf_counter()
        try:
            head = compose(delivery, target)
        except RequestRefused as exc:
            return Failure(FailureKind.REFUSED, str(exc))
        try:
            return await self._post(delivery, head)
        except (_NotConnected, TimeoutError, NotHttp, Broken) as exc:
            kind, text = await _explain(exc, target, self._timeout_s)
            return Failure(kind, text, round((time.perf_counter() - started) * 1000))

    async def _post(self, delivery: Delivery, head: bytes) -> Response:
        pool = self._pools[delivery.channel]
        deadline = asyncio.get_running_loop().time() + self._timeout_s
        kept = pool.take()
        if kept is not None:
            started = time.perf_counter()
            try:
                return await _exchange(pool, kept, delivery, head, deadline)
            except Broken:
                if kept.heard or time.perf_counter() - started >= _STALE_S:
                    raise
        fresh = await self._connect(pool, sent_before=kept is not None)
        return await _exchange(pool, fresh, delivery, head, deadline)

    async def _connect(self, pool: Pool, *, sent_before: bool) -> Connection:
        try:
            async with asyncio.timeout(min(_CONNECT_S, self._timeout_s)):
                return await pool.connect()
        except OSError as exc:
            if not sent_before:
                raise _NotConnected from exc
            if isinstance(exc, TimeoutError):
                raise
            raise Broken from exc


class _NotConnected(Exception):
    """The target takes no connection, and got nothing."""


async def _exchange(
    pool: Pool, connection: Connection, delivery: Delivery, head: bytes, deadline: float
) -> Response:
    bodiless = delivery.event.request.method == "HEAD"
    try:
        return await connection.exchange(head, delivery.body, deadline, bodiless=bodiless)
    finally:
        pool.give_back(connection)


async def _explain(exc: Exception, target: Target, timeout_s: float) -> tuple[FailureKind, str]:
    match exc:
        case _NotConnected():
            return FailureKind.TARGET_DOWN, f"{target.authority} does not take connections"
        case TimeoutError():
            return FailureKind.TIMEOUT, f"the target did not answer within {timeout_s:g} s"
        case NotHttp():
            return FailureKind.NETWORK, f"the target's answer is not HTTP: {exc}"
        case _:
            return await _explain_break(target)


async def _explain_break(target: Target) -> tuple[FailureKind, str]:
    """Tell a target that hung up from one that is gone."""
    if await is_listening(target):
        return FailureKind.NETWORK, "the target closed the connection without a whole answer"
    return FailureKind.TARGET_LOST, f"{target.authority} went away while it had the event"
