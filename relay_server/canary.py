"""A webhook of the server's own each while: health is what an event experiences.

    run ─every `every_s`─▶ post to the own port ─▶ front, ingest, store ─▶ hub, reader ─▶ _Loopback
                             └─ "delivered", says the store ◀── record ◀── finish(200) ◀────┘

A round goes the way of every webhook: through the kernel to the port, with a token, to the disk, to
a reader and back into the store. It fails with the first step that is not done within `DEADLINE_S`
of the round's beginning, and the failure names that. The only thing that is not as ever is the
peer, which answers at once in a client's place.

Channel and token are a canary's (docs/adr/0004): in no list, and nobody else's to read. They are
made by the first round of a process, and anew should somebody delete them; the channel keeps its
events for `RETENTION_DAYS` and no more of them than `MAX_BYTES`, whether or not they came.

Somebody may have one sent by hand, too, by the rules of a channel of theirs: its signature, its
rate, its policy. That is a channel of its own, which goes after its only round.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import structlog

from relay_http.tls import make_context
from relay_protocol.errors import RelayError
from relay_protocol.messages import Wanted
from relay_protocol.text import harmless
from relay_protocol.values import Delivery, HeaderList, RequestHead, Response
from relay_server.auth import digest, new_secret
from relay_server.channels import CANARY_PREFIX
from relay_server.clock import Clock
from relay_server.configs import ChannelConfig, SenderKind
from relay_server.delivery.hub import Hub
from relay_server.delivery.reader import Reader
from relay_server.errors import ChannelNotFound, TokenNotFound
from relay_server.metrics import CanaryResult, Metrics
from relay_server.store.interface import Store
from relay_server.values import Scope, Token

log = structlog.get_logger()

NAME = f"{CANARY_PREFIX}server"  # of the channel, its token and its subscription
OWNER = CANARY_PREFIX  # the name of no token: nobody may subscribe but the server itself
DEADLINE_S = 10.0  # of a round; what is not done by then has failed
LOOK_S = 0.02  # between two looks whether the store has the result
RETENTION_DAYS = 0.007  # ten minutes, of the canary channel's events
MAX_BYTES = 65_536  # of the canary channel's events; beyond, the oldest go
MAX_ANSWER_BYTES = 16_384  # of the answer to a canary; the rest is not read
MAX_FAILURE_CHARS = 200  # of what is told of a failure
BODY = b'{"event":"relay.canary"}'
PLAIN = ChannelConfig(sender=SenderKind.OTHER)  # the rules of the server's own

OwnPort = tuple[tuple[str, int], ssl.SSLContext | None]  # an address, and how to trust it
Prove = Callable[[RequestHead, bytes], HeaderList]  # a request's headers, with its signature


class Failed(Exception):
    """What kept a canary from its way's end."""


class Canary:
    """Sends one each while, and remembers how the last one went.

    Args:
        store: Where it is looked for.
        hub: Delivers it.
        clock: Dates it.
        metrics: Are told of it.
        every_s: Between the beginnings of two rounds.
        name: Of the channel, its token and its subscription.
        rules: Of the channel, but for who may read it, and for how long it keeps what came.
        prove: Signs what is sent; None where nothing is signed.
        query: Of the URL, which some sign.

    Attributes:
        last: How the last round went; None before the first has ended.
        done: How many steps of the last round were.
    """

    def __init__(
        self,
        store: Store,
        hub: Hub,
        clock: Clock,
        metrics: Metrics,
        every_s: float,
        *,
        name: str = NAME,
        rules: ChannelConfig = PLAIN,
        prove: Prove | None = None,
        query: str = "",
    ) -> None:
        self.last: CanaryResult | None = None
        self.done = 0
        self._name, self._rules, self._prove, self._query = name, rules, prove, query
        self._store = store
        self._hub = hub
        self._clock = clock
        self._metrics = metrics
        self._every_s = every_s
        self._secret = ""
        self._peer: _Loopback | None = None

    async def run(self, at: OwnPort, *, stopping: Callable[[], bool]) -> None:
        """Send one after the other, until cancelled; what fails while it stops is no failure."""
        try:
            while not stopping():
                result = await self.round(*at)
                if not stopping():
                    self._note(result)
                await asyncio.sleep(max(0.0, self._every_s - result.took_s))
        finally:
            self._leave()

    async def round(self, place: tuple[str, int], tls: ssl.SSLContext | None) -> CanaryResult:
        """Send one to its way's end."""
        began = self._clock.monotonic()
        steps = [
            ("the canary channel was not made", self._prepare),
            ("it was not answered", lambda: self._post(place, tls)),
            ("it was stored, and not delivered", self._until_arrived),
            ("it was delivered, and the store has no result of it", self._until_recorded),
        ]
        failure, what, self.done = "", "", 0
        try:
            async with asyncio.timeout(DEADLINE_S):
                for what, step in steps:  # noqa: B007  (it is told below)
                    await step()
                    self.done += 1
        except TimeoutError:
            failure = f"{what} within {DEADLINE_S:g} s"
        except Failed as exc:
            failure = str(exc)
        except (RelayError, OSError) as exc:
            failure = f"{what}: {exc}"
        except Exception as exc:  # a canary must not end the server
            log.error("a canary met an error", exc_info=exc)
            failure = f"{what}: the server met an error"
        took_s = self._clock.monotonic() - began
        return CanaryResult(self._clock.unix_ms(), took_s, harmless(failure, MAX_FAILURE_CHARS))

    async def end(self) -> None:
        """Leave nothing of it."""
        self._leave()
        await self._delete_channel()

    def _note(self, result: CanaryResult) -> None:
        was_well = self.last is None or not self.last.failure
        if result.failure and was_well:
            log.error("the canary failed", reason=result.failure)
        elif not result.failure and not was_well:
            log.info("the canary is well again")
        self.last = self._metrics.canary = result

    async def _prepare(self) -> None:
        """Have the channel, its token, and a reader of it."""
        if not self._secret or self._name not in self._store.catalog.channels:
            await self._make_channel()
        if self._peer is None or self._peer.gone:
            self._leave()
            self._peer = peer = _Loopback()
            peer.gone = True  # as long as it reads nothing: a round that fails here begins anew
            _, peer.reader = await self._hub.join(peer, Wanted(self._name), self._name)
            peer.gone = False
            self._hub.start(peer.reader, peer)

    async def _make_channel(self) -> None:
        self._secret = ""
        await self._delete_channel()  # an earlier process left it
        now, secret, name = self._clock.unix_ms(), new_secret(), self._name
        config = msgspec.structs.replace(
            self._rules,
            owner=OWNER,
            allow_from=(),  # it comes from here
            chatwoot=None,
            retention_days=RETENTION_DAYS,
            dead_days=RETENTION_DAYS,
            max_bytes=MAX_BYTES,
            drop_oldest=True,
        )
        await self._store.create_channel(name, config, now)
        scopes, channels = frozenset({Scope.SEND}), frozenset({name})
        await self._store.create_token(Token(name, digest(secret.encode()), scopes, channels, now))
        self._secret = secret

    async def _delete_channel(self) -> None:
        with contextlib.suppress(ChannelNotFound):
            await self._store.delete_channel(self._name)
        with contextlib.suppress(TokenNotFound):
            await self._store.revoke_token(self._name)

    async def _post(self, place: tuple[str, int], tls: ssl.SSLContext | None) -> None:
        assert self._peer is not None
        raw = await _exchange(place, tls, self._request("https" if tls else "http"))
        head, _, body = raw.partition(b"\r\n\r\n")
        status = head.partition(b" ")[2][:3].decode("latin-1")
        try:
            answer = json.loads(body)
            if status == "200":
                self._peer.wait_for(answer["id"])
                return
            why = answer["error"]["message"]
        except (ValueError, KeyError, TypeError):
            why = "with what is no answer of this server's"
        raise Failed(f"it was refused: {why} ({status})")

    async def _until_arrived(self) -> None:
        assert self._peer is not None
        await self._peer.arrived.wait()

    async def _until_recorded(self) -> None:
        assert self._peer is not None
        channel = self._store.catalog.channels[self._name]
        while True:
            await self._store.flush()
            [[*states]] = await self._store.deliveries(channel.number, [self._peer.sequence])
            if any(one.state == "delivered" for one in states):
                return
            await asyncio.sleep(LOOK_S)

    def _request(self, scheme: str) -> bytes:
        path = f"/c/{self._name}/webhook{self._query}"
        fields: HeaderList = (
            (b"Host", b"localhost"),
            (b"Authorization", f"Bearer {self._secret}".encode()),
            (b"Content-Type", b"application/json"),
            (b"Content-Length", b"%d" % len(BODY)),
            (b"Connection", b"close"),
        )
        if self._prove is not None:
            fields = self._prove(RequestHead("POST", path, fields, "", scheme), BODY)
        lines = [f"POST {path} HTTP/1.1".encode(), *(b"%b: %b" % field for field in fields)]
        return b"\r\n".join(lines) + b"\r\n\r\n" + BODY

    def _leave(self) -> None:
        if self._peer is not None:
            self._hub.remove(self._peer)
            self._peer = None


class _Loopback:
    """A peer that says at once of each delivery that its target took it.

    Attributes:
        gone: It gets nothing more.
        arrived: The event that is waited for came.
        sequence: Of that event.
    """

    token = ""  # nobody's: revoking one sends it nowhere
    host = version = ""
    credit = 1

    def __init__(self) -> None:
        self.gone = False
        self.arrived = asyncio.Event()
        self.sequence = 0
        self.reader: Reader
        self._awaited = ""
        self._came: tuple[str, int] = "", 0  # the last one: perhaps before its post was answered

    def wait_for(self, event: str) -> None:
        """Wait for this one from now on."""
        self.arrived.clear()
        self._awaited = event
        self._compare()

    def accepts(self, size: int) -> bool:
        return not self.gone

    def deliver(self, delivery: Delivery) -> None:
        asyncio.get_running_loop().call_soon(self._take, delivery)

    def flush(self) -> None:
        pass  # each goes by itself

    def tick(self, now: float) -> None:
        pass  # nothing is under way for longer than a turn of the loop

    def taken_over(self, subscription: str, host: str) -> None:
        self.gone = True

    def revoked(self) -> None:
        self.gone = True

    def go_away(self, reason: str, retry_after_s: float) -> None:
        self.gone = True

    def _take(self, delivery: Delivery) -> None:
        self.reader.finish(self, delivery.id, Response(200))
        self._came = delivery.event.id, delivery.event.sequence
        self._compare()

    def _compare(self) -> None:
        event, sequence = self._came
        if event == self._awaited:
            self.sequence = sequence
            self.arrived.set()


def own_port(addresses: Sequence[Any], *, secure: bool) -> OwnPort:
    """Where this process reaches itself, by what its public port's sockets are bound to."""
    return _reachable(addresses[0]), _trusting_this_host() if secure else None


def _reachable(bound: Any) -> tuple[str, int]:
    """Where a socket is reached that is bound to this, which may be every address."""
    host, port = bound[:2]
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), port  # noqa: S104


def _trusting_this_host() -> ssl.SSLContext:
    """For a connection of this process to itself: the certificate names the host as others do."""
    context = make_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


async def _exchange(place: tuple[str, int], tls: ssl.SSLContext | None, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(*place, ssl=tls)
    try:
        writer.write(request)
        answer = b""
        while len(answer) < MAX_ANSWER_BYTES and (more := await reader.read(MAX_ANSWER_BYTES)):
            answer += more
        return answer
    finally:
        writer.close()
