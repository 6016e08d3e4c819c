"""Whatever is done to it in whatever order, a store says what a small model of it says."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar
from unittest import mock

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from msgspec.structs import replace

from relay_server.configs import ChannelConfig, SubscriptionConfig
from relay_server.delivery.expiry import expired
from relay_server.errors import (
    ChannelExists,
    ChannelFull,
    ChannelNotFound,
    TooManyReplays,
    TooManySubscriptions,
)
from relay_server.reported import ChannelStatus
from relay_server.spans import Span, gaps, joined
from relay_server.store.sql import catalogue, events, housekeeping, readers
from relay_server.values import (
    Appended,
    Attempt,
    Claim,
    Mark,
    MarkState,
    NewEvent,
    Progress,
    ReplayState,
    Selection,
)
from tests.contract.model import Model, Reader
from tests.support.clock import START_MS
from tests.support.events import new_event, request
from tests.support.stores import MemoryStore, open_in_memory

T = TypeVar("T")
MOST_SUBSCRIPTIONS, MOST_REPLAYS = 3, 2
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
MARKS = [state for state in MarkState if state is not MarkState.DISCARDED]  # that a reader makes


class StoreMachine(RuleBasedStateMachine):
    """Every operation of the interface, done to a store and told to a model."""

    @initialize()
    def start(self) -> None:
        self.database = open_in_memory()
        self.patches = [
            mock.patch.multiple(events, LOOK_AT=3, LOOK_AT_BODIES=2),
            mock.patch.multiple(events, SIFT_LOOK_AT=3, SIFT_AT_ONCE=2, SIFT_BYTES=45),
            mock.patch.multiple(readers, MAX_RUNNING_REPLAYS=MOST_REPLAYS),
            mock.patch.multiple(catalogue, MAX_SUBSCRIPTIONS=MOST_SUBSCRIPTIONS),
            mock.patch.multiple(housekeeping, LOOK_AT=3),
        ]
        for patch in self.patches:
            patch.start()
        self.runner = asyncio.Runner()
        self.store = self.run(self.open())
        self.models: dict[str, Model] = {}
        self.gone: list[int] = []  # numbers of channels
        self.made: dict[int, Any] = {}  # subscriptions and replays, as the store gave them
        self.claims: dict[int, list[Claim]] = {}
        self.now = START_MS
        self.ids = 0
        self.create_channel("a")
        for body in BODIES:
            self.store_event(self.models["a"], body)
        self.add_subscription("a", "ana", 0)

    def teardown(self) -> None:
        if hasattr(self, "runner"):
            self.run(self.store.close())
            self.runner.close()
            for patch in self.patches:
                patch.stop()
            self.database.close()

    async def open(self) -> MemoryStore:
        """Whatever was committed is there; it costs no fsync."""
        return MemoryStore(self.database)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    async def appended(self, channel: int, event: NewEvent) -> Appended:
        return await self.store.append(channel, event)

    def refuses(self, work: Coroutine[Any, Any, Any], error: type[Exception]) -> None:
        """It does not do this."""
        try:
            self.run(work)
        except error:
            return
        raise AssertionError(f"{error.__name__} was not raised")

    def draw_model(self, data: st.DataObject) -> Model:
        return self.models[data.draw(st.sampled_from(sorted(self.models)))]

    def draw(self, data: st.DataObject, *, replay: bool | None = None) -> tuple[Model, Reader]:
        """A reader, and the channel it is of."""
        found = self.readers(replay=replay)
        return found[data.draw(st.integers(0, len(found) - 1))]

    def readers(self, *, replay: bool | None = None) -> list[tuple[Model, Reader]]:
        """Every reader, or only those that are a replay or a subscription."""
        return [
            (model, reader)
            for model in self.models.values()
            for reader in model.readers.values()
            if replay is None or replay == (reader.of is not None)
        ]

    # Channels, events and subscriptions

    @rule(name=st.sampled_from("ab"))
    def create_channel(self, name: str) -> None:
        work = self.store.create_channel(name, ChannelConfig(), self.now)
        if name in self.models:
            self.refuses(work, ChannelExists)
        else:
            self.models[name] = Model(self.run(work).number, ChannelConfig().max_bytes)

    @rule(
        name=st.sampled_from("ab"),
        max_bytes=st.sampled_from([None, 200, 400]),
        window_s=st.sampled_from([0.0, 3_600.0]),
    )
    def change_channel(self, name: str, max_bytes: int | None, window_s: float) -> None:
        config = ChannelConfig(max_bytes=max_bytes, dedupe_window_s=window_s)
        work = self.store.change_channel(name, lambda _: config)
        if name in self.models:
            self.models[name].max_bytes = max_bytes
            self.models[name].dedupes = window_s > 0
            assert self.run(work).config == config
        else:
            self.refuses(work, ChannelNotFound)

    @rule()
    def delete_channel(self) -> None:
        work = self.store.delete_channel("b")
        if "b" in self.models:
            self.run(work)
            self.gone.append(self.models.pop("b").number)
        else:
            self.refuses(work, ChannelNotFound)

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
        model = self.draw_model(data)
        for body in bodies:
            self.now += jump
            self.store_event(model, body, key, kind, sender_id)

    def store_event(
        self,
        model: Model,
        body: bytes,
        key: str = "1",
        kind: str = "x",
        sender_id: str | None = None,
    ) -> None:
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
        sequence, work = model.append(event), self.appended(model.number, event)
        if sequence is None:
            self.refuses(work, ChannelFull)
            return
        stored = model.events[sequence]
        assert self.run(work) == Appended(stored.id, sequence, duplicate=stored is not event)

    @rule(
        data=st.data(),
        name=st.sampled_from(["ana", "bia", "cid", "dan"]),
        since=st.sampled_from([None, None, 0, -1, 3]),
        only=st.sampled_from(["", "kind:x"]),
    )
    def subscribe(self, data: st.DataObject, name: str, since: int | None, only: str) -> None:
        channel = data.draw(st.sampled_from(sorted(self.models)))
        at = since if since in (None, 0) else self.now + since
        self.add_subscription(channel, name, at, only)

    def add_subscription(self, channel: str, name: str, at: int | None, only: str = "") -> None:
        model = self.models[channel]
        config = SubscriptionConfig(paused=name).with_filter(only)
        work = self.store.subscribe(channel, name, at, self.now, config)
        known = [reader for reader in model.subscriptions if reader.name == name]
        if not known and len(model.subscriptions) == MOST_SUBSCRIPTIONS:
            self.refuses(work, TooManySubscriptions)
            return
        subscription, made = self.run(work)
        assert made == (not known)
        if made:
            start = model.start_of(at)
            self.made[subscription.number] = subscription
            reader = Reader(subscription.number, name, start, start, filtered=bool(only))
            model.readers[subscription.number] = reader

    @rule(data=st.data())
    @precondition(lambda self: self.readers(replay=False))
    def unsubscribe(self, data: st.DataObject) -> None:
        model, reader = self.draw(data, replay=False)
        self.run(self.store.unsubscribe(reader.number))
        model.unsubscribe(reader)

    @rule(
        data=st.data(),
        paused=st.sampled_from(["", "the target answered 410"]),
        only=st.sampled_from(["", "kind:x"]),
    )
    @precondition(lambda self: self.readers(replay=False))
    def change(self, data: st.DataObject, paused: str, only: str) -> None:
        _, reader = self.draw(data, replay=False)
        reader.filtered |= bool(only)

        def change(config: SubscriptionConfig) -> SubscriptionConfig:
            return replace(config, paused=paused).with_filter(only)

        self.made[reader.number] = self.run(self.store.change_subscription(reader.number, change))

    # Progress

    @rule(data=st.data())
    @precondition(lambda self: self.readers())
    def claim(self, data: st.DataObject) -> None:
        self.claim_for(self.draw(data)[1])

    def claim_for(self, reader: Reader) -> None:
        claim = self.run(self.store.claim(reader.number))
        assert (claim is None) == (reader.ended_at is not None)
        if claim is not None:
            reader.epoch += 1
            marks = tuple(m for s, m in sorted(reader.marks.items()) if s > reader.floor)
            assert claim == Claim(reader.number, reader.epoch, Progress(reader.floor, marks))
            if reader.of is None:
                assert self.run(self.store.standing(reader.number)) == claim
            self.claims.setdefault(reader.number, []).append(claim)

    @rule(data=st.data(), stale=st.sampled_from([False, False, False, True]))
    @precondition(lambda self: self.readers())
    def record(self, data: st.DataObject, stale: bool) -> None:
        """What a reader may say: of what is not settled, up to the last event."""
        model, reader = self.draw(data)
        self.note_progress(data, model, reader, stale=stale)

    def note_progress(
        self, data: st.DataObject, model: Model, reader: Reader, *, stale: bool = False
    ) -> None:
        if not reader.epoch:
            self.claim_for(reader)
        if not reader.epoch:
            return  # a replay that ended before anybody took it up
        claim = self.claims[reader.number][0 if stale else -1]
        progress = self.draw_progress(data, model, reader)
        for _ in range(data.draw(st.integers(1, 2))):  # twice is harmless
            self.store.record(claim, progress)
        if claim.epoch == reader.epoch and reader.ended_at is None:
            reader.record(progress, model.events)

    def draw_progress(self, data: st.DataObject, model: Model, reader: Reader) -> Progress:
        last = model.last if reader.until is None else reader.until
        waiting = [s for s in range(reader.floor + 1, last + 1) if reader.waits_for(s)]
        marks = tuple(
            Mark(s, data.draw(st.sampled_from(MARKS)), 1, reason="why", changed_at=self.now)
            for s in waiting
            if data.draw(st.booleans())
        )
        skipped, late = list[Span](), list[Attempt]()
        if reader.filtered and waiting and data.draw(st.booleans()):
            first = data.draw(st.integers(reader.floor + 1, last))
            skipped = list(gaps(first - 1, data.draw(st.integers(first, last)), ()))
            if data.draw(st.booleans()):
                within = range(skipped[0].first, skipped[0].last + 1)
                late = [expired(s, 1, self.now) for s in within if s in waiting]
        settled = {m.sequence for m in marks if m.state.settled}
        settled |= {s for span in skipped for s in range(span.first, span.last + 1)}
        rest = [s for s in waiting if s not in settled]
        floor = (rest[0] - 1) if bool(rest) and data.draw(st.booleans()) else reader.floor
        statuses = {m.sequence: 200 if m.state is MarkState.DELIVERED else 500 for m in marks}
        attempts = tuple(
            Attempt(sequence, 1, self.now, 1, "response", status)
            for sequence, status in statuses.items()
        )
        attempts += tuple(late)
        floor = floor if rest or not (marks or skipped) else last
        return Progress(floor, marks, attempts, tuple(skipped))

    @rule(data=st.data(), kind=st.sampled_from([None, "x"]), limit=st.integers(1, 4))
    @precondition(lambda self: self.readers(replay=False))
    def sift(self, data: st.DataObject, kind: str | None, limit: int) -> None:
        """All of it, however many looks that takes."""
        model, reader = self.draw(data, replay=False)
        is_meant = None if kind is None else lambda event: event.head.kind == kind
        found, after, number = list[int](), reader.floor, reader.number
        self.run(self.store.flush())
        while True:
            some = self.run(self.store.sift(model.number, number, after, limit, is_meant))
            found += [outline.sequence for outline in some.outlines]
            if some.read_up_to == after:
                break
            after = some.read_up_to
        assert found == [
            sequence
            for sequence, event in model.events.items()
            if sequence > reader.floor
            and sequence not in reader.skipped
            and kind in (None, event.kind)
        ]

    @rule(data=st.data())
    @precondition(lambda self: self.readers(replay=False))
    def skip(self, data: st.DataObject) -> None:
        model, reader = self.draw(data, replay=False)
        up_to = data.draw(st.integers(0, model.last + 1))
        end = min(up_to, model.last)
        waiting = [s for s in range(reader.floor + 1, end + 1) if reader.waits_for(s)]
        assert self.run(self.store.skip(reader.number, up_to)) == len(waiting)
        if end > reader.floor:
            made, reader.filtered = self.made[reader.number], True
            self.made[reader.number] = replace(made, config=replace(made.config, filtered=True))
            skipped = (Span(reader.floor + 1, end),)
            reader.record(Progress(reader.floor, skipped=skipped), model.events)

    # Replays

    @rule(data=st.data(), selection=st.sampled_from(SELECTIONS))
    @precondition(lambda self: self.readers(replay=False))
    def create_replay(self, data: st.DataObject, selection: Selection) -> None:
        model, reader = self.draw(data, replay=False)
        subscription = self.made[reader.number]
        work = self.store.create_replay(subscription, selection, 5.0, self.now)
        running = [r for r in model.replays if r.of is reader and r.ended_at is None]
        if len(running) == MOST_REPLAYS:
            self.refuses(work, TooManyReplays)
            return
        replay = self.run(work)
        self.made[replay.number] = replay
        model.add_replay(replay)
        assert all(replay.start < s for s in model.selected(model.readers[replay.number]))
        assert replay.until <= model.last
        if data.draw(st.booleans()):
            self.note_progress(data, model, model.readers[replay.number])

    @rule(data=st.data(), limit=st.integers(1, 4))
    @precondition(lambda self: self.readers(replay=True))
    def select(self, data: st.DataObject, limit: int) -> None:
        """All of it, however many looks that takes."""
        model, reader = self.draw(data, replay=True)
        replay = self.made[reader.number]
        found, after = list[int](), replay.start
        while after < replay.until:
            some = self.run(self.store.select(model.number, replay, after, limit))
            assert some.read_up_to > after, "it must come to an end"
            found += [outline.sequence for outline in some.outlines]
            after = some.read_up_to
        assert found == [s for s in model.selected(reader) if s > reader.start]

    @rule(data=st.data(), state=st.sampled_from([ReplayState.DONE, ReplayState.STOPPED]))
    @precondition(lambda self: self.readers(replay=True))
    def end_replay(self, data: st.DataObject, state: ReplayState) -> None:
        _, reader = self.draw(data, replay=True)
        replay = self.run(self.store.end_replay(reader.number, state, self.now))
        reader.end(self.now)
        assert replay.ended_at == reader.ended_at

    @rule(data=st.data(), sequences=st.lists(st.integers(1, 12), max_size=4, unique=True))
    @precondition(lambda self: self.readers(replay=False))
    def discard(self, data: st.DataObject, sequences: list[int]) -> None:
        _, reader = self.draw(data, replay=False)
        dead = [s for s in sequences if reader.state(s) is MarkState.DEAD]
        for sequence in dead:
            reader.mark(sequence, MarkState.DISCARDED, changed_at=self.now)
        assert self.run(self.store.discard(reader.number, sequences, self.now)) == len(dead)

    @rule(data=st.data(), sequences=st.lists(st.integers(1, 12), max_size=4, unique=True))
    @precondition(lambda self: self.readers(replay=False))
    def give_up(self, data: st.DataObject, sequences: list[int]) -> None:
        _, reader = self.draw(data, replay=False)
        tried = [s for s in sequences if (state := reader.state(s)) and not state.settled]
        for sequence in tried:
            reader.mark(sequence, MarkState.DEAD, due_at=0, reason="given up", changed_at=self.now)
        work = self.store.give_up(reader.number, sequences, "given up", self.now)
        assert self.run(work) == len(tried)

    # Keeping house

    @rule(
        data=st.data(),
        age=st.sampled_from([None, 0, 5]),
        limit=st.integers(1, 9),
        enough=st.sampled_from([None, 1, 100]),
    )
    def remove(self, data: st.DataObject, age: int | None, limit: int, enough: int | None) -> None:
        model = self.draw_model(data)
        before = None if age is None else self.now - age
        found = self.look(model, before, limit)
        removable = [
            s
            for s, event in model.events.items()
            if not model.needed(s) and (before is None or event.received_at < before)
        ]
        if before is None:
            assert found == removable
        else:  # where one is young, the rest may be taken for young
            assert set(found) <= set(removable)
        some = [*found[:limit], *data.draw(st.lists(st.integers(1, 9), max_size=3))]
        wanted = list(dict.fromkeys(some))
        removed = self.run(self.store.remove(model.number, wanted, enough))
        assert removed == model.remove(wanted, enough)

    def look(self, model: Model, before: int | None, limit: int) -> list[int]:
        """What may go, however many looks that takes."""
        found, after = list[int](), 0
        while True:
            some = self.run(self.store.removable(model.number, before, after, limit))
            found += some.sequences
            if some.looked_up_to is None:
                return found
            assert some.looked_up_to > after, "it must come to an end"
            after = some.looked_up_to

    @rule(data=st.data(), limit=st.integers(1, 4), enough=st.sampled_from([None, 1, 100]))
    def drop_oldest(self, data: st.DataObject, limit: int, enough: int | None) -> None:
        model = self.draw_model(data)
        dropped = self.run(self.store.drop_oldest(model.number, limit, enough))
        assert dropped == model.drop_oldest(limit, enough)

    @rule(data=st.data(), age=st.sampled_from([0, 4]))
    def forget_dead(self, data: st.DataObject, age: int) -> None:
        model, before = self.draw_model(data), self.now - age
        forgotten = self.run(self.store.forget_dead(model.number, before, 1_000, self.now))
        assert forgotten == model.forget_dead(before, self.now)

    @rule()
    def sweep(self) -> None:
        while self.run(self.store.sweep(2)):
            pass

    @rule()
    def reopen(self) -> None:
        self.run(self.store.close())
        self.store = self.run(self.open())

    # What must be seen

    @invariant()
    def it_says_what_the_model_says(self) -> None:
        for name, model in sorted(getattr(self, "models", {}).items()):
            self.look_at_events(name, model)
            self.look_at_subscriptions(name, model)
            self.look_at_deliveries(model)

    @invariant()
    def nothing_is_left_of_what_is_gone(self) -> None:
        for number in getattr(self, "gone", ()):
            assert self.run(self.store.list_events(number, None, 9)) == []
            assert self.store.usage(number) == 0

    def look_at_events(self, name: str, model: Model) -> None:
        newest = model.events[max(model.events)].received_at if model.events else None
        status = ChannelStatus(name, len(model.events), model.bytes, model.dropped, newest)
        assert status in self.run(self.store.channel_status())
        assert self.store.usage(model.number) == model.bytes
        listed = self.run(self.store.list_events(model.number, None, 99))
        assert [(e.id, e.sequence) for e in reversed(listed)] == [
            (event.id, sequence) for sequence, event in model.events.items()
        ]
        outlines = self.run(self.store.outlines(model.number, 0, 99))
        assert [(o.sequence, o.key, o.size) for o in outlines] == [
            (sequence, event.key, len(event.body)) for sequence, event in model.events.items()
        ]

    def look_at_subscriptions(self, name: str, model: Model) -> None:
        known = [self.made[reader.number] for reader in model.subscriptions]
        assert self.run(self.store.subscriptions(name)) == known
        only = [reader.number for reader in model.subscriptions]
        for reader, status in zip(
            model.subscriptions, self.run(self.store.subscription_status(only)), strict=True
        ):
            waiting = [s for s in range(reader.floor + 1, model.last + 1) if reader.waits_for(s)]
            there = [s for s in waiting if s in model.events]
            dead = [s for s, mark in reader.marks.items() if mark.state is MarkState.DEAD]
            oldest = model.events[there[0]].received_at if there else None
            assert (status.subscription, status.backlog, status.oldest_waiting_at, status.dead) == (
                self.made[reader.number],
                len(waiting),
                oldest,
                len(dead),
            )
            listed = self.run(self.store.dead(reader.number, 0, 99))
            assert [d.event.sequence for d in listed] == [
                s for s in sorted(dead) if s in model.events
            ]
            replays = [r for r in model.replays if r.of is reader]
            self.look_at_replays(reader, replays)

    def look_at_replays(self, of: Reader, replays: list[Reader]) -> None:
        found = self.run(self.store.replays(of.number))
        assert [(r.number, r.floor, r.ended_at or None, r.delivered) for r in found] == [
            (r.number, r.floor, r.ended_at, sum(r.tried.values())) for r in replays
        ]
        running = self.run(self.store.replays(of.number, running=True))
        assert [r.number for r in running] == [r.number for r in replays if r.ended_at is None]

    def look_at_deliveries(self, model: Model) -> None:
        """Of each event, and the marks themselves: below a floor only what lasts is kept."""
        every = range(1, model.last + 1)
        for sequence, states in zip(
            every, self.run(self.store.deliveries(model.number, every)), strict=True
        ):
            had = [r for r in reversed(model.replays) if sequence in {*r.tried, *r.marks}]
            readers = [r for r in model.subscriptions if r.start < sequence] + had
            assert [(s.subscription, -s.replay, s.state) for s in states] == [
                (r.name, r.number if r.of else 0, r.outcome(sequence)) for r in readers
            ]
        self.run(self.store.flush())
        for reader in model.readers.values():
            number = reader.number
            rows = self.database.all("marks_above", reader=number, floor=-1)
            assert [row[:2] for row in rows] == [
                (sequence, mark.state) for sequence, mark in sorted(reader.marks.items())
            ]
            spans = self.spans(number)
            assert spans == joined(spans)
            kept = {s for span in spans for s in range(span.first, span.last + 1)}
            assert {s for s in kept if s > reader.floor} == reader.skipped

    def spans(self, reader: int) -> list[Span]:
        """What is kept as left out by its filters."""
        values = {"readers": f"[{reader}]", "lowest": 0, "highest": 99}
        rows = self.database.all("skips_around", **values)
        return [Span(*span) for _, *span in rows]


TestStores = StoreMachine.TestCase
TestStores.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
