"""Hands the conversations of a bot that is away to people, and asks who has them once it is back.

A subscription with `away` set to hand over is away once no target of it took anything, came or went
for `away_after_s`. What counts as waiting then are customers' messages, as old as that, of
conversations that were pending when they came. So nothing that a hand-off itself causes (its note,
labels, the opening) is one, and none begins another.

    each `LOOK_S`: what waits ─▶ its conversations, by their first event ─▶ one by one: `handoff`

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
from contextlib import suppress
from dataclasses import dataclass, field

import msgspec
import structlog

from relay_chatwoot.api import Chatwoot, Conversation, open_chatwoot
from relay_chatwoot.errors import ChatwootError, NotForBots
from relay_chatwoot.handoff import PENDING, Made, Step, newest, next_move
from relay_chatwoot.steps import carry_out, look
from relay_protocol.errors import RelayError
from relay_protocol.times import rfc3339
from relay_protocol.values import EventHead
from relay_server.clock import Clock
from relay_server.configs import Away, ChatwootLink
from relay_server.delivery.backoff import StoreBackoff
from relay_server.delivery.hub import Hub
from relay_server.errors import EventNotFound, SubscriptionNotFound
from relay_server.store.feed import Claimed, SubscriptionGone
from relay_server.store.interface import Store
from relay_server.values import (
    HAND_OFF,
    Attempt,
    Channel,
    Event,
    Subscription,
    SubscriptionNumber,
)

log = structlog.get_logger()

LOOK_S = 1.0  # between two looks at who is away
AT_ONCE = 512  # waiting events of one step through what waits
MOST_STEPS = 50  # of one look: some 5,000 events
MAX_TRIES = 10  # of a hand-off whose calls fail; then its conversation waits for its bot
LONGEST_WAIT_S = 60.0  # between two of them, from 1 s on
TURN_S = 10.0  # of a subscription's conversations, before it is another's turn
ASK_S = 300.0  # until it is known who has a conversation; then the bot gets it
MAX_ASKING = 8  # of which Chatwoot is asked at once
FRESH_S = 5.0  # for which what Chatwoot said is true
LABEL = "bot-away"
NOTE = "The bot has not answered since {since}. Please take over."
OK = 200  # of a step that is done


class _Talk(msgspec.Struct):
    status: str = ""


class _Said(msgspec.Struct):
    message_type: str | int = ""
    private: bool = False
    conversation: _Talk = msgspec.field(default_factory=_Talk)


_said = msgspec.json.Decoder(_Said)


@dataclass(slots=True, eq=False)
class _Handed:
    """A conversation that is, or was, handed over.

    Attributes:
        sequence: Of its first event that waited.
        received_at: When that came.
        made: Its steps, as they are written down.
        ended_at: When that was all, in Unix milliseconds; 0 before.
        back_at: When its bot was back; None before.
        verdict: Why the bot is not to get what waited; None before that is known.
        bots: Its bot got it after all.
    """

    key: str
    sequence: int
    received_at: int
    made: dict[Step, Made] = field(default_factory=dict)
    tries: int = 0
    ended_at: int = 0
    back_at: int | None = None
    verdict: str | None = None
    bots: bool = False
    asked_at: float = 0.0
    asking: asyncio.Task[None] | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def conversation(self) -> int:
        return int(self.key.rpartition("/")[2])


@dataclass(slots=True, eq=False)
class _Watched:
    """A subscription whose conversations are handed over while its bot is away."""

    handed: dict[str, _Handed] = field(default_factory=dict)  # by key
    queue: list[_Handed] = field(default_factory=list)
    looked_up_to: int = 0
    again_at: float = 0.0
    trouble: str = ""


class HandOffs:
    """Every subscription that hands over.

    Args:
        open_secret: Opens a sealed token.
    """

    def __init__(
        self, store: Store, hub: Hub, clock: Clock, open_secret: Callable[[bytes], bytes]
    ) -> None:
        self._store = store
        self._hub = hub
        self._clock = clock
        self._open_secret = open_secret
        self._watched: dict[SubscriptionNumber, _Watched] = {}
        self._channels: dict[SubscriptionNumber, Channel] = {}  # of those that hand over
        self._asking = asyncio.Semaphore(MAX_ASKING)
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
            await asyncio.sleep(LOOK_S)
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
            self._drop(watched, one)
            return ""
        if one.bots or (one.back_at is not None and event.received_at > one.back_at):
            return ""
        if one.verdict is not None and self._clock.monotonic() - one.asked_at <= FRESH_S:
            return one.verdict
        if one.asking is None:
            one.asking = asyncio.create_task(self._ask(number, watched, one))
        return None

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
            for key in list(self._watched.pop(number, _Watched()).handed):
                self._hub.go_on(number, key)
        return found

    async def _watch(self, number: SubscriptionNumber) -> _Watched:
        if (watched := self._watched.get(number)) is not None:
            return watched
        watched = _Watched()
        for key, step in await self._store.steps(number):
            one = watched.handed.get(key)
            if one is None or one.sequence != step.sequence:
                one = watched.handed[key] = _Handed(key, step.sequence, 0)
            self._note(one, step)
        watched.queue = [one for one in watched.handed.values() if not one.ended_at]
        self._watched[number] = watched
        return watched

    async def _look_at(self, channel: Channel, subscription: Subscription) -> None:
        link = channel.config.chatwoot
        assert link is not None
        number, after_s = subscription.number, subscription.config.away_after_s
        watched = await self._watch(number)
        if self._hub.silent_s(number) >= after_s:
            await self._find(channel, subscription, watched, link)
        else:  # what was begun is finished; the rest is its bot's
            watched.looked_up_to = 0
            for one in [one for one in watched.queue if not one.made]:
                self._drop(watched, one)
        until = self._clock.monotonic() + TURN_S
        while watched.queue and until > self._clock.monotonic() >= watched.again_at:
            if not watched.queue[0].made and self._hub.silent_s(number) < after_s:
                break  # it is back: the next look leaves the rest to it
            await self._hand_over(channel, subscription, watched, link)

    async def _find(
        self, channel: Channel, subscription: Subscription, watched: _Watched, link: ChatwootLink
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
                one = _Handed(head.key, head.sequence, head.received_at)
                watched.handed[head.key] = one
                watched.queue.append(one)

    async def _waiting(
        self, channel: Channel, subscription: Subscription, watched: _Watched
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

    async def _hand_over(
        self, channel: Channel, subscription: Subscription, watched: _Watched, link: ChatwootLink
    ) -> None:
        """Take the first of the queue as far as that goes."""
        one = watched.queue[0]
        facts = {
            "channel": channel.name,
            "subscription": subscription.name,
            "conversation": one.key,
        }
        number = subscription.number
        try:
            note = await self._note_of(channel, subscription, one)
            token = self._open_secret(link.token).decode()
            async with open_chatwoot(link.url, link.account, token) as chatwoot:
                await self._carry_out(number, channel, one, chatwoot, link, note)
        except (EventNotFound, SubscriptionNotFound):
            self._drop(watched, one)
            return
        except ChatwootError as exc:
            one.tries += 1
            watched.trouble = str(exc)
            if exc.again and one.tries < MAX_TRIES:
                log.warning("a conversation is not handed over yet", error=str(exc), **facts)
                wait_s = min(2.0 ** (one.tries - 1), LONGEST_WAIT_S)
                watched.again_at = self._clock.monotonic() + wait_s
                return
            log.error("a conversation is not handed over", error=str(exc), **facts)
            await self._write(number, channel, one, Step.END, Made(True, f"given up: {exc}"))
        else:
            watched.trouble = ""
            if (end := one.made.get(Step.END)) is not None:
                log.warning("a conversation was handed over", how=end.text, **facts)
        if watched.queue and watched.queue[0] is one:
            del watched.queue[0]
        self._hub.go_on(number, one.key)

    async def _carry_out(
        self,
        number: SubscriptionNumber,
        channel: Channel,
        one: _Handed,
        chatwoot: Chatwoot,
        link: ChatwootLink,
        note: str,
    ) -> None:
        """Step by step, each written down before its call and after it, until its bot gets it."""
        talk = await look(chatwoot, one.conversation)
        while Step.END not in one.made and self._is_handed(number, one):
            move = next_move(one.made, talk, note, link.bot)
            text = move.known
            if text is None:
                begun = Made(False, newest(talk) if move.step is Step.NOTE else "")
                await self._write(number, channel, one, move.step, begun)
                text = await carry_out(chatwoot, move.step, one.conversation, note, LABEL)
            await self._write(number, channel, one, move.step, Made(True, text))

    async def _write(
        self, number: SubscriptionNumber, channel: Channel, one: _Handed, step: Step, made: Made
    ) -> None:
        now, status = self._clock.unix_ms(), OK if made.done else None
        attempt = Attempt(one.sequence, -step, now, 0, HAND_OFF, status, made.text)
        if not made.done:  # at once: its bot's reader must not take it for one that is not begun
            self._note(one, attempt)
        await self._store.note_step(number, channel.number, attempt)
        self._note(one, attempt)

    def _note(self, one: _Handed, attempt: Attempt) -> None:
        step = Step(-attempt.attempt)
        one.made[step] = Made(attempt.status == OK, attempt.text)
        if step is Step.END:
            one.ended_at = attempt.started_at
            one.ended.set()
        if step is Step.BACK:
            one.back_at = attempt.started_at

    async def _note_of(self, channel: Channel, subscription: Subscription, one: _Handed) -> str:
        """What people read: always the same of one hand-off, so that it can be looked for."""
        if not one.received_at:
            found = await self._store.summaries(channel.number, [one.sequence])
            if not found:
                raise EventNotFound(str(one.sequence))
            one.received_at = found[0].received_at
        text = subscription.config.away_note or NOTE
        return text.replace("{since}", rfc3339(one.received_at))

    async def _ask(self, number: SubscriptionNumber, watched: _Watched, one: _Handed) -> None:
        """Find out who has a conversation, and have its bot's reader go on."""
        verdict = ""
        try:
            async with asyncio.timeout(ASK_S):
                await one.ended.wait()
                verdict = await self._who_has(number, watched, one)
        except TimeoutError:
            log.warning("delivered, for it is not known who has it", conversation=one.key)
        except Exception as exc:
            log.error("whose a conversation is is not known", conversation=one.key, exc_info=exc)
        finally:
            one.verdict, one.asked_at, one.asking = verdict, self._clock.monotonic(), None
            if not verdict:  # it stays known: what waited of it is not handed over once more
                one.bots, one.ended_at = True, one.ended_at or self._clock.unix_ms()
                if one in watched.queue:
                    watched.queue.remove(one)
            self._hub.go_on(number, one.key)

    async def _who_has(self, number: SubscriptionNumber, watched: _Watched, one: _Handed) -> str:
        wait_s = 1.0
        if one.back_at is None and (channel := self._channels.get(number)) is not None:
            with suppress(RelayError):  # then it is written down the next time
                await self._write(number, channel, one, Step.BACK, Made(True, "the bot is back"))
        while (channel := self._channels.get(number)) is not None:
            link = channel.config.chatwoot
            assert link is not None
            try:
                talk = await self._see(link, one)
                return "" if talk.status == PENDING else f"people have it: it is {talk.status}"
            except NotForBots:
                return "people were given it" if Step.OPEN in one.made else ""
            except ChatwootError as exc:
                watched.trouble = str(exc)
                if not exc.again:
                    log.warning("delivered, for Chatwoot does not say who has it", error=str(exc))
                    return ""
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, LONGEST_WAIT_S)
        return ""

    async def _see(self, link: ChatwootLink, one: _Handed) -> Conversation:
        token = self._open_secret(link.token).decode()
        async with self._asking, open_chatwoot(link.url, link.account, token) as chatwoot:
            return await chatwoot.conversation(one.conversation)

    def _is_handed(self, number: SubscriptionNumber, one: _Handed) -> bool:
        """False once its bot got it after all."""
        watched = self._watched.get(number)
        return watched is not None and watched.handed.get(one.key) is one and not one.bots

    def _drop(self, watched: _Watched, one: _Handed) -> None:
        if watched.handed.get(one.key) is one:
            del watched.handed[one.key]
        if one in watched.queue:
            watched.queue.remove(one)

    def _claimed(self, change: Claimed) -> None:
        if (watched := self._watched.get(change.reader)) is not None:
            watched.looked_up_to = 0

    def _gone(self, change: SubscriptionGone) -> None:
        self._watched.pop(change.subscription, None)
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
