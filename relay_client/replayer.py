"""Posts deliveries to their targets, and says how that went."""

from __future__ import annotations

import functools
import socket
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Self
from weakref import WeakSet

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.connector import Connection
from aiohttp.tracing import Trace
from multidict import CIMultiDict
from yarl import URL

from relay_client.outgoing import Outgoing, RequestRefused, compose
from relay_client.reach import addresses, is_listening, until_listening
from relay_client.target import Target
from relay_protocol.limits import MAX_RESULT_BODY_BYTES, MAX_RESULT_HEADERS
from relay_protocol.values import Delivery, Failure, FailureKind, HeaderList, Outcome, Response

_CONNECT_S = 5.0
# A kept connection that breaks this soon was closed before the request came: it is sent anew
# instead of costing an attempt. One that breaks later may have broken over the event.
_STALE_S = 0.1
_ANSWER_LINE_BYTES = 65_536
_ANSWER_HEADERS = 1_000  # a target with more has the attempt fail, not the client


class Replayer:
    """Opens connections to the configured targets, and to nothing else.

    Use it as an async context manager.

    Args:
        targets: By channel.
        timeout_s: How long a target may take for its whole answer.
        concurrency: How many requests are under way at most.
    """

    def __init__(self, targets: Mapping[str, Target], timeout_s: float, concurrency: int) -> None:
        self._targets = targets
        self._timeout_s = timeout_s
        self._concurrency = concurrency
        self._http: aiohttp.ClientSession

    async def __aenter__(self) -> Self:
        self._http = aiohttp.ClientSession(
            connector=_Connector(
                limit=self._concurrency,
                resolver=_Resolver(),
                # Servers close idle connections after 2 s (gunicorn) and more, and a request sent
                # into one just then fails: be done with it before. See also `_STALE_S`.
                keepalive_timeout=1.0,
            ),
            timeout=aiohttp.ClientTimeout(
                total=self._timeout_s, sock_connect=min(_CONNECT_S, self._timeout_s)
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,  # a proxy is for the way to the relay, never for the target
            auto_decompress=False,
            max_line_size=_ANSWER_LINE_BYTES,
            max_field_size=_ANSWER_LINE_BYTES,
            max_headers=_ANSWER_HEADERS,
            skip_auto_headers=("Content-Type",),
            request_class=_Request,
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._http.close()

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
            outgoing = compose(delivery, target)
        except RequestRefused as exc:
            return Failure(FailureKind.REFUSED, str(exc))
        exchange = _Exchange(outgoing.headers)
        try:
            return await self._post(outgoing, exchange, target, delivery.body)
        except (aiohttp.ClientError, OSError, ValueError) as exc:
            kind, text = await _explain(exc, exchange.sent_before, target, self._timeout_s)
            return Failure(kind, text, _elapsed_ms(started))

    async def _post(
        self, outgoing: Outgoing, exchange: _Exchange, target: Target, body: bytes
    ) -> Response:
        started = time.perf_counter()
        # The event's path and query go in as one raw path: nothing of it is parsed, so that
        # nothing of it can become another host, and nothing is quoted anew.
        url = URL.build(scheme="http", authority=target.authority, path=outgoing.path, encoded=True)
        async with self._http.request(
            outgoing.method,
            url,
            data=body or None,
            allow_redirects=False,
            middlewares=(exchange,),
        ) as answer:
            kept, truncated = await _read(answer)
            headers: HeaderList = answer.raw_headers[:MAX_RESULT_HEADERS]
            return Response(answer.status, headers, kept, truncated, _elapsed_ms(started))


class _Request(aiohttp.ClientRequest):
    """A request that knows whether its connection had carried others before."""

    on_kept_connection = False


class _Connector(aiohttp.TCPConnector):
    """Tells requests whether their connection is a kept one; tracing would cost a tenth."""

    async def connect(
        self, req: aiohttp.ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout
    ) -> Connection:
        connection = await super().connect(req, traces, timeout)
        if isinstance(req, _Request):
            req.on_kept_connection = connection.protocol in self._used
        self._used.add(connection.protocol)
        return connection

    @functools.cached_property
    def _used(self) -> WeakSet[object]:
        return WeakSet()


class _Exchange:
    """One request's way out, as an aiohttp middleware."""

    def __init__(self, headers: list[tuple[str, str]]) -> None:
        self.sent_before = False
        self._headers = headers

    async def __call__(
        self, request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        # Handed over as an argument they would lose all but one of `X-Tag` and `x-tag`, Host
        # would come first, and aiohttp would add headers of its own.
        request.headers = CIMultiDict(self._headers)
        while True:
            started = time.perf_counter()
            try:
                return await send(request)
            except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
                if not _was_stale(request, time.perf_counter() - started):
                    raise
                self.sent_before = True


def _was_stale(request: aiohttp.ClientRequest, after_s: float) -> bool:
    if not isinstance(request, _Request):
        return False
    was_kept, request.on_kept_connection = request.on_kept_connection, False
    return was_kept and after_s < _STALE_S


async def _read(answer: aiohttp.ClientResponse) -> tuple[bytes, bool]:
    """Keep the beginning of an answer, and close the connection when there is more."""
    kept = await answer.content.read(MAX_RESULT_BODY_BYTES)
    while not answer.content.at_eof():
        part = await answer.content.read(MAX_RESULT_BODY_BYTES + 1 - len(kept))
        kept += part
        if len(kept) > MAX_RESULT_BODY_BYTES:
            answer.close()
            return kept[:MAX_RESULT_BODY_BYTES], True
    return kept, False


async def _explain(
    exc: aiohttp.ClientError | OSError | ValueError,
    sent_before: bool,
    target: Target,
    timeout_s: float,
) -> tuple[FailureKind, str]:
    match exc:
        case aiohttp.ConnectionTimeoutError() | aiohttp.ClientConnectorError() if not sent_before:
            return FailureKind.TARGET_DOWN, f"{target.authority} does not take connections"
        case TimeoutError():
            return FailureKind.TIMEOUT, f"the target did not answer within {timeout_s:g} s"
        case aiohttp.ClientResponseError():
            return FailureKind.NETWORK, f"the target's answer is not HTTP: {exc.message[:200]}"
        case aiohttp.ClientError() | OSError():
            return await _explain_break(target)
        case ValueError():
            return FailureKind.REFUSED, f"the request cannot be sent: {exc}"


async def _explain_break(target: Target) -> tuple[FailureKind, str]:
    """Tell a target that hung up from one that is gone."""
    if await is_listening(target):
        return FailureKind.NETWORK, "the target closed the connection without a whole answer"
    return FailureKind.TARGET_LOST, f"{target.authority} went away while it had the event"


def _elapsed_ms(started: float) -> int:
    return round((time.perf_counter() - started) * 1000)


class _Resolver(AbstractResolver):
    """Resolves a target the way that looking for it does."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=found,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST,
            )
            for found, address in await addresses(host, port)
            if family in (socket.AF_UNSPEC, found)
        ]

    async def close(self) -> None:
        """Nothing is kept open."""
