"""What every store promises of deleting, and of copies."""

from __future__ import annotations

import asyncio
from contextlib import closing
from pathlib import Path

import apsw
import pytest

from relay_server.configs import ChannelConfig
from relay_server.errors import ChannelFull, InvalidValue
from relay_server.store.interface import Store
from relay_server.values import (
    Attempt,
    Channel,
    Mark,
    MarkState,
    Progress,
    Removable,
    ReplayState,
    Selection,
)
from tests.support.clock import START_MS
from tests.support.events import attempt, mark, new_event
from tests.support.stores import (
    Stores,
    aged,
    append_many,
    deliveries,
    make_channel,
    make_replay,
    make_subscription,
    open_test_store,
    record,
    sequences,
    trim,
    weight,
)


async def test_trimming_keeps_what_is_young_and_stops_at_its_limit(
    stores: Stores, store: Store, channel: Channel
) -> None:
    await aged(store, channel, 6)

    first = await trim(store, channel, START_MS + 4, 3)
    rest = await trim(store, channel, START_MS + 4, 3)
    none = await trim(store, channel, START_MS + 4, 3)
    store = await stores.reopen(store)

    assert (first, rest, none) == (3, 1, 0)
    assert await sequences(store, channel) == [5, 6]
    assert (await store.append(channel.number, new_event())).sequence == 7


async def test_a_dropped_body_takes_what_was_answered_to_it(store: Store, channel: Channel) -> None:
    """In replays as well; steps of a hand-off stay, and whatever is of other events."""
    await aged(store, channel, 2)
    ana, claim = await make_subscription(store, name="ana", since=0)
    _, replay = await make_replay(store, ana)
    answered = [
        Attempt(sequence, number, START_MS, 5, "response", 422, "who is João?")
        for sequence, number in ((1, 1), (1, -1), (2, 1))
    ]
    await record(store, claim, Progress(1, attempts=tuple(answered)))
    await record(store, replay, Progress(1, attempts=(answered[0],)))

    dropped = await store.drop_bodies(channel.number, 2 * START_MS, 0, 9)

    assert (dropped.bodies, dropped.needed) == (1, 2)
    states = [await deliveries(store, channel, sequence) for sequence in (1, 2)]
    told = [[a.text for d in one for a in (*d.attempts, *d.steps)] for one in states]
    assert told == [["", "who is João?", ""], ["who is João?"]]
    [event] = await store.fetch(channel.number, [1])
    assert (event.body, event.kept) == (b"", False)


async def test_trimming_keeps_what_somebody_waits_for_and_what_is_dead(
    stores: Stores, store: Store, channel: Channel
) -> None:
    _, ana = await make_subscription(store, name="ana")
    _, bia = await make_subscription(store, name="bia")
    await aged(store, channel, 6)
    store.record(ana, Progress(6))
    await record(
        store, bia, Progress(3, (mark(2, MarkState.DEAD), mark(5)), (attempt(1), attempt(2)))
    )

    trimmed = await trim(store, channel, START_MS * 2, 100)
    store = await stores.reopen(store)

    assert trimmed == 3  # also what is settled above the floor of whoever waits for less
    kept = [s.sequence for s in await store.list_events(channel.number, None, 9)]
    assert kept == [6, 4, 2]
    [_, of_bia] = await deliveries(store, channel, 2)
    assert (of_bia.state, of_bia.attempts) == ("dead", (attempt(2),))
    assert (await deliveries(store, channel, 1))[1].attempts == ()


async def test_a_late_subscriber_does_not_keep_what_is_not_for_it(
    store: Store, channel: Channel
) -> None:
    await aged(store, channel, 3)
    await make_subscription(store)
    await store.append(channel.number, new_event())

    assert await trim(store, channel, START_MS * 2, 100) == 3


async def test_a_backup_overwrites_nothing(store: Store, channel: Channel, tmp_path: Path) -> None:
    file = tmp_path / "there.db"
    file.write_bytes(b"mine")

    with pytest.raises(InvalidValue):
        await store.backup(file)
    with pytest.raises(InvalidValue):
        await store.backup(tmp_path / "no" / "such" / "folder.db")

    assert file.read_bytes() == b"mine"


async def test_old_events_are_trimmed_behind_dead_ones(store: Store) -> None:
    """What is dead and kept must not hide what is old behind it."""
    channel = await make_channel(store)
    _, claim = await make_subscription(store)
    for n in range(6):
        await store.append(channel.number, new_event(received_at=START_MS + n))
    await record(store, claim, Progress(6, (mark(1, MarkState.DEAD), mark(2, MarkState.DEAD))))

    assert await trim(store, channel, START_MS + 4, 2) == 2
    assert await trim(store, channel, START_MS + 4, 2) == 0


async def recounted(store: Store, channel: Channel) -> tuple[int, int]:
    """Events and bytes, counted one by one."""
    events = await store.fetch(channel.number, await sequences(store, channel))
    return len(events), sum(weight(e.head.request, e.body) for e in events)


async def counted(store: Store, channel: Channel) -> tuple[int, int]:
    """Events and bytes, as the store says."""
    [status] = [s for s in await store.channel_status() if s.channel == channel.name]
    assert status.bytes == store.usage(channel.number)
    return status.events, status.bytes


async def test_what_a_channel_holds_is_known_without_counting(
    stores: Stores, store: Store, channel: Channel
) -> None:
    other = await make_channel(store, "other")
    _, claim = await make_subscription(store)
    await store.append(other.number, new_event(b"x" * 99))
    for n in range(6):
        await store.append(channel.number, new_event(b"y" * n, sender_id=f"d-{n}"))
    await store.append(channel.number, new_event(b"y" * 3, sender_id="d-3"))  # known
    await record(store, claim, Progress(4))
    assert await counted(store, channel) == await recounted(store, channel)

    assert await store.remove(channel.number, [1, 2, 6, 77]) == 2
    assert await store.drop_oldest(channel.number, 1) == 1
    assert await counted(store, channel) == await recounted(store, channel)
    store = await stores.reopen(store)

    assert await counted(store, channel) == await recounted(store, channel)
    assert (await counted(store, channel))[0] == 3
    assert (await counted(store, other))[0] == 1
    assert store.usage(4_711) == 0


async def test_a_channel_is_full_at_the_byte(
    stores: Stores, store: Store, channel: Channel
) -> None:
    """What is refused is not stored; what is known already needs no room."""
    first = await store.append(channel.number, new_event(b"abc", sender_id="d-1"))
    one = store.usage(channel.number)
    await store.change_channel("chatwoot", lambda _: ChannelConfig(max_bytes=2 * one))
    store = await stores.reopen(store)

    with pytest.raises(ChannelFull):
        await store.append(channel.number, new_event(b"abcd"))
    await store.append(channel.number, new_event(b"abc"))
    with pytest.raises(ChannelFull):
        await store.append(channel.number, new_event(b"", sender_id="d-1"))
    again = await store.append(channel.number, new_event(b"abc", sender_id="d-1"))

    assert (again.id, again.duplicate) == (first.id, True)
    assert store.usage(channel.number) == 2 * one
    await store.drop_oldest(channel.number, 1)
    assert (await store.append(channel.number, new_event(b"abc"))).sequence == 3
    await store.change_channel("chatwoot", lambda _: ChannelConfig(max_bytes=None))
    await store.append(channel.number, new_event(b"x" * 9_999))


async def test_many_at_once_do_not_overfill_a_channel(store: Store, channel: Channel) -> None:
    await store.append(channel.number, new_event(b"abc"))
    limit = 3 * store.usage(channel.number)
    await store.change_channel("chatwoot", lambda _: ChannelConfig(max_bytes=limit))

    posts = (store.append(channel.number, new_event(b"abc")) for _ in range(50))
    answers = await asyncio.gather(*posts, return_exceptions=True)

    assert sum(isinstance(answer, ChannelFull) for answer in answers) == 48
    assert store.usage(channel.number) == limit
    await store.drop_oldest(channel.number, 9)
    await store.append(channel.number, new_event(b"abc"))


async def test_dropping_the_oldest_passes_every_floor_and_is_counted(
    stores: Stores, store: Store, channel: Channel
) -> None:
    """Only what somebody still needed counts as dropped."""
    ana, claim = await make_subscription(store, name="ana")
    await append_many(store, channel, 8)
    marks = (
        mark(2, MarkState.DEAD),
        mark(3),
        mark(4, MarkState.WAITING),
        mark(6),
        mark(7, MarkState.DEAD),
    )
    await record(store, claim, Progress(1, marks, (attempt(2), attempt(7))))

    assert await store.drop_oldest(channel.number, 5) == 5
    store = await stores.reopen(store)
    again = await store.claim(ana.number)
    [status] = await store.subscription_status()
    [channel_status] = await store.channel_status()

    assert await sequences(store, channel) == [6, 7, 8]
    assert again is not None
    assert again.progress == Progress(5, (mark(6), mark(7, MarkState.DEAD)))
    assert (status.backlog, status.dead) == (1, 1)
    assert channel_status.dropped == 3  # 2, 4 and 5: 1 and 3 everybody had
    assert (await deliveries(store, channel, 2))[0].attempts == ()
    assert await store.drop_oldest(4_711, 5) == 0


async def test_no_more_is_deleted_than_is_needed(store: Store, channel: Channel) -> None:
    """Large events are few: a number of them alone would take all there are."""
    for _ in range(6):
        await store.append(channel.number, new_event(b"x" * 10_000))
    one = store.usage(channel.number) // 6

    assert await store.drop_oldest(channel.number, 99, one) == 1
    assert await store.drop_oldest(channel.number, 99, one + 1) == 2
    assert await store.remove(channel.number, [4, 5, 6], 1) == 1
    assert await sequences(store, channel) == [5, 6]


async def test_what_was_deleted_is_read_no_more(store: Store, channel: Channel) -> None:
    """Not even out of memory."""
    await append_many(store, channel, 4)
    await store.drop_oldest(channel.number, 2)

    assert [e.head.sequence for e in await store.fetch(channel.number, [1, 2, 3])] == [3]
    assert await sequences(store, channel) == [3, 4]


async def test_the_dead_protect_their_events_and_the_discarded_do_not(
    store: Store, channel: Channel
) -> None:
    subscription, claim = await make_subscription(store)
    await aged(store, channel, 4)
    marks = tuple(Mark(s, MarkState.DEAD, 1, changed_at=START_MS + s) for s in (1, 2, 3))
    await record(store, claim, Progress(4, marks))
    assert await trim(store, channel, START_MS * 2, 9) == 1

    assert await store.discard(subscription.number, [1, 4, 9], START_MS) == 1
    assert await store.discard(subscription.number, [1], START_MS) == 0
    assert await store.discard(4_711, [2], START_MS) == 0
    assert await trim(store, channel, START_MS * 2, 9) == 1
    assert await store.forget_dead(channel.number, START_MS + 2, 9, START_MS) == 0
    assert await store.forget_dead(channel.number, START_MS + 3, 9, START_MS) == 1
    assert await trim(store, channel, START_MS * 2, 9) == 1
    assert await sequences(store, channel) == [3]


async def test_what_may_go_is_asked_again_when_it_goes(store: Store, channel: Channel) -> None:
    """Somebody may have come who needs it."""
    await aged(store, channel, 3)
    found = await store.removable(channel.number, None, 0, 9)
    assert found == Removable((1, 2, 3), None)

    await make_subscription(store, since=START_MS + 1)

    assert await store.remove(channel.number, found.sequences) == 1
    assert await sequences(store, channel) == [2, 3]


async def test_a_look_for_what_may_go_is_bounded_and_goes_on(
    store: Store, channel: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relay_server.store.sql.housekeeping.LOOK_AT", 4)
    _, claim = await make_subscription(store)
    await aged(store, channel, 12)
    await record(store, claim, Progress(0, (mark(6), mark(11), mark(12))))

    found, after, looks = list[int](), 0, 0
    while True:
        some = await store.removable(channel.number, None, after, 1)
        found, looks = [*found, *some.sequences], looks + 1
        if some.looked_up_to is None:
            break
        assert some.looked_up_to > after
        after = some.looked_up_to

    assert found == [6, 11, 12]
    assert looks <= 6


async def test_what_found_no_room_is_remembered_until_some_is_made(
    store: Store, channel: Channel
) -> None:
    await append_many(store, channel, 2)
    size = store.usage(channel.number)
    await store.change_channel("chatwoot", lambda _: ChannelConfig(max_bytes=size + 10_000))
    assert store.refused(channel.number) == 0

    await store.append(channel.number, new_event(b"x" * 9_000))
    for body in (b"x" * 5_000, b"x" * 9_000, b"x" * 7_000, b"never" * 5_000):
        with pytest.raises(ChannelFull):
            await store.append(channel.number, new_event(body))
    assert 9_000 < store.refused(channel.number) < 9_500

    assert await store.remove(channel.number, [1]) == 1
    assert store.refused(channel.number) == 0


async def test_a_replay_still_knows_what_it_delivered_when_the_event_is_gone(
    store: Store, channel: Channel
) -> None:
    await append_many(store, channel, 3)
    subscription, own = await make_subscription(store)
    replay, claim = await make_replay(store, subscription, Selection(first=1))
    store.record(own, Progress(3, (), (attempt(1),)))
    store.record(claim, Progress(3, (), (attempt(1), attempt(2), attempt(3))))
    await store.end_replay(replay.number, ReplayState.DONE, START_MS)

    assert await trim(store, channel, START_MS * 2, 10) == 3
    [now] = await store.replays()
    assert now.delivered == 3
    await store.forget_dead(channel.number, START_MS + 1, 10, START_MS)
    while await store.sweep(10):
        pass
    assert await store.replays() == []


async def test_what_is_left_of_a_deleted_channel_is_known(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel, _other = await make_channel(store, "gone"), await make_channel(store, "stays")
    await append_many(store, channel, 5)
    await append_many(store, _other, 3)

    async def later(_store: Store, _limit: int) -> bool:
        return False

    with monkeypatch.context() as patched:
        patched.setattr(type(store), "sweep", later)
        await store.delete_channel("gone")
    assert await store.left_to_sweep() == 5
    while await store.sweep(2):
        pass
    assert await store.left_to_sweep() == 0


async def test_nothing_is_left_of_what_is_gone(tmp_path: Path) -> None:
    """Neither in a table of subscriptions and replays that were deleted, nor of their channels."""
    async with open_test_store("sqlite", tmp_path) as store:
        for name in ("chatwoot", "other"):
            channel = await make_channel(store, name)
            for reader in ("ana", "bia"):
                subscription, claim = await make_subscription(store, name, reader)
                await append_many(store, channel, 5)
                _, again = await make_replay(store, subscription)
                for one in (claim, again):
                    store.record(one, Progress(1, (mark(2, MarkState.DEAD),), (attempt(2),)))
        for subscription in await store.subscriptions("chatwoot"):
            await store.unsubscribe(subscription.number)
        await store.delete_channel("other")
        while await store.sweep(1):
            pass
        assert await store.sweep(1) is False

    with closing(apsw.Connection(str(tmp_path / "relay.db"))) as connection:
        tables = ["subscriptions", "replays", "deliveries", "attempts", "forgotten", "purges"]
        counts = [connection.execute(f"SELECT count(*) FROM {t}").fetchall() for t in tables]
        events = connection.execute("SELECT DISTINCT position >> 40 FROM events").fetchall()
    assert counts == [[(0,)]] * 6
    assert events == [(1,)]
