"""Keeps a push for each subscription that the server itself reads.

A forward is to run from `start`, or since the store told that it was made, until it is changed or
deleted. While it is to run, one task makes a push, has the hub claim the subscription for it, waits
until that is gone, and begins again a while later: unless it is gone for good, as after somebody
else took the subscription over. A forward that is changed ends and starts anew; the new push waits
until what the old one had under way is done, or its time is up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from weakref import WeakValueDictionary

import structlog

from relay_http.pool import addresses
from relay_protocol.errors import RelayError
from relay_server.delivery.hub import Hub
from relay_server.delivery.url.allow import Allowlist
from relay_server.delivery.url.push import Gone, Push, Resolve, system_tls
from relay_server.errors import ChannelNotFound, InvalidValue, SubscriptionNotFound
from relay_server.sealing import OpenSealed
from relay_server.store.feed import ChannelGone, Feed, SubscriptionChanged, SubscriptionGone
from relay_server.values import Subscription, SubscriptionNumber

log = structlog.get_logger()

ELSEWHERE = "another server of this store runs it"
ELSEWHERE_LOOK_S = 1.0  # how often it is looked whether that one is gone
START_AGAIN_S = 5.0  # until a forward that could not start is started again
TRY_S = 10.0  # for a new forward to begin and to connect once, before whoever made it is answered
GRACE_S = 10.0  # for what is under way to a URL that gets nothing more; then it comes again


@dataclass(slots=True, eq=False)
class _Kept:
    """A forward that is to run.

    Attributes:
        grace_s: What is under way gets so long at the end.
        begun: Its push has a reader.
    """

    subscription: Subscription
    why: str = "it is starting"
    push: Push | None = None
    grace_s: float = GRACE_S
    task: asyncio.Task[None] | None = None
    begun: asyncio.Event = field(default_factory=asyncio.Event)

    def facts(self) -> dict[str, str]:
        return {"channel": self.subscription.channel, "subscription": self.subscription.name}


class Forwards:
    """Every forward of this server.

    Args:
        open_sealed: Gives a header's value back.
    """

    def __init__(
        self,
        hub: Hub,
        allowlist: Allowlist,
        open_sealed: OpenSealed,
        *,
        resolve: Resolve = addresses,
    ) -> None:
        self._hub = hub
        self._allowlist = allowlist
        self._open_sealed = open_sealed
        self._resolve = resolve
        self._kept: dict[SubscriptionNumber, _Kept] = {}
        self._ending: set[asyncio.Task[None]] = set()  # of those that are kept no more
        self._unlisten: list[Callable[[], None]] = []
        # A new push of a subscription waits for the end of the one before; a lock goes when
        # nobody holds it.
        self._locks: WeakValueDictionary[SubscriptionNumber, asyncio.Lock] = WeakValueDictionary()

    def follow(self, feed: Feed) -> None:
        """From now on start, change and end forwards as their subscriptions do."""
        self._unlisten += [
            feed.listen(SubscriptionChanged, self._subscription_changed),
            feed.listen(SubscriptionGone, lambda change: self._drop(change.subscription)),
            feed.listen(ChannelGone, self._channel_gone),
        ]

    @property
    def running(self) -> frozenset[SubscriptionNumber]:
        """The subscriptions that a push reads now, whether or not its target is there."""
        return frozenset(n for n, kept in self._kept.items() if kept.push and not kept.why)

    def why_waiting(self, number: SubscriptionNumber) -> str:
        """Why a forward delivers nothing; empty when it delivers, or is not to run at all."""
        kept = self._kept.get(number)
        if kept is None:
            return ""
        return kept.why or (kept.push.why_waiting if kept.push else "")

    def tried(self, number: SubscriptionNumber) -> bool:
        """True once its target was connected to, or was tried and was not there."""
        kept = self._kept.get(number)
        return bool(kept and kept.push and kept.push.tried)

    async def try_target(self, number: SubscriptionNumber) -> None:
        """Have a forward connect once to its target, and post nothing; it ends within `TRY_S`."""
        kept = self._kept.get(number)
        with suppress(TimeoutError):
            async with asyncio.timeout(TRY_S):
                if kept is not None:
                    await kept.begun.wait()
                    if kept.push is not None:
                        await kept.push.try_target()

    def start(self, subscription: Subscription) -> None:
        """Read a subscription from now on; nothing happens for one that is read already."""
        before = self._kept.get(subscription.number)
        if before is not None and before.task is not None and not before.task.done():
            return
        kept = _Kept(subscription)
        self._kept[subscription.number] = kept
        name = f"forward {subscription.number}"
        kept.task = asyncio.create_task(self._keep(kept), name=name)

    async def close(self, grace_s: float = GRACE_S) -> None:
        """Stop all of them at once; those that were ending already get no more time."""
        while self._unlisten:
            self._unlisten.pop()()
        for task in self._ending:
            task.cancel()
        for number in list(self._kept):
            self._drop(number, grace_s)
        await asyncio.gather(*self._ending, return_exceptions=True)

    def _subscription_changed(self, change: SubscriptionChanged) -> None:
        subscription, kept = change.subscription, self._kept.get(change.subscription.number)
        forward = subscription.config.forward
        if forward is None or (kept and kept.subscription.config.forward == forward):
            return  # whether it is paused, and its policy, are the reader's matter
        self._drop(subscription.number)
        self.start(subscription)

    def _channel_gone(self, change: ChannelGone) -> None:
        for number, kept in list(self._kept.items()):
            if kept.subscription.channel == change.channel.name:
                self._drop(number)

    def _drop(self, number: SubscriptionNumber, grace_s: float = GRACE_S) -> None:
        """Read it no more, without waiting: what is under way gets so many seconds to end."""
        kept = self._kept.pop(number, None)
        if kept is None or kept.task is None:
            return
        kept.grace_s = grace_s
        self._ending.add(kept.task)
        kept.task.add_done_callback(self._ending.discard)
        kept.task.cancel()

    async def _keep(self, kept: _Kept) -> None:
        """Start a push, again and again, until it is gone for good or the task is cancelled."""
        async with self._locks.setdefault(kept.subscription.number, asyncio.Lock()):
            while True:
                await self._wait_while_elsewhere(kept)
                gone = await self._once(kept)
                if gone.reason != kept.why:
                    again = gone.back_after_s is not None
                    log.warning("forward stopped", reason=gone.reason, again=again, **kept.facts())
                kept.why = gone.reason
                if gone.back_after_s is not None:
                    await asyncio.sleep(gone.back_after_s)
                elif not self._hub.read_elsewhere(kept.subscription.number):
                    return

    async def _wait_while_elsewhere(self, kept: _Kept) -> None:
        """One replica runs a forward; the others take it over once that is gone."""
        while self._hub.read_elsewhere(kept.subscription.number):
            kept.why = ELSEWHERE
            await asyncio.sleep(ELSEWHERE_LOOK_S)

    async def _once(self, kept: _Kept) -> Gone:
        """Live through one push."""
        try:
            return await self._read(kept)
        except (ChannelNotFound, SubscriptionNotFound) as exc:
            return Gone(str(exc))
        except RelayError as exc:
            return Gone(str(exc), START_AGAIN_S)
        except Exception as exc:
            log.error("a forward failed", exc_info=exc, **kept.facts())
            return Gone("the server met an error", START_AGAIN_S)
        finally:
            await self._end(kept)

    async def _read(self, kept: _Kept) -> Gone:
        config = kept.subscription.config.forward
        if config is None:
            raise InvalidValue(f"{kept.subscription.name!r} is no forward")
        if config.url.lower().startswith("https:"):
            await asyncio.to_thread(system_tls)
        push = Push(config, self._allowlist, self._open_sealed, resolve=self._resolve)
        kept.push = push
        reader = await self._hub.join_forward(push, kept.subscription)
        push.attach(reader)
        kept.why = ""
        self._hub.start(reader, push)
        kept.begun.set()
        log.info("forward started", target=push.host, **kept.facts())
        return await push.until_gone()

    async def _end(self, kept: _Kept) -> None:
        kept.begun.clear()
        push, kept.push = kept.push, None
        if push is not None:
            try:
                await push.close(kept.grace_s)
            finally:
                self._hub.remove(push)
