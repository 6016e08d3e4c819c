"""Every live feed of this server: what changed is gathered, rendered once, and offered to all.

    store's changes ──▶ news ──flush, each 0.1 s──▶ a view's messages ──▶ each of its viewers
                                   ▲        └─▶ told: how far each channel is
                     store.outlines, fetch

**Level, not edge.** A change says that there is something new, and a flush reads what that is: of a
channel all events between what was told and the newest. So a change that is told twice, or with
nothing in it because another replica stored the event, comes to the same. The newest events are in
the store's memory: a live feed costs it no question.

**Nothing missing, nothing twice.** `told` is how far each channel is, the same for all views. A
viewer comes with a position of its own, is first told what lies between (`catch_up`), and joins its
view once it is where that is. Joining and flushing exclude each other (`_turn`). What is left out,
because there is too much of it, is a `gap`, which names it. The state of deliveries is not caught
up on: whoever comes back asks for the events that it shows.

**Edited events** are few, in streams of their own that no position names. A replay brings each, so
where one began it is asked for those that were not told. They are not caught up on, either.

**Out of the way.** Nobody listens while nobody watches. A listener only notes what changed. Bodies
are parsed, filters asked and lines rendered in a thread, once for all who see the same, and at most
`MAX_AT_ONCE` events of a channel a flush. A viewer is written to by its own task.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import accumulate

import structlog

from relay_protocol.errors import RelayError
from relay_server.errors import Busy, InvalidValue, TooManyFeeds
from relay_server.filters.language import Filter
from relay_server.live.deliveries import Deliveries
from relay_server.live.edited import EditedEvents
from relay_server.live.messages import Beat, ChannelChange, SubscriptionChange, frame
from relay_server.live.news import Moved, News
from relay_server.live.positions import MAX_CHANNELS, format_positions
from relay_server.live.rendering import (
    edited_message,
    events_message,
    gap_message,
    render,
    waits_for,
)
from relay_server.live.views import View, Viewer
from relay_server.operations import Parts
from relay_server.operations.channels import channel_view
from relay_server.operations.refused import may_see, refused_group
from relay_server.operations.subscriptions import reading_of
from relay_server.operations.versions import of_all
from relay_server.refusals import Group
from relay_server.store.feed import TokenRevoked
from relay_server.values import (
    Channel,
    ChannelNumber,
    Event,
    ReaderNumber,
    Subscription,
    SubscriptionNumber,
)

log = structlog.get_logger()

MAX_FEEDS = 64  # live feeds at once; more: 503 `busy`
MAX_FEEDS_EACH = 4  # live feeds of one token at once; more: 429 `too_many_feeds`
FLUSH_S = 0.1  # between two looks at what is new, so that much becomes one
BEAT_S = 15.0  # between two signs of life
LOOK_S = 1.0  # between two looks at who is connected
MAX_AT_ONCE = 500  # events of a channel that a feed catches up on; the others are a `gap`
PIECE = 100  # events that are read and rendered at once
PIECE_BYTES = 1_048_576  # of their bodies; one that is larger is read by itself


class Feeds:
    """Who watches, and what they are told."""

    def __init__(self, parts: Parts, count: Callable[[int], object]) -> None:
        self._parts, self._store, self._count = parts, parts.store, count
        self._viewers = dict[Viewer, None]()
        self._views = dict[Hashable, View]()
        self._turn = asyncio.Lock()
        self._wake = asyncio.Event()
        self._news: News | None = None  # while somebody watches
        self._task: asyncio.Task[None] | None = None  # the same
        self._told = dict[ChannelNumber, int]()
        self._subscriptions = dict[SubscriptionNumber, Subscription]()
        self._deliveries = Deliveries(parts.store)
        self._edited = EditedEvents(parts.store)
        self._readings = dict[SubscriptionNumber, Hashable]()  # as they were told last
        self._stopping = False
        parts.store.feed.listen(TokenRevoked, self._token_revoked)

    @contextmanager
    def admitted(self, owner: str) -> Iterator[Viewer]:
        """A viewer of a token's, for as long as its connection lasts.

        Raises:
            Busy: There are as many feeds as there may be, or the server stops.
            TooManyFeeds: The token has as many as it may.
        """
        if self._stopping or len(self._viewers) >= MAX_FEEDS:
            raise Busy
        if sum(viewer.owner == owner for viewer in self._viewers) >= MAX_FEEDS_EACH:
            raise TooManyFeeds
        viewer = Viewer(owner)
        self._viewers[viewer] = None
        self._count(len(self._viewers))
        try:
            yield viewer
        finally:
            del self._viewers[viewer]
            self._count(len(self._viewers))
            self._leave(viewer)

    def stop(self) -> None:
        """Send all away, and let nobody in any more: the next server takes over."""
        self._stopping = True
        for viewer in self._viewers:
            viewer.end("stopping")

    async def positions(
        self, view: View, since: Mapping[str, int] | None
    ) -> dict[ChannelNumber, int]:
        """Where a viewer begins in each of its channels.

        Args:
            view: What it asked for.
            since: What it brought back; None for now. A channel that is not in it was made since.

        Raises:
            InvalidValue: It asks for too many channels.
            StoreUnavailable: The store cannot be read now.
        """
        async with self._turn:
            await self._begin()
            shown = [c for c in self._store.catalog.channels.values() if view.shows(c)]
            if len(shown) > MAX_CHANNELS:
                raise InvalidValue(f"a feed has up to {MAX_CHANNELS} channels: name those you mean")
            if since is None:
                return {c.number: self._told[c.number] for c in shown}
            return {c.number: since.get(c.name, 0) for c in shown}

    async def catch_up(
        self, viewer: Viewer, view: View, at: dict[ChannelNumber, int]
    ) -> AsyncIterator[bytes]:
        """What a viewer missed, in pieces; then it has joined its view, and is offered all else.

        Raises:
            StoreUnavailable: The store cannot be read now.
        """
        looked = dict[ChannelNumber, int]()
        while True:
            async with self._turn:
                for channel in self._store.catalog.channels.values():
                    if view.shows(channel):  # also what was made meanwhile
                        at.setdefault(channel.number, 0)
                        looked.setdefault(channel.number, 0)
                told = self._told
                behind = [n for n in looked if at[n] < told.get(n, 0) and looked[n] < MAX_AT_ONCE]
                if not behind:
                    if view.edited:
                        channels = self._store.catalog.channels.values()
                        await self._edited.begin([c for c in channels if view.shows(c)])
                    self._join(viewer, view, at)
                    return
                up_to = {number: told[number] for number in behind}
            for number in behind:
                limit = min(PIECE, MAX_AT_ONCE - looked[number])
                events, reached = await self._read(number, at[number], up_to[number], limit)
                looked[number] += len(events)
                yield await self._missed(view, at, number, events)
                at[number] = reached

    async def _missed(
        self,
        view: View,
        at: Mapping[ChannelNumber, int],
        number: ChannelNumber,
        events: Sequence[Event],
    ) -> bytes:
        channel = self._channel(number)
        if channel is None:
            return b""
        [lines] = await asyncio.to_thread(render, channel, events, [view.filter])
        return events_message(view.positions(at), channel.name, lines)

    def _join(self, viewer: Viewer, view: View, at: dict[ChannelNumber, int]) -> None:
        """Tell a viewer what it was not told, and where it is; from now on it is told all."""
        for number, told in self._told.items():
            channel = self._channel(number)
            if channel is not None and at.get(number, told) != told:
                viewer.offer(gap_message(view.positions(at), channel.name, told))
                at[number] = told
        viewer.offer(self._beat(view))
        view = self._views.setdefault(view.key, view)
        view.viewers[viewer] = None
        self._want_progress()
        if view.state:
            for subscription in self._subscriptions.values():
                self._readings.setdefault(subscription.number, self._state(subscription))
                if self._shown(view, subscription):
                    viewer.offer(_reading_message(view, subscription))

    def _leave(self, viewer: Viewer) -> None:
        for key, view in list(self._views.items()):
            view.viewers.pop(viewer, None)
            if not view.viewers:
                del self._views[key]
        self._want_progress()
        if not self._viewers:
            self._end()

    async def _begin(self) -> None:
        """Listen, then read what there is; unless that is done."""
        if self._news is not None:
            return
        self._news = News(self._store.feed, self._parts.refusals, self._wake.set)
        for channel in self._store.catalog.channels.values():
            self._told[channel.number] = self._store.newest(channel.number)
        try:
            found = await self._store.subscriptions()
        except BaseException:
            self._end()
            raise
        self._subscriptions = {subscription.number: subscription for subscription in found}
        self._task = asyncio.create_task(self._run(), name="live feed")
        self._task.add_done_callback(self._ended)

    def _end(self) -> None:
        """Nobody watches: forget all, and hear of nothing."""
        if self._news is not None:
            self._news.close()
            self._news = None
        if self._task is not None:
            self._task.cancel()
            self._task = None
        for known in (self._told, self._edited.told, self._subscriptions, self._readings):
            known.clear()

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("the live feed failed: who watches comes anew", exc_info=error)
            for viewer in self._viewers:
                viewer.end("error")

    def _want_progress(self) -> None:
        if self._news is not None:
            self._news.want_progress(any(view.state for view in self._views.values()))

    def _token_revoked(self, change: TokenRevoked) -> None:
        for viewer in self._viewers:
            if viewer.owner == change.name:
                viewer.end("revoked", None)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        look_at, beat_at = loop.time(), loop.time() + BEAT_S
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._wake.wait()
            self._wake.clear()
            await asyncio.sleep(FLUSH_S)
            async with self._turn:
                await self._flush()
                if loop.time() >= look_at:
                    look_at = loop.time() + LOOK_S
                    self._tell_readings(self._subscriptions.values())
            if loop.time() >= beat_at:
                beat_at = loop.time() + BEAT_S
                for view in self._views.values():
                    view.offer(self._beat(view))

    async def _flush(self) -> None:
        """Tell all that is new; what the store cannot say now is asked again."""
        assert self._news is not None
        changes = self._news.take()
        self._subscriptions |= changes.changed
        known = self._subscriptions.keys()
        for channel, gone in changes.channels.values():
            self._tell_channel(channel, gone)
        try:
            for number in changes.stored:
                await self._tell_events(number)
            for name in {self._subscriptions[n].channel for n in changes.replayed & known}:
                await self._tell_edited(name)
            await self._tell_deliveries(changes.moved)
        except RelayError as exc:
            log.warning("a live feed waits for the store", error=str(exc))
            self._news.put_back(changes)
        if changes.too_many:
            self._send_away("too slow", [view for view in self._views.values() if view.state])
        self._tell_gone(changes.gone)
        self._tell_readings(changes.changed.values())
        for view in self._views.values() if changes.refused else ():
            view.offer(_refused_messages(view, changes.refused))

    async def _tell_events(self, number: ChannelNumber) -> None:
        """All events of a channel that were not told; beyond `MAX_AT_ONCE` that there are more."""
        channel, told = self._channel(number), self._told
        if channel is None or number not in told:
            return
        views = [view for view in self._views.values() if view.shows(channel)]
        up_to, looked = self._store.newest(number), 0
        while views and told.get(number, up_to) < up_to and looked < MAX_AT_ONCE:
            events, reached = await self._read(number, told[number], up_to, PIECE)
            looked += len(events)
            states = waits_for(self._readers(channel))
            rendered = await asyncio.to_thread(render, channel, events, _filters(views), states)
            for view, lines in zip(views, rendered, strict=True):
                view.offer(events_message(view.positions(told), channel.name, lines))
            told[number] = reached
        for view in views if told[number] < up_to else ():
            view.offer(gap_message(view.positions(told), channel.name, up_to))
        told[number] = max(told[number], up_to)

    async def _tell_edited(self, name: str) -> None:
        """All edited events of a channel that were not told."""
        channel = self._store.catalog.channels.get(name)
        if channel is None:
            return
        views = [view for view in self._views.values() if view.edited and view.shows(channel)]
        if not views:
            self._edited.forget(channel)
            return
        async for event, states in self._edited.untold(channel):
            rendered = await asyncio.to_thread(render, channel, [event], _filters(views), states)
            for view, lines in zip(views, rendered, strict=True):
                view.offer(edited_message(lines))

    async def _read(
        self, channel: ChannelNumber, after: int, up_to: int, limit: int
    ) -> tuple[Sequence[Event], int]:
        """The next events up to a sequence, as many as are read at once; and how far that is."""
        outlines = await self._store.outlines(channel, after, limit)
        wanted = [outline for outline in outlines if outline.sequence <= up_to]
        sizes = accumulate(outline.size for outline in wanted)
        fitting = max(1, sum(size <= PIECE_BYTES for size in sizes))
        ended = fitting >= len(wanted) and (len(wanted) < limit or not wanted)
        events = await self._store.fetch(channel, [o.sequence for o in wanted[:fitting]])
        return events, up_to if ended else wanted[:fitting][-1].sequence

    async def _tell_deliveries(self, moved: Mapping[tuple[ReaderNumber, int], Moved]) -> None:
        views = [view for view in self._views.values() if view.state]
        told = await self._deliveries.messages(moved, self._subscriptions) if views else {}
        for name, messages in told.items():
            channel = self._store.catalog.channels.get(name)
            for view in views:
                if channel is not None and view.shows(channel):
                    view.offer(messages)

    def _tell_channel(self, channel: Channel, gone: bool) -> None:
        if gone:
            self._told.pop(channel.number, None)
            self._edited.forget(channel)
        else:
            self._told.setdefault(channel.number, 0)
        settings = None if gone else channel_view(self._parts, channel)
        message = frame(ChannelChange(channel.name, settings))
        views = [view for view in self._views.values() if view.shows(channel)]
        for view in views:
            if view.state:
                view.offer(message)
        full = [view for view in views if len(view.positions(self._told)) > MAX_CHANNELS]
        self._send_away("too many channels", full)

    def _tell_gone(self, numbers: Iterable[SubscriptionNumber]) -> None:
        for number in numbers:
            self._readings.pop(number, None)
            subscription = self._subscriptions.pop(number, None)
            if subscription is not None:
                gone = SubscriptionChange(subscription.channel, subscription.name, None)
                for view in self._views.values():
                    if view.state and self._shown(view, subscription):
                        view.offer(frame(gone))

    def _tell_readings(self, subscriptions: Iterable[Subscription]) -> None:
        """Who reads what, where that is not as it was told: only the hub knows who is connected."""
        views = [view for view in self._views.values() if view.state]
        for subscription in subscriptions if views else ():
            number, state = subscription.number, self._state(subscription)
            if number not in self._subscriptions or self._readings.get(number) == state:
                continue
            self._readings[number] = state
            for view in views:
                if self._shown(view, subscription):
                    view.offer(_reading_message(view, subscription))

    def _send_away(self, why: str, views: Iterable[View]) -> None:
        for view in views:
            for viewer in view.viewers:
                viewer.end(why)

    def _state(self, subscription: Subscription) -> Hashable:
        return subscription.config, self._parts.hub.readers.state(subscription.number)

    def _shown(self, view: View, subscription: Subscription) -> bool:
        channel = self._store.catalog.channels.get(subscription.channel)
        return channel is not None and view.shows(channel)

    def _readers(self, channel: Channel) -> list[Subscription]:
        """Its subscriptions, in the order of lists."""
        found = [one for one in self._subscriptions.values() if one.channel == channel.name]
        return sorted(found, key=lambda one: one.name)

    def _channel(self, number: ChannelNumber) -> Channel | None:
        return self._store.catalog.numbered(number)

    def _beat(self, view: View) -> bytes:
        """A sign of life, with where the viewers are."""
        search, lag = self._parts.search, None
        if search is not None:
            shown = [c for c in self._store.catalog.channels.values() if view.shows(c)]
            lag = max([search.lag_ms(channel.number) for channel in shown], default=0)
        position = format_positions(view.positions(self._told))
        version = of_all(view.who) if view.version else None
        return frame(Beat(self._parts.clock.unix_ms(), lag, version), position)


def _filters(views: Iterable[View]) -> list[Filter]:
    return [view.filter for view in views]


def _reading_message(view: View, subscription: Subscription) -> bytes:
    reading = reading_of(view.who, subscription)
    return frame(SubscriptionChange(subscription.channel, subscription.name, reading))


def _refused_messages(view: View, groups: Iterable[Group]) -> bytes:
    """Of what is for a view's viewers to see, and of its channels where it names some."""
    if not view.state:
        return b""
    told = [
        refused_group(view.who, group)
        for group in groups
        if may_see(view.who, group) and (not view.wanted or group.like.channel in view.wanted)
    ]
    return b"".join(map(frame, told))
