"""What earlier versions wrote is served by this one, all of it."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path

import apsw
import pytest

from relay_server.configs import SenderKind, SubscriptionConfig
from relay_server.people import LastUses
from relay_server.store.sqlite.sql import migrations
from relay_server.store.sqlite.store import FILE_NAME, SqliteStore, open_sqlite
from relay_server.values import Channel, Mark, MarkState, ReplayState, Scope, Subscription
from tests.support.clock import START_MS
from tests.support.events import new_event
from tests.support.stores import weight

STORES = Path(__file__).parents[2] / "fixtures" / "stores"
EVERY = pytest.mark.parametrize("version", range(1, 15))


@asynccontextmanager
async def opened(version: int, tmp_path: Path) -> AsyncIterator[SqliteStore]:
    """A copy of a store that a version wrote, opened by this one."""
    shutil.copyfile(STORES / f"v{version}.db", tmp_path / FILE_NAME)
    store = await open_sqlite(tmp_path)
    try:
        yield store
    finally:
        await store.close()


async def of(store: SqliteStore, name: str) -> tuple[Channel, Subscription]:
    """A subscription to `chatwoot`, and that channel."""
    [found] = [s for s in await store.subscriptions("chatwoot") if s.name == name]
    return store.catalog.channels["chatwoot"], found


def test_a_store_of_each_version_is_kept() -> None:
    versions = []
    for file in sorted(STORES.glob("v*.db"), key=lambda file: int(file.stem[1:])):
        with closing(
            apsw.Connection(
                f"{file.as_uri()}?immutable=1", apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
            )
        ) as db:
            versions.append(db.pragma("user_version"))

    assert versions == list(range(1, len(migrations()) + 1))


@EVERY
async def test_events_are_served_byte_for_byte(version: int, tmp_path: Path) -> None:
    async with opened(version, tmp_path) as store:
        channel, _ = await of(store, "ana")
        events = await store.fetch(channel.number, range(1, 9))
        known = await store.append(channel.number, new_event("Olá 3 🎉".encode(), sender_id="d-3"))
        new = await store.append(channel.number, new_event(sender_id="d-9"))

    assert [e.body.decode() for e in events] == [f"Olá {n} 🎉" for n in range(1, 9)]
    assert {e.head.request.headers for e in events} == {((b"X-A", b"\xff"),)}
    assert (known.duplicate, known.sequence, new.sequence) == (True, 3, 9)


@EVERY
async def test_the_catalogue_is_as_it_was(version: int, tmp_path: Path) -> None:
    async with opened(version, tmp_path) as store:
        [token] = store.catalog.tokens.values()
        other = store.catalog.channels["other"].config
        ordinary = store.catalog.channels["chatwoot"].config

    assert (token.name, token.scopes, token.channels) == ("root", frozenset(Scope), None)
    assert (other.sender, other.allow_from) == (SenderKind.OTHER, ("203.0.113.0/24",))
    assert other.hmac is not None
    assert (other.hmac.secrets, other.hmac.log_only) == ((b"sealed",), True)
    assert (ordinary.dead_days, ordinary.drop_oldest) == (30.0, False)
    assert ordinary.policy.other_tries == 3


@EVERY
async def test_subscriptions_go_on_where_they_were(version: int, tmp_path: Path) -> None:
    async with opened(version, tmp_path) as store:
        channel, ana = await of(store, "ana")
        claim = await store.claim(ana.number)
        [ana_status] = await store.subscription_status([ana.number])
        [[state, *_]] = await store.deliveries(channel.number, [4])

    assert ana.config == SubscriptionConfig()
    assert claim is not None
    assert (claim.epoch, claim.progress.floor) == (2, 3)
    assert claim.progress.marks == (
        Mark(4, MarkState.WAITING, 2, 2, START_MS + 30_000, START_MS, "the target answered 502"),
        Mark(5, MarkState.DELIVERED, 1),
        Mark(6, MarkState.UNDER_WAY, 3),
    )
    assert (ana_status.backlog, ana_status.dead) == (4, 1)
    assert (state.state, [a.status for a in state.attempts]) == ("waiting", [502])


@EVERY
async def test_the_dead_are_kept_for_as_long_as_new_ones(version: int, tmp_path: Path) -> None:
    """Version 1 did not note since when they are: they count as of today."""
    async with opened(version, tmp_path) as store:
        channel, ana = await of(store, "ana")
        [dead] = await store.dead(ana.number, 0, 9)
        early = await store.forget_dead(
            channel.number, START_MS if version == 1 else 0, 9, START_MS
        )
        late = await store.forget_dead(channel.number, 1 << 52, 9, START_MS)

    assert (dead.event.sequence, dead.attempts, dead.reason) == (2, 10, "the target answered 500")
    assert (early, late) == (0, 1)


@EVERY
async def test_what_channels_hold_is_counted(version: int, tmp_path: Path) -> None:
    async with opened(version, tmp_path) as store:
        for channel in store.catalog.channels.values():
            sequences = [o.sequence for o in await store.outlines(channel.number, 0, 99)]
            events = await store.fetch(channel.number, sequences)
            bytes_ = sum(weight(e.head.request, e.body) for e in events)
            [status] = [s for s in await store.channel_status() if s.channel == channel.name]
            assert (status.events, status.bytes) == (len(events), bytes_)
            assert store.usage(channel.number) == bytes_ > 0
            assert status.dropped == (version > 1 and channel.name == "other")
            of_other = {1: 2, 2: 1}.get(version, 3)
            assert len(events) == (8 if channel.name == "chatwoot" else of_other)


@pytest.mark.parametrize("version", [2, 3])
async def test_replays_and_rules_of_version_2(version: int, tmp_path: Path) -> None:
    async with opened(version, tmp_path) as store:
        channel, ana = await of(store, "ana")
        stopped, running = await store.replays(ana.number)
        selected = await store.select(channel.number, running, running.floor, 99)
        claim = await store.claim(running.number)
        [bot] = await store.subscriptions("other")

    assert (stopped.state, stopped.ended_at) == (ReplayState.STOPPED, START_MS + 9)
    assert (running.state, running.floor, running.until) == (ReplayState.RUNNING, 1, 8)
    assert (running.rate_per_s, running.made_by, running.delivered) == (5.0, "root", 1)
    assert [o.sequence for o in selected.outlines] == list(range(2, 9))
    assert claim is not None
    assert [(m.sequence, m.state) for m in claim.progress.marks] == [(3, MarkState.WAITING)]
    assert (bot.config.policy.strict_order, bot.config.paused) == (True, "paused by hand")
    assert bot.config.forward is not None
    assert bot.config.forward.headers == (("X-Key", b"sealed"),)


@EVERY
async def test_what_came_before_is_repeated_and_no_conflict(version: int, tmp_path: Path) -> None:
    """Older versions kept another digest, and no checksum: what they stored cannot be checked."""
    async with opened(version, tmp_path) as store:
        channel, _ = await of(store, "ana")
        later = new_event("Olá 3 🎉".encode(), sender_id="d-3", received_at=1 << 42)
        other = new_event(b"other", sender_id="d-3")
        again, conflict = [await store.append(channel.number, e) for e in (later, other)]
        [first, repeat, other_body] = await store.fetch(
            channel.number, [3, again.sequence, conflict.sequence]
        )
    with closing(apsw.Connection(str(tmp_path / FILE_NAME))) as db:
        checked = db.execute("SELECT count(checksum) FROM events WHERE position > 0").fetchall()

    assert (repeat.repeat_of, repeat.conflict) == (first.head.id, False)
    assert (other_body.repeat_of, other_body.conflict) == (None, True)
    assert (first.damaged, checked) == (False, [(2 if version < 3 else 13,)])


async def test_repeats_of_version_3(tmp_path: Path) -> None:
    async with opened(3, tmp_path) as store:
        number = store.catalog.channels["other"].number
        events = await store.fetch(number, [3, 4])

    assert [(e.head.id, e.repeat_of) for e in events] == [
        ("evt_again_0", None),
        ("evt_again_86400000", "evt_again_0"),
    ]


async def test_what_filters_left_out_of_version_6(tmp_path: Path) -> None:
    async with opened(6, tmp_path) as store:
        channel, only = await of(store, "only")
        found = await store.sift(channel.number, only.number, 0, 9, None)
        [status] = await store.subscription_status([only.number])

    assert [outline.sequence for outline in found.outlines] == [1, 2, 3, 6, 8]
    assert (only.config.filter, status.backlog) == ("olá", 3)


@EVERY
async def test_what_was_used_last_is_known_from_version_13_on(version: int, tmp_path: Path) -> None:
    async with opened(version, tmp_path) as store:
        number = store.catalog.channels["other"].number
        before = await store.last_uses()
        await store.note_uses(LastUses({"root": START_MS}, {}))
        after = await store.last_uses()

    tokens, secrets = {"root": START_MS + 5}, {(number, "0123456789abcdef"): START_MS + 6}
    assert before == (LastUses(tokens, secrets) if version >= 13 else LastUses({}, {}))
    assert after.tokens == (tokens if version >= 13 else {"root": START_MS})


def test_the_first_migration_alone_is_version_1(tmp_path: Path) -> None:
    """The kept file has that very shape, so it stands for every store of version 1."""

    def shape(name: str) -> Sequence[object]:
        sql = "SELECT name, sql FROM sqlite_schema WHERE sql <> '' ORDER BY name"
        with closing(apsw.Connection(str(tmp_path / name))) as db:
            return db.execute(sql).fetchall()

    shutil.copyfile(STORES / "v1.db", tmp_path / "kept.db")
    with closing(apsw.Connection(str(tmp_path / "new.db"))) as db:
        db.execute(migrations()[0])

    assert shape("new.db") == shape("kept.db")


async def test_an_edited_event_goes_to_its_subscription(tmp_path: Path) -> None:
    async with opened(4, tmp_path) as store:
        channel, ana = await of(store, "ana")
        [edited] = await store.list_edited(channel.number, ana.number, None, 9)
        found = await store.replays(ana.number, running=True)

    assert (edited.event.id, edited.edited_from) == ("evt_edited", "evt_1_1")
    assert edited.replay in [replay.number for replay in found if replay.edited]


async def test_what_is_pinned_and_noted_stays_so(tmp_path: Path) -> None:
    async with opened(5, tmp_path) as store:
        channel, _ = await of(store, "ana")
        pinned = await store.pinned(channel.number)
        [noted] = await store.noted(None, 9, START_MS)

    assert pinned == {1: "example"}
    assert (noted.action, noted.what, noted.asked) == ("pin.set", "evt_1_1", {"name": "example"})


async def test_an_invitation_stays_open(tmp_path: Path) -> None:
    async with opened(8, tmp_path) as store:
        made = await store.accept(b"e" * 32, b"t" * 32, START_MS)

    assert (made.name, made.channels) == ("eva", frozenset({"chatwoot"}))


@EVERY
async def test_an_answer_says_as_much_as_was_known_of_it(version: int, tmp_path: Path) -> None:
    async with opened(version, tmp_path) as store:
        channel, _ = await of(store, "ana")
        [states] = await store.deliveries(channel.number, [2])
        [own] = [one for one in states if one.subscription == "ana" and not one.replay]

    tries = {one.attempt: one for one in own.attempts}
    assert (tries[10].text, tries[10].size, tries[10].headers) == ("Traceback", None, "")
    if version >= 14:
        assert (tries[11].size, tries[11].headers) == (9, "content-type: text/plain")
