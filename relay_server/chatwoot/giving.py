"""Gives one conversation to people: the calls of `handoff`, each written down before and after."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from relay_chatwoot.api import Chatwoot, open_chatwoot
from relay_chatwoot.errors import ChatwootError
from relay_chatwoot.handoff import WRITTEN, Made, Recipe, Step, newest, next_move
from relay_chatwoot.steps import carry_out, look
from relay_protocol.times import rfc3339
from relay_server.chatwoot.handed import Handed, Ledger, Watched
from relay_server.clock import Clock
from relay_server.configs import ChatwootLink
from relay_server.errors import EventNotFound, SubscriptionNotFound
from relay_server.store.interface import Store
from relay_server.values import Channel, Subscription, SubscriptionNumber

log = structlog.get_logger()

MAX_TRIES = 10  # of a hand-off whose calls fail; then its conversation waits for its bot
LONGEST_WAIT_S = 60.0  # between two of them, from 1 s on
LABEL = "bot-away"
NOTE = "The bot has not answered since {since}. Please take over."


class Giving:
    """Gives conversations to people.

    Args:
        open_secret: Opens a sealed token.
        given: Told of each with which it is done, by its subscription and key.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        ledger: Ledger,
        open_secret: Callable[[bytes], bytes],
        given: Callable[[SubscriptionNumber, str], None],
    ) -> None:
        self._store = store
        self._clock = clock
        self._ledger = ledger
        self._open_secret = open_secret
        self._given = given

    async def give(
        self, channel: Channel, subscription: Subscription, watched: Watched, link: ChatwootLink
    ) -> None:
        """Take the first of a subscription's queue as far as that goes.

        Raises:
            StoreUnavailable: It cannot be read or written now.
        """
        one = watched.queue[0]
        facts = {
            "channel": channel.name,
            "subscription": subscription.name,
            "conversation": one.key,
        }
        number = subscription.number
        try:
            recipe = await self._recipe(channel, subscription, one)
            token = self._open_secret(link.token).decode()
            async with open_chatwoot(link.url, link.account, token) as chatwoot:
                await self._carry_out(number, channel, watched, chatwoot, link, recipe)
        except (EventNotFound, SubscriptionNotFound):
            watched.drop(one)
            return
        except ChatwootError as exc:
            one.tries += 1
            watched.trouble = str(exc)
            if exc.again and one.tries < MAX_TRIES:
                log.warning("a conversation is not handed over yet", error=str(exc), **facts)
                wait_s = max(min(2.0 ** (one.tries - 1), LONGEST_WAIT_S), exc.retry_after_s)
                watched.again_at = self._clock.monotonic() + wait_s
                return
            log.error("a conversation is not handed over", error=str(exc), **facts)
            await self._ledger.write(number, channel, one, Step.END, Made(True, f"given up: {exc}"))
        else:
            watched.trouble = ""
            if (end := one.made.get(Step.END)) is not None:
                log.warning("a conversation was handed over", how=end.text, **facts)
        if watched.queue and watched.queue[0] is one:
            del watched.queue[0]
        self._given(number, one.key)

    async def _carry_out(
        self,
        number: SubscriptionNumber,
        channel: Channel,
        watched: Watched,
        chatwoot: Chatwoot,
        link: ChatwootLink,
        recipe: Recipe,
    ) -> None:
        """Step by step, each written down before its call and after it, until its bot gets it."""
        one = watched.queue[0]
        talk = await look(chatwoot, one.conversation)
        while Step.END not in one.made and watched.has(one):
            move = next_move(one.made, talk, recipe, link.bot)
            text = move.known
            if text is None:
                begun = Made(False, newest(one.made, talk) if move.step in WRITTEN else "")
                await self._ledger.write(number, channel, one, move.step, begun)
                text = await carry_out(chatwoot, move.step, one.conversation, recipe, one.tries)
            await self._ledger.write(number, channel, one, move.step, Made(True, text))

    async def _recipe(self, channel: Channel, subscription: Subscription, one: Handed) -> Recipe:
        """What is done: always the same of one hand-off, so that what it wrote is found again."""
        if not one.received_at:
            found = await self._store.summaries(channel.number, [one.sequence])
            if not found:
                raise EventNotFound(str(one.sequence))
            one.received_at = found[0].received_at
        config, since = subscription.config, rfc3339(one.received_at)
        note = (config.away_note or NOTE).replace("{since}", since)
        say = config.away_say.replace("{since}", since)
        return Recipe(note, LABEL, say, config.away_team, config.away_user)
