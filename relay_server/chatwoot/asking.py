"""Asks who has a conversation that was handed over, once its bot is back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

import structlog

from relay_chatwoot.api import open_chatwoot
from relay_chatwoot.errors import ChatwootError, NotForBots
from relay_chatwoot.handoff import PENDING, Made, Step
from relay_chatwoot.resources import Conversation
from relay_protocol.errors import RelayError
from relay_server.chatwoot.handed import Handed, Ledger, Watched
from relay_server.clock import Clock
from relay_server.configs import ChatwootLink
from relay_server.values import Channel, SubscriptionNumber

log = structlog.get_logger()

ASK_S = 300.0  # until it is known who has a conversation; then the bot gets it
MAX_ASKING = 8  # of which Chatwoot is asked at once
FRESH_S = 5.0  # for which what Chatwoot said is true
MOST_BETWEEN_S = 60.0  # two questions about a conversation, from 1 s on


class Asking:
    """Has it found out who has each conversation whose bot is back.

    Args:
        channel_of: The channel of a subscription; None once that hands nothing over.
        open_secret: Opens a sealed token.
        known: Told of each of which it is known, by its subscription and key.
    """

    def __init__(
        self,
        clock: Clock,
        ledger: Ledger,
        channel_of: Callable[[SubscriptionNumber], Channel | None],
        open_secret: Callable[[bytes], bytes],
        known: Callable[[SubscriptionNumber, str], None],
    ) -> None:
        self._clock = clock
        self._ledger = ledger
        self._channel_of = channel_of
        self._open_secret = open_secret
        self._known = known
        self._at_once = asyncio.Semaphore(MAX_ASKING)

    def verdict(self, number: SubscriptionNumber, watched: Watched, one: Handed) -> str | None:
        """Why the bot is not to get what waited; empty if it is, None while that is asked."""
        if one.verdict is not None and self._clock.monotonic() - one.asked_at <= FRESH_S:
            return one.verdict
        if one.asking is None:
            one.asking = asyncio.create_task(self._ask(number, watched, one))
        return None

    async def _ask(self, number: SubscriptionNumber, watched: Watched, one: Handed) -> None:
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
            self._known(number, one.key)

    async def _who_has(self, number: SubscriptionNumber, watched: Watched, one: Handed) -> str:
        wait_s = 1.0
        if one.back_at is None and (channel := self._channel_of(number)) is not None:
            with suppress(RelayError):  # then it is written down the next time
                await self._ledger.write(
                    number, channel, one, Step.BACK, Made(True, "the bot is back")
                )
        while (channel := self._channel_of(number)) is not None:
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
            wait_s = min(2 * wait_s, MOST_BETWEEN_S)
        return ""

    async def _see(self, link: ChatwootLink, one: Handed) -> Conversation:
        token = self._open_secret(link.token).decode()
        async with self._at_once, open_chatwoot(link.url, link.account, token) as chatwoot:
            return await chatwoot.conversation(one.conversation)
