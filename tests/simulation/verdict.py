"""The end of a run: everything is settled in time, and nothing is lost or left behind."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from relay_protocol.client_session import State
from relay_protocol.errors import RelayError
from relay_server.reported import DeliveryState
from relay_server.values import ChannelNumber, Replay, ReplayState, SubscriptionNumber
from tests.simulation.clients import Machine
from tests.simulation.disk import Kept, at_once
from tests.simulation.kernel import Broken

if TYPE_CHECKING:
    from tests.simulation.server import Server
    from tests.simulation.world import World

LOOK_S = 1.0
GIVEN_UP_S = 1.0  # after a newer claim, by whoever had the subscription
QUIET_S = 60.0  # a connection to nobody is found out in 35
GONE = ("dead", "discarded")
MOST_DEAD = 10_000  # more than a run sends


@dataclass(frozen=True, slots=True)
class Asked:
    """A replay, and what it selected when somebody asked for it."""

    replay: Replay
    channel: ChannelNumber
    sequences: tuple[int, ...]
    at: float


def asked(kept: Kept, replay: Replay, channel: ChannelNumber, now: float) -> Asked:
    """What a replay that just began is to bring: in a run, a range of events, or what is dead."""
    selected = [s for s in kept.sequences(channel) if replay.start < s <= replay.until]
    if replay.selection.dead:
        dead = _dead(kept, replay.subscription)
        selected = [s for s in selected if s in dead]
    return Asked(replay, channel, tuple(selected), now)


def _dead(kept: Kept, subscription: SubscriptionNumber) -> frozenset[int]:
    return frozenset(d.event.sequence for d in at_once(kept.dead(subscription, 0, MOST_DEAD)))


async def settle(world: World, sending: Sequence[asyncio.Task[None]], within_s: float) -> None:
    """Wait until everything is settled, with clients that do their work."""
    kernel = world.kernel
    waits_s = max(max(p.retry_delays_s) for ps in world.judge.policies.values() for p in ps)
    taken, deadline = 0, kernel.now + within_s + 1.5 * waits_s
    while not kernel.broken:
        await asyncio.sleep(LOOK_S)
        await _mend(world)
        if world.judge.taken > taken:  # each time something new: that comes to an end
            taken, deadline = world.judge.taken, kernel.now + within_s + 1.5 * waits_s
        if all(task.done() for task in sending) and await _is_settled(world):
            return
        if kernel.now > deadline:
            kernel.violate("stuck", why=await _why(world))
    raise Broken


async def look(world: World) -> None:
    """Compare what was promised with what came, then see that nothing stays behind."""
    for name in world.plan.channels:
        mine = [s for s in world.judge.sent.values() if s.channel == name]
        _look_at(world, name, [(*s.answered, s.body) for s in mine if s.answered is not None])
    for asked in world.asked:
        await _look_at_replay(world, asked)
    await _nothing_stays(world)


async def _mend(world: World) -> None:
    """Whoever looks after the clients starts those that ended, and resumes what is paused."""
    for group in world.plan.groups:
        mine = [m for m in world.machines if m.group is group]
        if group.share:
            for machine in mine:
                machine.start()
        elif not any(m.runs for m in mine):
            mine[0].start()
    if world.server is None:
        return
    for subscription in at_once(world.kept.subscriptions()):
        if subscription.config.paused:
            await world.resume(subscription)


async def _is_settled(world: World) -> bool:
    if world.server is None or world.store.pending:
        return False
    if any(m.session and m.session.state is not State.OPEN for m in world.machines):
        return False
    statuses = at_once(world.kept.subscription_status())
    if any(status.backlog for status in statuses):
        return False
    return not at_once(world.kept.replays(running=True))


async def _why(world: World) -> str:
    statuses = at_once(world.kept.subscription_status())
    waits = [(s.subscription.name, s.backlog) for s in statuses if s.backlog]
    replays = at_once(world.kept.replays(running=True))
    return f"server={world.server is not None} waits={waits} replays={replays}"


def _look_at(world: World, channel: str, answered: Sequence[tuple[str, int, bytes]]) -> None:
    number = world.kept.catalog.channels[channel].number
    subscriptions = {s.name: s.number for s in at_once(world.kept.subscriptions(channel))}
    all_states = at_once(world.kept.deliveries(number, [sequence for _, sequence, _ in answered]))
    for (event, sequence, body), states in zip(answered, all_states, strict=True):
        had = {n for n, s in subscriptions.items() if (s, sequence) in world.judge.takes}
        excused = had | {n for n in subscriptions if False in world.judge.meant(channel, n, body)}
        if is_late := world.judge.may_have_expired(channel, body):
            excused |= subscriptions.keys()
        if world.kept.is_gone(number, sequence):
            _gone(
                world, channel, sequence, [s for n, s in subscriptions.items() if n not in excused]
            )
            continue
        found = at_once(world.kept.find_event(event))
        if found is None or (found.head.sequence, found.channel) != (sequence, number):
            world.kernel.violate("another place than answered", event=event)
        for state in states:
            if not state.replay:
                of = state.subscription
                _judge_state(world, sequence, state, taken=of in had, excused=of in excused)
                if state.state == "expired" and not is_late:
                    world.kernel.violate("LOST: expired, but in time", sequence=sequence)


def _judge_state(
    world: World, sequence: int, state: DeliveryState, *, taken: bool, excused: bool
) -> None:
    """Of a subscription's own delivery.

    Excused is what a target took, or a filter leaves out, or has outlived its time.
    """
    if state.state == "delivered" and not taken:
        world.kernel.violate("LOST: delivered, but no target took it", sequence=sequence)
    if state.state == "skipped" and not excused:
        world.kernel.violate("LOST: skipped, but meant", sequence=sequence)
    if state.state not in ("delivered", "skipped", "expired", *GONE):
        world.kernel.violate("LOST: neither delivered nor dead", sequence=sequence, state=state)
    world.kernel.note(f"ended {state.state}")


def _gone(
    world: World, channel: str, sequence: int, missed_by: Iterable[SubscriptionNumber]
) -> None:
    """It was deleted: then each subscription that should have it does, unless it made room."""
    if world.plan.channels[channel].drop_oldest:
        world.kernel.note("gone, maybe dropped")
        return
    for number in missed_by:
        if world.kept.could_have(number, sequence):
            world.kernel.violate("LOST: deleted undelivered", sequence=sequence)


async def _look_at_replay(world: World, asked: Asked) -> None:
    """All that it selected came again, or is listed as dead, unless somebody stopped it."""
    ended = {r.number for r in at_once(world.kept.replays()) if r.state is ReplayState.DONE}
    if asked.replay.number not in ended:
        return
    listed = _dead(world.kept, asked.replay.subscription)
    for sequence in asked.sequences:
        world.kernel.note("replayed event looked at")
        if sequence not in listed and not _came_again(world, asked, sequence):
            world.kernel.violate(
                "LOST: selected, but not replayed", replay=-asked.replay.number, sequence=sequence
            )


def _came_again(world: World, asked: Asked, sequence: int) -> bool:
    """Whether a replay delivered an event, or had a reason not to."""
    own = world.judge.histories[asked.replay.number, sequence]
    if own.taken or world.kept.is_gone(asked.channel, sequence):
        return True
    if not (own.visits or asked.replay.selection.dead):
        return False
    # It gave up before the subscription did, or the event was not dead any more when it looked.
    takes = world.judge.takes.get((asked.replay.subscription, sequence), ())
    return any(at >= asked.at for at in takes)


async def _nothing_stays(world: World) -> None:
    server = world.server
    assert server is not None
    await _quiet(world, server)
    for reader in server.readers():
        for queue in reader._queues:
            left = queue.under_way, queue.unsettled, len(queue._lanes)
            if any(left) or reader._keys:
                world.kernel.violate("deliveries stay behind", left=left)
    for connection in server.connections:
        session = connection._session
        if (
            session.under_way
            or session._window._bytes
            or session._window._large
            or connection._queued
        ):
            world.kernel.violate("a window stays taken", under_way=session.under_way)
    await _leave(world, world.machines)


async def _quiet(world: World, server: Server) -> None:
    """Wait for the last results, also of stopped replays; connections to nobody are found out.

    What another filter leaves out is settled in the store before its reader comes to it, which is
    once the target is done with what its key has under way. If the target says then that it is gone
    (410), somebody has to resume the subscription once more.
    """
    deadline = world.kernel.now + QUIET_S + world.plan.timeout_s
    await asyncio.sleep(LOOK_S)
    while any(
        link.client.lost or link.up.swallows or link.down.swallows for link in server.links
    ) or any(
        queue.under_way or (queue.unsettled and not queue.stopped)
        for reader in server.readers()
        for queue in reader._queues
    ):
        await asyncio.sleep(LOOK_S)
        await _mend(world)
        if world.kernel.now > deadline:
            world.kernel.violate("connections stay behind", count=len(server.connections))
            return


def watch(world: World) -> None:
    """What must hold at any moment."""
    if world.server is None:
        return
    for reader in world.server.readers():
        epoch, at = world.claims.get(reader.claim.reader, (0, 0.0))
        if reader.claim.epoch < epoch and world.kernel.now - at > GIVEN_UP_S:
            world.kernel.violate("an older claim is served", reader=reader.claim.reader)
        for queue in reader._queues:
            holders = [entry.holder for entry in queue._under_way.values()]
            if any(holder not in reader._sinks._why_held for holder in holders):
                number = reader.subscription.number
                world.kernel.violate("lent to who is gone", subscription=number)


async def _leave(world: World, machines: Sequence[Machine]) -> None:
    for machine in machines:
        machine.retired = True
        machine.stop()
    for machine in machines:
        try:
            async with asyncio.timeout(world.plan.timeout_s + 5):
                await machine.gone()
        except TimeoutError:
            world.kernel.violate("a client does not end", machine=machine.number)
    server = world.server
    assert server is not None
    try:
        async with asyncio.timeout(30):
            await server.stop()
    except (TimeoutError, RelayError) as exc:
        world.kernel.violate("the server does not stop", error=repr(exc))
    for hub in [one.hub for one in server.replicas]:
        claimed = any(joining.number for joining in hub._joins._known.values())
        left = hub.readers, hub.readers._by_channel, hub._peers, hub._forwards
        if any(left) or claimed:
            world.kernel.violate("the hub keeps readers", served=len(hub.readers))
