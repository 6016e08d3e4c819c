"""Who is connected with a server, and how fast what they read goes."""

from __future__ import annotations

from relay_protocol.messages import Wanted
from relay_server.operations import Caller
from relay_server.operations.clients import Client, Pace, clients_of, paces_of
from relay_server.values import Scope
from tests.support.events import OK
from tests.support.waiting import until
from tests.unit.server.asking import append
from tests.unit.server.support import FakePeer, Served

READ = "chatwoot", "ana"


async def test_a_subscription_says_how_fast_it_goes_and_when_nothing_waits(served: Served) -> None:
    context, who, peer = served.context, Caller(served.context), FakePeer()
    _, reader = await context.hub.join(peer, Wanted("chatwoot"), "ana")
    context.hub.start(reader, peer)
    assert paces_of(who, {READ: 4}) == {}, "nothing was delivered yet"

    async def deliver(count: int) -> None:
        for _ in range(count):
            await until(lambda: peer.got)
            reader.finish(peer, peer.got.pop(0).id, OK)
        served.clock.advance(10)

    for _ in range(4):
        await append(served)
    await deliver(2)
    assert paces_of(who, {READ: 2}) == {READ: Pace(0.2, None)}, "more comes than goes"
    context.hub.readers.look(served.clock.monotonic())
    await deliver(1)
    context.hub.readers.look(served.clock.monotonic())
    assert paces_of(who, {READ: 1}) == {READ: Pace(0.1, 10.0)}
    assert paces_of(who, {READ: 0}) == {}
    context.hub.readers.look(served.clock.monotonic() + 10)
    assert paces_of(who, {READ: 1}) == {}, "it stands still"


async def test_clients_are_shown_to_who_may_read_what_they_read(served: Served) -> None:
    hub, peer = served.context.hub, FakePeer()
    await hub.join(peer, Wanted("chatwoot"), "ana")
    await served.make_channel("other")
    for name, channels in (("boss", ["chatwoot"]), ("bia", ["other"])):
        await served.make_token(name, Scope.SUBSCRIBE, channels=channels)
    boss, bia = (
        Caller(served.context, token)
        for name in ("boss", "bia")
        for token in served.store.catalog.tokens.values()
        if token.name == name
    )
    assert clients_of(boss) == [Client("chatwoot", "ana", "ana", "laptop", "1.2.3")]
    assert clients_of(bia) == []
