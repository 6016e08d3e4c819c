"""A reader's end of a push, names that lead where a test says, and pushes to post with."""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import cast

from relay_http.pool import Address
from relay_protocol.values import Delivery, Failure, Outcome, Response
from relay_server.configs import ForwardConfig
from relay_server.delivery.reader import Reader
from relay_server.delivery.url.allow import Allowlist
from relay_server.delivery.url.push import Push
from tests.support.waiting import until

LOOPBACK = "127.0.0.0/8, ::1"


def allowing(entries: str) -> Allowlist:
    """What these allow, with commas between them."""
    return Allowlist.of(entry.strip() for entry in entries.split(",") if entry.strip())


@dataclass(eq=False)
class FakeInbox:
    """Remembers what a push says.

    Attributes:
        said: The order of it all, by the methods' names.
        holds: The reasons.
    """

    outcomes: dict[str, Outcome] = field(default_factory=dict)
    extended: list[str] = field(default_factory=list)
    holds: list[str] = field(default_factory=list)
    let_go_times: int = 0
    said: list[str] = field(default_factory=list)

    def finish(self, sink: Push, delivery: str, outcome: Outcome) -> None:
        assert delivery not in self.outcomes, "two results for one attempt"
        self.outcomes[delivery] = outcome
        self.said.append("finish")

    def extend(self, sink: Push, deliveries: Iterable[str]) -> None:
        self.extended += deliveries

    def hold(self, sink: Push, why: str = "") -> None:
        self.holds.append(why)
        self.said.append("hold")

    def let_go(self, sink: Push) -> None:
        self.let_go_times += 1
        self.said.append("let_go")

    async def result(self, delivery: str) -> Outcome:
        """Wait for what became of a delivery, and forget it."""
        await until(lambda: delivery in self.outcomes)
        return self.outcomes.pop(delivery)


@dataclass
class FakeNames:
    """A resolver.

    Attributes:
        places: By name; what is not here leads nowhere.
        asked: Every name, as often as it was looked up.
    """

    places: dict[str, Sequence[str]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    async def resolve(self, host: str, port: int) -> list[Address]:
        self.asked.append(host)
        if host not in self.places:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [
            (socket.AF_INET6 if ":" in address else socket.AF_INET, address)
            for address in self.places[host]
        ]


@dataclass
class Posting:
    """A push with a reader's end attached."""

    push: Push
    inbox: FakeInbox

    async def post(self, delivery: Delivery) -> Outcome:
        """Deliver one, and wait for what becomes of it."""
        self.push.deliver(delivery)
        return await self.inbox.result(delivery.id)

    async def answer(self, delivery: Delivery) -> Response:
        """The same, where the target answers."""
        outcome = await self.post(delivery)
        assert isinstance(outcome, Response), outcome
        return outcome

    async def failure(self, delivery: Delivery) -> Failure:
        """The same, where it does not."""
        outcome = await self.post(delivery)
        assert isinstance(outcome, Failure), outcome
        return outcome


@asynccontextmanager
async def pushing(
    url: str,
    allow: str = LOOPBACK,
    names: FakeNames | None = None,
    *,
    timeout_s: float = 5.0,
    concurrency: int = 8,
    headers: tuple[tuple[str, bytes], ...] = (),
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[Posting]:
    """A push to a URL; headers are sealed by being turned round."""
    config = ForwardConfig(url, timeout_s, concurrency, headers)
    resolve = (names or FakeNames({"localhost": ["127.0.0.1"], "127.0.0.1": ["127.0.0.1"]})).resolve
    push = Push(config, allowing(allow), unseal, resolve=resolve, tls=tls)
    inbox = FakeInbox()
    push.attach(cast(Reader, inbox))
    try:
        yield Posting(push, inbox)
    finally:
        await push.close(0)


def unseal(sealed: bytes) -> bytes:
    """Undo what tests call sealing."""
    return sealed[::-1]
