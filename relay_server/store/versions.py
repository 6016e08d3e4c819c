"""How often each channel has changed, counted off the feed: whether an answer is still the same.

A version is known without a question to the store. It changes with a channel's events, its
deliveries and its subscriptions, and with nothing that is another channel's: who may read one
channel alone learns of no other by it. Progress is listened to from the first question on.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter

from relay_protocol.errors import RelayError
from relay_server.store.feed import (
    BodiesDropped,
    ChannelChanged,
    EventsRemoved,
    PinsChanged,
    Progressed,
    ReplaysChanged,
    SubscriptionChanged,
    SubscriptionGone,
)
from relay_server.store.interface import Store
from relay_server.values import ChannelNumber, ReaderNumber

MAX_READERS = 10_000  # whose channels are remembered: each replay is another one


class Versions:
    """The changes of a store's channels, heard from the first question on."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._boot = secrets.token_hex(4)
        self._changes = Counter[ChannelNumber]()
        self._of = dict[ReaderNumber, str]()  # the channel of a subscription or replay, by name
        self._asked_for = dict[ReaderNumber, asyncio.Task[None]]()
        self._listening = False

    def of(self, channel: ChannelNumber) -> str:
        """A text that is another one whenever an answer about a channel may be."""
        self._listen()
        return f"{self._boot}.{self._store.newest(channel)}.{self._changes[channel]}"

    def changed(self, channel: ChannelNumber) -> None:
        """Count a change of what is known of a channel."""
        self._changes[channel] += 1

    def _listen(self) -> None:
        if self._listening:
            return
        self._listening = True
        feed = self._store.feed
        feed.listen(EventsRemoved, lambda change: self.changed(change.channel))
        feed.listen(BodiesDropped, lambda change: self.changed(change.channel))
        feed.listen(PinsChanged, lambda change: self.changed(change.channel))
        feed.listen(ChannelChanged, lambda change: self.changed(change.channel.number))
        feed.listen(SubscriptionChanged, self._subscription_changed)
        feed.listen(SubscriptionGone, self._subscription_gone)
        feed.listen(ReplaysChanged, lambda change: self._reader_changed(change.subscription))
        feed.listen(Progressed, lambda change: self._reader_changed(change.reader))

    def _subscription_changed(self, change: SubscriptionChanged) -> None:
        self._of[change.subscription.number] = change.subscription.channel
        self._reader_changed(change.subscription.number)

    def _subscription_gone(self, change: SubscriptionGone) -> None:
        self._reader_changed(change.subscription)
        self._of.pop(change.subscription, None)

    def _reader_changed(self, reader: ReaderNumber) -> None:
        if (name := self._of.get(reader)) is not None:
            if (channel := self._store.catalog.channels.get(name)) is not None:
                self.changed(channel.number)
        elif reader not in self._asked_for:
            self._asked_for[reader] = asyncio.create_task(self._find_channel(reader))

    async def _find_channel(self, reader: ReaderNumber) -> None:
        """Find out whose a reader is, and count the change that brought it up."""
        try:
            subscription = reader
            if reader < 0:
                subscription = (await self._store.replay(reader)).subscription
            if len(self._of) >= MAX_READERS:
                self._of.clear()
            for one in await self._store.subscriptions():
                self._of[one.number] = one.channel
            if (name := self._of.get(subscription)) is not None:
                self._of[reader] = name
                self._reader_changed(reader)
        except RelayError:
            pass  # it is gone, or the store cannot be asked now: with its next change, then
        finally:
            del self._asked_for[reader]
