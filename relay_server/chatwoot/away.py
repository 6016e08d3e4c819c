"""Hands the conversations of a bot that is away to people, and asks who has them once it is back.

A subscription with `away` set to hand over is away once no target of it took anything, came or went
for `away_after_s`. What counts as waiting then are customers' messages, as old as that, of
conversations that were pending when they came. So nothing that a hand-off itself causes (its note,
labels, the opening) is one, and none begins another.

    each `LOOK_S`: what waits ─▶ its conversations, by their first event ─▶ one by one: `giving`
    a reader's `may_go`: who has it? `asking`

The steps are attempts below 0 of that first event: they are its time line, and what is read again
at the next start. A call that fails and may succeed later is tried again, `MAX_TRIES` times; then,
and at once where Chatwoot refuses, the conversation is given up: it waits for its bot.

Back again, the bot's reader asks before it delivers what waited of such a conversation (`may_go`).
It is told to wait until what was begun is finished and Chatwoot has said who has it; other
conversations go on. Where that takes more than `ASK_S`, the bot gets it, and it is not handed over
any further: what was answered 2xx is not held back for ever, whatever hangs or fails.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec
import structlog

from relay_chatwoot.handoff import PENDING
from relay_protocol.errors import RelayError
from relay_protocol.values import EventHead
from relay_server.chatwoot.asking import Asking
from relay_server.chatwoot.giving import Giving
from relay_server.chatwoot.handed import Handed, Ledger, Watched
from relay_server.clock import Clock, until_next
from relay_server.configs import Away, ChatwootLink
from relay_server.delivery.backoff import StoreBackoff
from relay_server.delivery.hub import Hub
from relay_server.store.feed import Claimed, SubscriptionGone
from relay_server.store.interface import Store
from relay_server.values import Channel, Event, Subscription, SubscriptionNumber

log = structlog.get_logger()

LOOK_S = 1.0  # between two looks at who is away
AT_ONCE = 512  # waiting events of one step through what waits
MOST_STEPS = 50  # of one look: some 5,000 events
TURN_S = 10.0  # of a subscription's conversations, before it is another's turn


class _Talk(msgspec.Struct):
    status: str = ""


class _Said(msgspec.Struct):
    message_type: str | int = ""
    private: bool = False
    conversation: _Talk = msgspec.field(default_factory=_Talk)


_said = msgspec.json.Decoder(_Said)


class HandOffs:
    """Every subscription that hands over."""

    def __init__(
        self, store: Store, hub: Hub, clock: Clock, open_secret: Callable[[bytes], bytes]
    ) -> None:
        self._store = store
        self._hub = hub
        self._clock = clock
        self._watched: dict[SubscriptionNumber, Watched] = {}
        self._channels: dict[SubscriptionNumber, Channel] = {}  # of those that hand over
        self._ledger = Ledger(store, clock)
        self._giving = Giving(store, clock, self._ledger, open_secret, hub.go_on)
        self._asking = Asking(clock, self._ledger, self._channel_of, open_secret, hub.go_on)
        self._backoff = StoreBackoff(clock, "store did not answer where conversations wait")
        self._unlisten = [
            store.feed.listen(Claimed, self._claimed),
            store.feed.listen(SubscriptionGone, self._gone),
        ]

    def handed_over(self, number: SubscriptionNumber) -> int:
        """How many conversations of a subscription people were given, and may have still."""
        watched = self._watched.get(number)
        handed = watched.handed.values() if watched else ()
        return sum(1 for one in handed if one.ended_at and not one.bots)

    def trouble(self, number: SubscriptionNumber) -> str:
        """Why none of a subscription can be handed over now; empty while that is not known."""
        watched = self._watched.get(number)
        return watched.trouble if watched else ""

    async def begin(self) -> None:
        """Read what was handed over before; call this before there are readers.

        Raises:
            StoreUnavailable: It cannot be read now.
        """
        for _, subscription in await self._handing():
            await self._watch(subscription.number)
        self._hub.gate = self.may_go

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            await asyncio.sleep(until_next(LOOK_S, self._clock.monotonic()))
            try:
                await self._backoff.run(self.look)
            except Exception as exc:  # webhooks are taken, and delivered, without
                log.error("nobody looked whose bot is away", exc_info=exc)

    async def close(self) -> None:
        """Ask nobody any more."""
        for unlisten in self._unlisten:
            unlisten()
        asking = [
            one.asking for w in self._watched.values() for one in w.handed.values() if one.asking
        ]
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)

    async def look(self) -> None:
        """Hand over what waits where a bot is away, and finish what was begun.

        Raises:
            StoreUnavailable: It cannot be read or written now.
        """
        for channel, subscription in await self._handing():
            try:
                await self._look_at(channel, subscription)
            except RelayError:
                raise
            except Exception as exc:
                facts = {"channel": channel.name, "subscription": subscription.name}
                log.error("conversations could not be handed over", exc_info=exc, **facts)

    def may_go(self, number: SubscriptionNumber, event: EventHead) -> str | None:
        """Whether an event may be delivered: a reader's `Gate`."""
        watched = self._watched.get(number)
        one = watched.handed.get(event.key) if watched else None
        if watched is None or one is None or number not in self._channels:
            return ""
        if not one.made:  # it is not begun, and need not be any more
            watched.drop(one)
            return ""
        if one.bots or (one.back_at is not None and event.received_at > one.back_at):
            return ""
        return self._asking.verdict(number, watched, one)

    def _channel_of(self, number: SubscriptionNumber) -> Channel | None:
        return self._channels.get(number)

    async def _handing(self) -> list[tuple[Channel, Subscription]]:
        """Those that hand over, and may: their channels have a bot's token."""
        linked = [
            channel
            for channel in self._store.catalog.channels.values()
            if channel.config.chatwoot is not None and channel.config.chatwoot.token
        ]
        found = [
            (channel, subscription)
            for channel in linked
            for subscription in await self._store.subscriptions(channel.name)
            if subscription.config.away is Away.HANDOFF
        ]
        gone = self._channels.keys() - {subscription.number for _, subscription in found}
        self._channels = {subscription.number: channel for channel, subscription in found}
        for number in gone:  # nobody finishes what was begun
            for key in self._watched.pop(number, Watched()).forget():
                self._hub.go_on(number, key)
        return found

    async def _watch(self, number: SubscriptionNumber) -> Watched:
        if (watched := self._watched.get(number)) is not None:
            return watched
        watched = self._watched[number] = await self._ledger.read(number)
        return watched

    async def _look_at(self, channel: Channel, subscription: Subscription) -> None:
        link = channel.config.chatwoot
        assert link is not None
        number, after_s = subscription.number, subscription.config.away_after_s
        watched = await self._watch(number)
        if self._hub.readers.silent_s(number) >= after_s:
            await self._find(channel, subscription, watched, link)
        else:  # what was begun is finished; the rest is its bot's
            watched.looked_up_to = 0
            for one in [one for one in watched.queue if not one.made]:
                watched.drop(one)
        until = self._clock.monotonic() + TURN_S
        while watched.queue and until > self._clock.monotonic() >= watched.again_at:
            if not watched.queue[0].made and self._hub.readers.silent_s(number) < after_s:
                break  # it is back: the next look leaves the rest to it
            await self._giving.give(channel, subscription, watched, link)

    async def _find(
        self, channel: Channel, subscription: Subscription, watched: Watched, link: ChatwootLink
    ) -> None:
        """Put what waits in the queue, from where the last look came to."""
        claim = await self._store.standing(subscription.number)
        if claim is None:
            return
        settled = {m.sequence for m in claim.progress.marks if m.state.settled}
        watched.looked_up_to = max(watched.looked_up_to, claim.progress.floor)
        for head in await self._waiting(channel, subscription, watched):
            account, _, conversation = head.key.partition("/")
            known = watched.handed.get(head.key)
            is_new = known is None or 0 < known.ended_at < head.received_at
            if not is_new or head.sequence in settled:
                continue
            if account == str(link.account) and conversation.isdecimal():
                one = Handed(head.key, head.sequence, head.received_at)
                watched.handed[head.key] = one
                watched.queue.append(one)

    async def _waiting(
        self, channel: Channel, subscription: Subscription, watched: Watched
    ) -> list[EventHead]:
        """Customers' messages that have waited for so long, in order."""
        before = self._clock.unix_ms() - round(subscription.config.away_after_s * 1_000)
        found, young = list[EventHead](), list[int]()

        def look(event: Event) -> bool:
            if event.head.received_at > before:
                young.append(event.head.sequence)
            elif not young and _waits_for_bot(event):
                found.append(event.head)
            return False

        number = subscription.number
        for _ in range(MOST_STEPS):
            after = watched.looked_up_to
            looked = await self._store.sift(channel.number, number, after, AT_ONCE, look)
            watched.looked_up_to = young[0] - 1 if young else looked.read_up_to
            if young or looked.read_up_to == after:
                break
        return found

    def _claimed(self, change: Claimed) -> None:
        if (watched := self._watched.get(change.reader)) is not None:
            watched.looked_up_to = 0

    def _gone(self, change: SubscriptionGone) -> None:
        self._watched.pop(change.subscription, Watched()).forget()
        self._channels.pop(change.subscription, None)


def _waits_for_bot(event: Event) -> bool:
    """Whether it is a customer's message that the bot was to answer."""
    if event.head.kind != "message_created":
        return False
    try:
        said = _said.decode(event.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    is_customers = said.message_type in ("incoming", 0) and not said.private
    return is_customers and said.conversation.status == PENDING
