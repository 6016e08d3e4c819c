"""Other replicas: what they change in the same tables, and what this one tells them.

How it works. A thread that writes tells others what it has committed, as `Change`s, by a NOTIFY of
its own: in the transaction that writes it would hold a lock of the whole cluster until the standby
has answered. Here a thread listens, and hands on what it hears to the feed.

A notification may be lost. So what it says may be found otherwise, too:

- **Events.** The thread looks once a second how far each channel is.
- **Catalogue.** Channels, tokens and subscriptions have one *version*, which each transaction that
  changes any of them raises by one. Whoever hears of another version than the next one has missed
  something, or hears it out of turn, and reads all of it; the same look finds it without a word.
- **Claims.** The same look finds what others read, under which epoch; and whoever records under
  an older one is told so by the table.

And it may be told by a stranger: PostgreSQL lets every role that may connect notify, also one that
may read no table. So each notification is signed with the store's identity, which stands in one.

**Who reads what.** A replica writes each `BEAT_S` that it is there. A subscription's claim names
its replica, and it is *read elsewhere* while another one that was there within `ALIVE_S` has it.
The server's own clocks are not asked: it is the database's that counts.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import random
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import msgspec
import structlog

from relay_protocol.errors import RelayError
from relay_server.errors import InvalidValue
from relay_server.store.bodies import BodyKeys, name_of
from relay_server.store.cache import Cache
from relay_server.store.feed import (
    Change,
    ChannelChanged,
    ChannelGone,
    Claimed,
    EventsStored,
    Feed,
    ReplaysChanged,
    SubscriptionChanged,
    SubscriptionGone,
    TokenMade,
    TokenRevoked,
)
from relay_server.store.postgres.database import Database
from relay_server.store.postgres.link import Link
from relay_server.store.postgres.spool import Spool
from relay_server.store.postgres.telling import CATALOGUE, KINDS, Told, payloads
from relay_server.store.postgres.turns import ALIVE_S, tell_of
from relay_server.store.sql.catalogue import all_subscriptions, load
from relay_server.store.sql.database import Database as AnyDatabase
from relay_server.store.sql.resealing import take_keys
from relay_server.values import Catalog, Channel, Subscription, SubscriptionNumber, Token

log = structlog.get_logger()

TOPIC = "relay"
SIGNATURE_CHARS = 32  # before what a notification tells
LOOK_S = 1.0  # how often it is looked for what no notification told
BEAT_S = 4.0  # how often a replica says that it is there
MARGIN_S = 3.0  # before that, in which it ends what others may begin then
# For which one that died stays in the list of servers; with something in its spool, the second.
DEAD_S, DEAD_SPOOLED_S = 3_600.0, 2_592_000.0
AGAIN_S = 1.0  # until a lost link is made anew, at the most
ROW_BYTES = 1_024  # that an event takes beside its bytes: its row, indexes, attempts


class _Looked(NamedTuple):
    """What a look found.

    Attributes:
        channels: Number, last sequence and bytes of each, and how many events it has.
        size: Bytes of the database's files.
        elsewhere: What other replicas read, by the claims that they do so.
        others: How many of these there are.
    """

    version: int
    channels: Sequence[tuple[int, int, int, int]]
    size: int
    elsewhere: Sequence[Claimed]
    others: int


class Catalogue(NamedTuple):
    """All of it as of one version, or newer; of version 0 what is remembered of it."""

    version: int
    channels: Sequence[tuple[Channel, int, int]]
    tokens: Sequence[Token]
    subscriptions: Sequence[Subscription]


class Neighbours:
    """The other replicas of a store, as far as one of them knows; its cache has listened before.

    Attributes:
        on_measured: Called each look with what all events take, and the database's files; bytes.
    """

    def __init__(
        self,
        replica: str,
        store: str,
        connect: Callable[[], Link],
        read: Callable[[], Awaitable[Catalogue]],
        known: Catalogue,
        cache: Cache,
        feed: Feed,
        spool: Spool,
        bodies: BodyKeys,
    ) -> None:
        self._replica = replica
        self._store = store.encode()
        self._connect = connect
        self._read = read
        self._cache, self._feed = cache, feed
        self._spool, self._bodies = spool, bodies
        self._loop = asyncio.get_running_loop()
        self._version = known.version
        self._subscriptions = {one.number: one for one in known.subscriptions}
        # What other replicas read, with the epochs of their claims.
        self._elsewhere: dict[SubscriptionNumber, int] = {}
        self._others = 1  # until it is known: to tell nobody costs nothing
        self._stale = False
        self._reading: asyncio.Task[None] | None = None
        feed.listen(SubscriptionChanged, self._subscription_changed)
        feed.listen(SubscriptionGone, self._subscription_gone)
        for kind in CATALOGUE:
            feed.listen(kind, self._outdated)
        self.on_measured: Callable[[int, int], None] = lambda _held, _size: None
        self._heard_at = time.monotonic()
        self._ended = threading.Event()
        self._looked_once = threading.Event()
        self._hears = True  # what others tell; that it does not is said once
        self._link: Link | None = None
        self._thread = threading.Thread(target=self._run, name="relay-neighbours", daemon=True)
        self._thread.start()

    def reads(self, subscription: SubscriptionNumber) -> bool:
        return subscription in self._elsewhere

    @property
    def is_heard(self) -> bool:
        """Whether no other replica takes this one for gone yet."""
        return time.monotonic() - self._heard_at < ALIVE_S - MARGIN_S

    async def begun(self) -> None:
        """Return once the first look is over, and this replica is known to others."""
        await asyncio.to_thread(self._looked_once.wait)

    def tell(self, link: Link, changes: Sequence[Change], version: int | None) -> None:
        """Tell others what was committed; by the link of the thread that did. May be lost."""
        if version is not None:
            self._loop.call_soon_threadsafe(self._versioned, version, ())
        if not self._others:
            return
        try:
            for payload in payloads(self._replica, changes, version):
                link.notify(TOPIC, self._signature(payload) + payload)
        except RelayError as exc:
            log.debug("other replicas were not told", error=str(exc))

    async def close(self) -> None:
        """Listen no more, and let others know that this one is gone."""
        self._ended.set()
        if self._link is not None:
            self._link.abandon()  # it waits to hear something
        await asyncio.to_thread(self._thread.join)
        if self._reading is not None:
            self._reading.cancel()

    # In a thread of its own

    def _run(self) -> None:
        while not self._ended.is_set():
            try:
                self._link = link = self._connect()
                link.script("SET synchronous_commit = off")  # it only says that it is there
                link.listen(TOPIC)
                self._listen(link)
            except RelayError as exc:
                if self._hears and not self._ended.is_set():
                    log.warning("other replicas are not heard", error=str(exc))
                self._hears = False
                self._looked_once.set()
                self._ended.wait(random.uniform(0.1, AGAIN_S))  # noqa: S311  (no secret)
            except Exception as exc:
                log.error("other replicas are not heard", exc_info=exc)
                self._looked_once.set()
                self._ended.wait(AGAIN_S)
            finally:
                if self._link is not None:
                    self._link.close()

    def _listen(self, link: Link) -> None:
        database, look_at, beat_at = Database(link, self._bodies), 0.0, time.monotonic() + BEAT_S
        self._beat(database)
        for folder in self._spool.adopted:
            database.run("forget_adopted", folder=folder)
        [here] = payloads(self._replica, (), None)
        link.notify(TOPIC, self._signature(here) + here)  # from now on others tell it
        if not self._hears:
            log.info("other replicas are heard again")
        self._hears = True
        while not self._ended.is_set():
            now = time.monotonic()
            if now >= beat_at:
                self._beat(database)
                self._heard_at = now  # when it began: the database's clock stands later
                beat_at = now + BEAT_S
            if now >= look_at:
                self._call(self._look, _look(database, self._replica))
                self._looked_once.set()
                look_at = now + LOOK_S
            for payload in link.heard(max(0.0, look_at - time.monotonic())):
                self._call(self._hear, payload)

    def _beat(self, database: Database) -> None:
        if not tell_of(database, self._spool):  # it was away for so long that others forgot it
            take_place(database, self._replica)
            tell_of(database, self._spool)
        database.run("forget_dead", empty_s=DEAD_S, spooled_s=DEAD_SPOOLED_S)

    def _call(self, function: Callable[[Any], None], value: Any) -> None:
        self._loop.call_soon_threadsafe(function, value)

    def _signature(self, told: str) -> str:
        return hmac.digest(self._store, told.encode(), "sha256").hex()[:SIGNATURE_CHARS]

    # In the event loop

    def _hear(self, payload: str) -> None:
        signature, text = payload[:SIGNATURE_CHARS], payload[SIGNATURE_CHARS:]
        if not hmac.compare_digest(signature.encode(), self._signature(text).encode()):
            log.warning("a notification that no server of this store sent is ignored")
            return
        told = msgspec.json.decode(text, type=Told)
        if told.replica == self._replica:
            return
        self._others = max(1, self._others)
        if told.changes is None:
            self._look_again()
            return
        changes = [msgspec.json.decode(raw, type=KINDS[kind]) for kind, raw in told.changes]
        if told.version is not None:
            self._versioned(told.version, changes)
            return
        for change in changes:
            if isinstance(change, Claimed) and change.reader > 0:
                self._elsewhere[change.reader] = change.epoch
            self._feed.tell(change)

    def _versioned(self, version: int, changes: Iterable[Change]) -> None:
        """The catalogue has a version: with the next one these changes, with any other more."""
        if version != self._version + 1:
            self._look_again()
            return
        self._version = version
        for change in changes:
            self._feed.tell(change)

    def _look(self, looked: _Looked) -> None:
        self._others = looked.others
        known, self._elsewhere = self._elsewhere, {c.reader: c.epoch for c in looked.elsewhere}
        for claim in looked.elsewhere:
            if known.get(claim.reader, 0) < claim.epoch:
                self._feed.tell(claim)
        for number, last, size, _ in looked.channels:
            held = self._cache.of(number)
            if held is not None:
                held.bytes = size
                if last > held.last:
                    self._feed.tell(EventsStored(number, last))
        self.on_measured(
            sum(size + n * ROW_BYTES for _, _, size, n in looked.channels), looked.size
        )
        if looked.version != self._version:
            self._look_again()

    def _look_again(self) -> None:
        """Read all of the catalogue, once what is being read is read."""
        self._stale = True
        if self._reading is None or self._reading.done():
            self._reading = self._loop.create_task(self._catch_up())

    async def _catch_up(self) -> None:
        while self._stale:
            self._stale = False
            try:
                found = await self._read()
            except RelayError:
                return  # the next look finds it again
            if not self._stale:  # else it may be older than what was heard meanwhile
                self._become(found)
                self._stale = False

    def _become(self, found: Catalogue) -> None:
        for change in (*differences(self._cache.catalog, found), *self._moved(found)):
            self._feed.tell(change)
        self._version = found.version

    def _moved(self, found: Catalogue) -> Iterator[Change]:
        """How its subscriptions differ from those that are known."""
        now = {one.number: one for one in found.subscriptions}
        yield from [SubscriptionGone(n) for n in self._subscriptions if n not in now]
        for number, subscription in now.items():
            if _as_set(self._subscriptions.get(number)) != _as_set(subscription):
                yield SubscriptionChanged(subscription)
                yield ReplaysChanged(number)

    def _outdated(self, _: Change) -> None:
        """What is being read may not have it yet."""
        self._stale = True

    def _subscription_changed(self, change: SubscriptionChanged) -> None:
        self._subscriptions[change.subscription.number] = change.subscription

    def _subscription_gone(self, change: SubscriptionGone) -> None:
        self._subscriptions.pop(change.subscription, None)


def differences(known: Catalog, found: Catalogue) -> Iterator[Change]:
    """How channels and tokens differ from those that are known."""
    channels = {channel.name: channel for channel, _, _ in found.channels}
    for name, channel in known.channels.items():
        if name not in channels or channels[name].number != channel.number:
            yield ChannelGone(channel)
    yield from [ChannelChanged(c) for name, c in channels.items() if known.channels.get(name) != c]
    tokens = {token.digest: token for token in found.tokens}
    yield from [TokenRevoked(t.name) for digest, t in known.tokens.items() if digest not in tokens]
    yield from [TokenMade(t) for digest, t in tokens.items() if digest not in known.tokens]


def read_catalogue(database: Database) -> Catalogue:
    """All of it. The version first: what is read after it is as new, or newer."""
    version = database.value("version")
    channels, tokens = load(database)
    return Catalogue(version, channels, tokens, all_subscriptions(database))


def take_place(database: Database, replica: str) -> None:
    """Be one of those that have the store open, so that each opens what the others seal.

    Raises:
        BodyKeyMissing: Not every stored body can be opened.
        InvalidValue: Another replica could not open what this one seals.
    """
    database.begin()
    try:
        take_keys(database)
        current = database.bodies.current
        for name, keys, _ in database.all("keys_of_others", replica=replica, alive_s=ALIVE_S):
            if current not in json.loads(keys):
                raise InvalidValue(
                    f"{name} runs on this store and has not the key {name_of(current)}: give it to"
                    " all servers first, behind the one that they seal by; with none yet, with"
                    " RELAY_SERVER_SEAL_BODIES=off"
                )
        known = json.dumps(sorted(database.bodies.known))
        database.run("take_place", replica=replica, body_keys=known, seals_by=current)
        database.commit()
    except BaseException:
        database.link.rollback()
        raise


def sealed_otherwise(database: AnyDatabase, replica: str) -> bool:
    """Whether another replica stores bodies otherwise than this one."""
    others = database.all("keys_of_others", replica=replica, alive_s=ALIVE_S)
    return any(seals_by != database.bodies.current for _, _, seals_by in others)


def raise_version(database: Database) -> int | None:
    """Raise the catalogue's version if the open transaction changes it."""
    if any(isinstance(change, CATALOGUE) for change in database.changes):
        return int(database.value("raise_version"))
    return None


def _look(database: Database, replica: str) -> _Looked:
    [(version, others)] = database.all("look", replica=replica, alive_s=ALIVE_S)
    claims = database.all("read_elsewhere", replica=replica, alive_s=ALIVE_S)
    channels, size = database.all("how_far"), database.value("database_size")
    return _Looked(version, channels, size, [Claimed(*claim) for claim in claims], others)


def _as_set(subscription: Subscription | None) -> Subscription | None:
    """A subscription without when its reader left, which is no change of it."""
    return None if subscription is None else msgspec.structs.replace(subscription, left_at=None)
