"""Relay broken on purpose, each time in one place: the simulation must find every one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast
from unittest import mock

from relay_client.tunnel import Tunnel
from relay_protocol.client_session import ClientSession
from relay_protocol.values import Delivery, Response
from relay_server.delivery import retry
from relay_server.delivery.hub import Hub
from relay_server.delivery.lanes import Entry, Lane, State
from relay_server.delivery.order import Order
from relay_server.delivery.reader import Reader
from relay_server.delivery.sifter import Sifter
from relay_server.filters.language import Filter
from relay_server.store.interface import Waiter
from relay_server.store.sqlite.store import SqliteStore
from relay_server.values import (
    Appended,
    ChannelNumber,
    MarkState,
    NewEvent,
    Progress,
    Selected,
)
from relay_server.web.gateway import Connection
from tests.simulation.clients import SimJournal
from tests.simulation.disk import SimStore

Patch = Callable[[], Any]


def settle_before_the_result() -> Any:
    """What was sent counts as delivered."""
    deliver = Connection.deliver

    def mutant(self: Connection, delivery: Delivery) -> None:
        deliver(self, delivery)
        self._lent[delivery.id].finish(self, delivery.id, Response(200))

    return mock.patch.object(Connection, "deliver", mutant)


def keep_leases_of_the_gone() -> Any:
    """A sharing reader leaves, and what it had stays lent to it."""

    def mutant(self: Reader, sink: Any) -> None:
        with self._following_sinks():
            self._sinks.remove(sink)

    return mock.patch.object(Reader, "remove", mutant)


def answer_before_the_commit() -> Any:
    """A webhook is answered before it is on disk."""
    append_for = SimStore.append_for

    def mutant(self: SimStore, channel: ChannelNumber, event: NewEvent, waiter: Waiter) -> None:
        stored = self.life.kernel.loop.create_future()
        append_for(self, channel, event, stored)
        self.life.kernel.spawn(_quietly(stored), "append")
        held = self._cache.of(channel)
        assert held is not None
        waiter.set_result(Appended(event.id, held.last + 1))

    return mock.patch.object(SimStore, "append_for", mutant)


async def _quietly(work: Any) -> None:
    await asyncio.gather(work, return_exceptions=True)


def floor_off_by_one() -> Any:
    """The floor is one too high: a crash skips a delivery."""
    floor = cast(property, Order.floor).fget

    def mutant(self: Order) -> int:
        assert floor is not None
        return int(floor(self)) + (1 if self.unsettled else 0)

    return mock.patch.object(Order, "floor", property(mutant))


def resend_behind_the_others() -> Any:
    """What comes back goes behind what came later."""

    def mutant(self: Order, entry: Entry, lane: Lane) -> None:
        if entry.state is State.WAITING:
            lane.parked.remove(entry)
            self._waiting -= 1
        if lane.blocker is entry:
            self._unblock(lane)
        entry.state = State.READY
        lane.ready.append(entry)
        self._note(entry, MarkState.WAITING)
        self._offer(lane, entry.key)

    return mock.patch.object(Order, "_return", mutant)


def hold_nothing_back() -> Any:
    """A delivery that waits for its next try is overtaken at once."""
    return mock.patch.object(retry, "holds", return_value=False)


def forget_what_was_finished() -> Any:
    """A client posts again what its target took."""
    return mock.patch.object(SimJournal, "find", return_value=None)


def forget_what_runs() -> Any:
    """A client posts again what its target works on."""
    take = ClientSession._take

    def mutant(self: ClientSession, *args: Any) -> Any:
        self._running.clear()
        return take(self, *args)

    return mock.patch.object(ClientSession, "_take", mutant)


def never_say_working() -> Any:
    """Leases are not extended while the target works."""
    return mock.patch.object(ClientSession, "_working", return_value=[])


def share_no_keys() -> Any:
    """Replays and live traffic do not know of each other's keys."""
    init = Order.__init__

    def mutant(self: Order, *args: Any) -> None:
        init(self, *args)
        self._keys = set()

    return mock.patch.object(Order, "__init__", mutant)


def never_resume() -> Any:
    """A client whose target is back does not say so."""
    return mock.patch.object(ClientSession, "target_up", return_value=[])


def never_wake() -> Any:
    """A reader is not told of new events, and nothing makes it look."""
    return mock.patch.multiple(Hub, _stored=lambda *_: None, run=_sleep_for_ever)


async def _sleep_for_ever(_: Hub) -> None:
    await asyncio.get_running_loop().create_future()


def keep_what_another_claimed() -> Any:
    """A hub does not hear that another one has a subscription now."""
    return mock.patch.object(Hub, "_claimed", return_value=None)


def take_failures_for_successes() -> Any:
    """A failure that is to be tried again is taken for a delivery."""
    follow = Order._follow

    def mutant(self: Order, entry: Entry, lane: Lane, verdict: Any, now: float) -> None:
        taken = retry.DELIVERED if verdict.next is retry.Next.AGAIN else verdict
        follow(self, entry, lane, taken, now)

    return mock.patch.object(Order, "_follow", mutant)


def never_drop_a_dead_connection() -> Any:
    """A client does not give up a connection that brings nothing."""
    return mock.patch.object(Tunnel, "_drop", return_value=None)


def skip_in_replays() -> Any:
    """A replay leaves out the first of each piece that it reads."""
    select = SqliteStore.select

    async def mutant(self: SqliteStore, *args: Any) -> Selected:
        selected = await select(self, *args)
        return Selected(selected.outlines[1:], selected.read_up_to)

    return mock.patch.object(SqliteStore, "select", mutant)


def leave_out_what_is_meant() -> Any:
    """A reader that catches up leaves out the first of what its filter means."""
    sift = SqliteStore.sift

    async def mutant(self: SqliteStore, *args: Any) -> Selected:
        found = await sift(self, *args)
        return Selected(found.outlines[1:], found.read_up_to)

    return mock.patch.object(SqliteStore, "sift", mutant)


def ask_no_filter() -> Any:
    """What comes is sent to whoever reads."""
    return mock.patch.object(Filter, "matches", return_value=True)


def keep_the_first_filter() -> Any:
    """A reader goes on with the filter that it began with."""
    follow = Reader._follow_filter

    def mutant(self: Reader) -> None:
        if not hasattr(self, "_replays"):
            follow(self)

    return mock.patch.object(Reader, "_follow_filter", mutant)


def pass_what_waits() -> Any:
    """Where nobody reads, the floor passes what is meant and was not sent."""
    record = Sifter._record

    def mutant(self: Sifter, watched: Any, claim: Any, meant: Any, up_to: int) -> None:
        record(self, watched, claim, meant, up_to)
        self._store.record(claim, Progress(up_to))

    return mock.patch.object(Sifter, "_record", mutant)


ALL: dict[str, Patch] = {
    mutant.__name__: mutant
    for mutant in (
        settle_before_the_result,
        keep_leases_of_the_gone,
        answer_before_the_commit,
        floor_off_by_one,
        resend_behind_the_others,
        hold_nothing_back,
        forget_what_was_finished,
        forget_what_runs,
        never_say_working,
        share_no_keys,
        never_resume,
        never_wake,
        keep_what_another_claimed,
        take_failures_for_successes,
        never_drop_a_dead_connection,
        skip_in_replays,
        leave_out_what_is_meant,
        ask_no_filter,
        keep_the_first_filter,
        pass_what_waits,
    )
}
