"""Whatever is done to it in whatever order, the store on disk is like the one in memory."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from unittest import mock

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from relay_protocol.errors import RelayError
from relay_server.configs import ChannelConfig, SubscriptionConfig
from relay_server.store.interface import Store
from relay_server.store.memory import MemoryStore
from relay_server.store.sqlite import housekeeping, readers
from relay_server.store.sqlite.opening import open_sqlite
from relay_server.values import (
    Attempt,
    Channel,
    Claim,
    Mark,
    MarkState,
    Progress,
    Replay,
    ReplayState,
    Selection,
    Subscription,
)
from tests.support.clock import START_MS
from tests.support.events import new_event, request

T = TypeVar("T")
NAMES = ("a", "b")
HEAD = request("/", ())
SELECTIONS = (
    Selection(),
    Selection(dead=True),
    Selection(sequences=(2, 5, 6)),
    Selection(first=2, last=6),
    Selection(first=9_999),
    Selection(received_from=START_MS + 4),
    Selection(received_before=START_MS + 6),
    Selection(received_from=START_MS + 90_000_000),
    Selection(kind="x", key="1"),
    Selection(text="São"),
    Selection(text="1", dead=True),
)
BODIES = (b"1", b"2" * 40, "São".encode(), rb"S\u00e3o 1")


@dataclass
class Reader:
    """A subscription or a replay in both stores, and the claims to it that were made."""

    channel: str
    pair: tuple[Any, Any]
    replay: bool = False
    claims: list[tuple[Claim, Claim]] = field(default_factory=list)

    def number(self, which: int) -> int:
        return int(self.pair[which].number)


class StoreMachine(RuleBasedStateMachine):
    """Every operation of the interface, done to both."""

    @initialize()
    def start(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.patches = [
            mock.patch.multiple(readers, LOOK_AT=3, LOOK_AT_BODIES=2),
            mock.patch.multiple(housekeeping, LOOK_AT=3),
            mock.patch("relay_server.store.sqlite.readers.MAX_SUBSCRIPTIONS", 3),
            mock.patch("relay_server.store.memory.MAX_SUBSCRIPTIONS", 3),
            mock.patch("relay_server.store.sqlite.readers.MAX_RUNNING_REPLAYS", 2),
            mock.patch("relay_server.store.memory.MAX_RUNNING_REPLAYS", 2),
        ]
        for patch in self.patches:
            patch.start()
        self.runner = asyncio.Runner()
        self.memory = MemoryStore()
        self.disk: Store = self.run(self.open())
        self.channels: dict[str, tuple[Channel, Channel]] = {}
        self.gone: list[tuple[Channel, Channel]] = []
        self.readers: list[Reader] = []
        self.now = START_MS
        self.ids = 0
        self.create_channel("a")

    def teardown(self) -> None:
        if hasattr(self, "runner"):
            self.run(self.disk.close())
            self.runner.close()
            for patch in self.patches:
                patch.stop()
            self.folder.cleanup()

    # Doing it

    async def open(self) -> Store:
        return await open_sqlite(Path(self.folder.name))

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    @property
    def stores(self) -> tuple[Store, Store]:
        return self.memory, self.disk

    def both(self, do: Callable[[Store, int], Awaitable[T]]) -> tuple[T, T] | None:
        """Do the same to both; None if both refused for the same reason."""

        async def attempt(store: Store, which: int) -> T | str:
            try:
                return await do(store, which)
            except RelayError as exc:
                return exc.code

        one = self.run(attempt(self.memory, 0))
        other = self.run(attempt(self.disk, 1))
        if isinstance(one, str) or isinstance(other, str):
            assert one == other
            return None
        return one, other

    def same(self, do: Callable[[Store, int], Awaitable[T]]) -> None:
        """Do it to both, and what they say is the same."""
        found = self.both(do)
        if found is not None:
            assert self.plain(found[0], 0) == self.plain(found[1], 1)

    def plain(self, value: Any, which: int) -> Any:
        """A value without the numbers that a store chooses."""
        match value:
            case Subscription():
                return msgspec.structs.replace(value, number=0)
            case Replay():
                numbers = [r.number(which) for r in self.readers]
                index = numbers.index(value.subscription)
                return msgspec.structs.replace(value, number=0, subscription=index)
            case list() | tuple():
                return [self.plain(one, which) for one in value]
            case msgspec.Struct():
                names = value.__struct_fields__
                hidden = {"replay"} if type(value).__name__ == "DeliveryState" else set()
                fields = {n: getattr(value, n) for n in names if n not in hidden}
                return {
                    n: self.plain(v, which)
                    for n, v in fields.items()
                    if n != "subscription" or not isinstance(v, int)
                }
            case _:
                return value

    def number(self, name: str, which: int) -> int:
        return self.channels[name][which].number

    # Channels, events and subscriptions

    @rule(name=st.sampled_from(NAMES))
    def create_channel(self, name: str) -> None:
        made = self.both(lambda store, _: store.create_channel(name, ChannelConfig(), self.now))
        if made is not None:
            self.channels[name] = made

    @rule(name=st.sampled_from(NAMES), max_bytes=st.sampled_from([None, 200, 400]))
    def set_channel(self, name: str, max_bytes: int | None) -> None:
        config = ChannelConfig(max_bytes=max_bytes)
        self.both(lambda store, _: store.change_channel(name, lambda _: config))

    @rule(name=st.just("b"))
    def delete_channel(self, name: str) -> None:
        self.both(lambda store, _: store.delete_channel(name))
        if name in self.channels:
            self.gone.append(self.channels.pop(name))
            self.readers = [r for r in self.readers if r.channel != name]

    @rule(
        data=st.data(),
        bodies=st.lists(st.sampled_from(BODIES), min_size=1, max_size=4),
        key=st.sampled_from("12"),
        kind=st.sampled_from("xy"),
        sender_id=st.sampled_from([None, None, "d-1", "d-2"]),
        jump=st.sampled_from([1, 1, 1, -3, 7]),
    )
    def append(
        self,
        data: st.DataObject,
        bodies: list[bytes],
        key: str,
        kind: str,
        sender_id: str | None,
        jump: int,
    ) -> None:
        name = data.draw(st.sampled_from(sorted(self.channels)))
        for body in bodies:
            self.now += jump
            self.ids += 1
            event = new_event(
                body,
                id=f"evt_{self.ids:06d}",
                key=key,
                kind=kind,
                received_at=self.now,
                sender_id=sender_id,
                head=HEAD,
            )
            self.same(lambda store, which, e=event: store.append(self.number(name, which), e))  # type: ignore[misc]

    @rule(
        data=st.data(),
        reader=st.sampled_from(["ana", "bia", "cid", "dan"]),
        since=st.sampled_from([None, None, 0, -1, 3]),
    )
    def subscribe(self, data: st.DataObject, reader: str, since: int | None) -> None:
        name = data.draw(st.sampled_from(sorted(self.channels)))
        at = since if since in (None, 0) else self.now + since
        config = SubscriptionConfig(paused=reader)
        made = self.both(lambda store, _: store.subscribe(name, reader, at, self.now, config))
        if made is None:
            return
        (one, created), (other, created_too) = made
        assert created == created_too
        if created:
            self.readers.append(Reader(name, (one, other)))

    @rule(data=st.data())
    @precondition(lambda self: any(not r.replay for r in self.readers))
    def unsubscribe(self, data: st.DataObject) -> None:
        reader = self.draw(data, replay=False)
        numbers = reader.number(0)
        self.both(lambda store, which: store.unsubscribe(reader.number(which)))
        self.readers = [
            r
            for r in self.readers
            if r is not reader and not (r.replay and r.pair[0].subscription == numbers)
        ]

    @rule(data=st.data(), paused=st.sampled_from(["", "the target answered 410"]))
    @precondition(lambda self: any(not r.replay for r in self.readers))
    def change(self, data: st.DataObject, paused: str) -> None:
        reader = self.draw(data, replay=False)

        def pause(config: SubscriptionConfig) -> SubscriptionConfig:
            return msgspec.structs.replace(config, paused=paused)

        self.same(lambda store, which: store.change_subscription(reader.number(which), pause))

    def draw(self, data: st.DataObject, *, replay: bool | None = None) -> Reader:
        wanted = [r for r in self.readers if replay in (None, r.replay)]
        return wanted[data.draw(st.integers(0, len(wanted) - 1))]

    # Progress

    @rule(data=st.data())
    @precondition(lambda self: self.readers)
    def claim(self, data: st.DataObject) -> None:
        reader = self.draw(data)
        claims = self.both(lambda store, which: store.claim(reader.number(which)))
        assert claims is not None
        one, other = claims
        assert (one is None) == (other is None)
        if one is not None and other is not None:
            assert (one.epoch, one.progress.floor) == (other.epoch, other.progress.floor)
            assert one.progress.marks == other.progress.marks
            reader.claims.append((one, other))

    @rule(data=st.data(), stale=st.sampled_from([False, False, False, True]))
    @precondition(lambda self: any(r.claims for r in self.readers))
    def record(self, data: st.DataObject, stale: bool) -> None:
        """What a pump may say: of what is not settled, up to the last event."""
        claimed = [r for r in self.readers if r.claims]
        reader = claimed[data.draw(st.integers(0, len(claimed) - 1))]
        claims = reader.claims[0 if stale else -1]
        progress = self.draw_progress(data, reader)
        for store, claim in zip(self.stores, claims, strict=True):
            store.record(claim, progress)
            if data.draw(st.booleans()):
                store.record(claim, progress)  # twice is harmless

    def draw_progress(self, data: st.DataObject, reader: Reader) -> Progress:
        known = self.memory._readers[reader.number(0)]
        last = self.memory._last[known.channel] if known.replay is None else known.replay.until
        open_ = [
            s
            for s in range(known.floor + 1, last + 1)
            if not (s in known.marks and known.marks[s].state.settled)
        ]
        touched = [s for s in open_ if data.draw(st.booleans())]
        marks = tuple(
            Mark(
                s,
                data.draw(st.sampled_from(list(MarkState))),
                1,
                reason="why",
                changed_at=self.now,
            )
            for s in touched
        )
        marks = tuple(m for m in marks if m.state is not MarkState.DISCARDED)
        settled = {m.sequence for m in marks if m.state.settled}
        rest = [s for s in open_ if s not in settled]
        floor = (rest[0] - 1) if bool(rest) and data.draw(st.booleans()) else known.floor
        attempts = tuple(
            Attempt(
                m.sequence,
                1,
                self.now,
                1,
                "response",
                200 if m.state is MarkState.DELIVERED else 500,
            )
            for m in marks
        )
        return Progress(floor if rest or not marks else last, marks, attempts)

    # Replays

    @rule(data=st.data(), selection=st.sampled_from(SELECTIONS))
    @precondition(lambda self: any(not r.replay for r in self.readers))
    def create_replay(self, data: st.DataObject, selection: Selection) -> None:
        reader = self.draw(data, replay=False)
        made = self.both(
            lambda store, which: store.create_replay(reader.pair[which], selection, 5.0, self.now)
        )
        if made is not None:
            self.readers.append(Reader(reader.channel, made, replay=True))

    @rule(data=st.data(), limit=st.integers(1, 4))
    @precondition(lambda self: any(r.replay for r in self.readers))
    def select(self, data: st.DataObject, limit: int) -> None:
        """All of it, however many looks that takes."""
        reader = self.draw(data, replay=True)

        async def everything(store: Store, which: int) -> list[Any]:
            replay, found = reader.pair[which], list[Any]()
            after = replay.start
            while after < replay.until:
                channel = self.number(reader.channel, which)
                some = await store.select(channel, replay, after, limit)
                assert some.read_up_to > after, "it must come to an end"
                found += some.outlines
                after = some.read_up_to
            return found

        self.same(everything)

    @rule(data=st.data(), state=st.sampled_from([ReplayState.DONE, ReplayState.STOPPED]))
    @precondition(lambda self: any(r.replay for r in self.readers))
    def end_replay(self, data: st.DataObject, state: ReplayState) -> None:
        reader = self.draw(data, replay=True)
        self.same(lambda store, which: store.end_replay(reader.number(which), state, self.now))

    @rule(data=st.data())
    @precondition(lambda self: any(not r.replay for r in self.readers))
    def discard(self, data: st.DataObject) -> None:
        reader = self.draw(data, replay=False)
        sequences = data.draw(st.lists(st.integers(1, 12), max_size=4, unique=True))
        self.same(lambda store, which: store.discard(reader.number(which), sequences, self.now))

    # Keeping house

    @rule(
        data=st.data(),
        age=st.sampled_from([None, 0, 5]),
        limit=st.integers(1, 9),
        enough=st.sampled_from([None, 1, 100]),
    )
    def remove(self, data: st.DataObject, age: int | None, limit: int, enough: int | None) -> None:
        name = data.draw(st.sampled_from(sorted(self.channels)))
        before = None if age is None else self.now - age

        async def look(store: Store, which: int) -> list[int]:
            found, after = list[int](), 0
            while True:
                some = await store.removable(self.number(name, which), before, after, limit)
                found += some.sequences
                if some.looked_up_to is None:
                    return found
                assert some.looked_up_to > after, "it must come to an end"
                after = some.looked_up_to

        looked = self.both(look)
        assert looked is not None
        if before is None:
            assert looked[0] == looked[1]
        else:  # where one is young, the rest may be taken for young
            assert set(looked[1]) <= set(looked[0])
        some = [*looked[1][:limit], *data.draw(st.lists(st.integers(1, 9), max_size=3))]
        wanted = list(dict.fromkeys(some))
        self.same(lambda store, which: store.remove(self.number(name, which), wanted, enough))

    @rule(data=st.data(), limit=st.integers(1, 4), enough=st.sampled_from([None, 1, 100]))
    def drop_oldest(self, data: st.DataObject, limit: int, enough: int | None) -> None:
        name = data.draw(st.sampled_from(sorted(self.channels)))
        self.same(lambda store, which: store.drop_oldest(self.number(name, which), limit, enough))

    @rule(data=st.data(), age=st.sampled_from([0, 4]))
    def forget_dead(self, data: st.DataObject, age: int) -> None:
        name = data.draw(st.sampled_from(sorted(self.channels)))
        before = self.now - age
        self.same(
            lambda store, which: store.forget_dead(
                self.number(name, which), before, 1_000, self.now
            )
        )
        kept = {r.number for r in self.run(self.memory.replays())}
        self.readers = [r for r in self.readers if not r.replay or r.number(0) in kept]

    @rule()
    def sweep(self) -> None:
        while self.run(self.disk.sweep(2)):
            pass

    @rule()
    def reopen(self) -> None:
        self.run(self.disk.close())
        self.disk = self.run(self.open())

    # What must be the same

    @invariant()
    def both_say_the_same(self) -> None:
        if not hasattr(self, "channels"):
            return
        self.same(lambda store, _: store.channel_status())
        self.same(lambda store, _: store.subscriptions())
        self.same(lambda store, _: store.subscription_status())
        self.same(lambda store, _: store.replays())
        self.same(lambda store, _: store.replays(running=True))
        for name in self.channels:
            one, other = (s.usage(self.number(name, w)) for w, s in enumerate(self.stores))
            assert one == other
            self.same(lambda s, w, n=name: s.list_events(self.number(n, w), None, 99))  # type: ignore[misc]
            self.same(lambda s, w, n=name: s.outlines(self.number(n, w), 0, 99))  # type: ignore[misc]
            last = self.memory._last[self.number(name, 0)]
            every = range(1, last + 1)
            self.same(lambda s, w, n=name, e=every: s.deliveries(self.number(n, w), e))  # type: ignore[misc]
        for reader in self.readers:
            if not reader.replay:
                self.same(lambda s, w, r=reader: s.dead(r.number(w), 0, 99))  # type: ignore[misc]

    @invariant()
    def nothing_is_left_of_what_is_gone(self) -> None:
        """Below a floor only what is dead and there, or was, is kept; of gone readers nothing."""
        if not hasattr(self, "channels"):
            return
        for pair in self.gone:
            assert [
                self.run(s.list_events(p.number, None, 9))
                for s, p in zip(self.stores, pair, strict=True)
            ] == [[], []]
            assert self.disk.usage(pair[1].number) == 0
        self.marks_are_those_of_memory()

    def marks_are_those_of_memory(self) -> None:
        self.run(self.disk.flush())

        async def marks(number: int) -> list[Any]:
            def read(db: Any) -> list[Any]:
                return list(db.all("marks_above", reader=number, floor=-1))

            return await self.disk._read(read)  # type: ignore[attr-defined, no-any-return]

        for reader in self.readers:
            known = self.memory._readers[reader.number(0)].marks
            expected = [(s, m.state) for s, m in sorted(known.items())]
            assert [row[:2] for row in self.run(marks(reader.number(1)))] == expected


TestStores = StoreMachine.TestCase
TestStores.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
