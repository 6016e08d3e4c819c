"""A bot: what comes is judged and written down, and then it is answered.

    async with Bot(reply, settings) as bot:
        answer = await bot.handle(headers, body)  # of each webhook; 200 once it is written down

A webhook is answered 200 when what it asks for is in the ledger: so the relay need not hold it
while a model thinks, and a customer's second message can join the first one's answer. From there on
the ledger keeps the promise: see `ledger`, and for what is done and what can fail, `turns`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from typing import Self

from relay_chatwoot.api import open_chatwoot
from relay_chatwoot.errors import (
    ChatwootError,
    ChatwootTokenRefused,
    NotAdministrator,
    NotInAccount,
)
from relay_chatwoot.handoff import PENDING
from relay_chatwoot.resources import Conversation, Message
from relay_chatwoot.signature import Signatures
from relay_chatwoot.steps import Desk, look
from relay_client.chatwoot.answering import (
    MESSAGE,
    Identity,
    asked_late,
    may_answer,
    people_spoke,
)
from relay_client.chatwoot.events import Event, Key, MessageEvent, parse
from relay_client.chatwoot.lanes import Lanes
from relay_client.chatwoot.ledger import Ledger, LedgerUnusable, Turn
from relay_client.chatwoot.memory import Memory, line_of
from relay_client.chatwoot.metrics import Metrics
from relay_client.chatwoot.settings import BotSettings
from relay_client.chatwoot.talks import Reply
from relay_client.chatwoot.turns import ALARMS, Turns
from relay_protocol.errors import RelayError
from relay_protocol.text import harmless
from relay_terminal.retold import retold, told
from relay_terminal.words import N_, _

STOP_S = 10.0  # for what is under way when the bot is stopped
PROBE_S = 60.0  # between looks whether Chatwoot takes the token again
PRUNE_S = 3_600.0  # between prunings of the ledger

# The hints of these are for whoever sets webhooks up, with a token of their own.
OF_TOKENS = (ChatwootTokenRefused, NotAdministrator, NotInAccount)
HINT = N_("CHATWOOT_TOKEN is to be the bot's own, from Chatwoot's Settings, Bots: Access token.")

TAKEN, REPEAT, IGNORED = "taken", "repeat", "ignored"

log = logging.getLogger("relay.bot")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a bot answers to a webhook.

    Attributes:
        status: 200 if it is written down, or asks for nothing; 400, 401 or 503.
        code: For programs: `taken`, `repeat` or `ignored`; or of the refusal.
        did: What was done and why, for people.
        event: The webhook, unless it was refused.
    """

    status: int
    code: str
    did: str
    event: Event | None = None


class Printed:
    """Stands in for a Chatwoot as long as there is no access to one: what would be done is told."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say

    async def conversation(self, id_: int) -> Conversation:
        """Still the bot's, for all that is known."""
        return Conversation(id_, PENDING)

    async def write(self, id_: int, content: str, *, private: bool) -> Message:
        """Tell it."""
        told = (
            _("#{number}  would note: {text}") if private else _("#{number}  would answer: {text}")
        )
        self._say(told.format(number=id_, text=harmless(content)))
        return Message(0)

    async def labels(self, id_: int) -> tuple[str, ...]:
        """None is known."""
        return ()

    async def set_labels(self, id_: int, labels: Sequence[str]) -> tuple[str, ...]:
        """Tell it."""
        told = _("#{number}  would label: {labels}")
        self._say(told.format(number=id_, labels=harmless(", ".join(labels))))
        return tuple(labels)

    async def set_status(self, id_: int, status: str) -> str:
        """Tell it."""
        self._say(_("#{number}  would hand over to people").format(number=id_))
        return status

    async def assign(self, id_: int, *, team: int | None = None, user: int | None = None) -> None:
        """Tell it."""
        told = _("#{number}  would assign: {whom}")
        self._say(told.format(number=id_, whom=f"team {team}" if team else f"user {user}"))

    async def typing(self, id_: int, on: bool) -> None:
        """Nobody sees it."""


class Bot:
    """Answers the customers of a Chatwoot with a function; used as a context manager.

    Args:
        reply: Finds the answer.
        settings: How it runs.
        say: Prints a line about each webhook and each answer.
        desk: Speaks to an account, instead of the Chatwoot of the settings.
        now: Unix seconds.

    Raises:
        LedgerUnusable: By `async with`: the ledger cannot be opened.
    """

    def __init__(
        self,
        reply: Reply,
        settings: BotSettings,
        *,
        say: Callable[[str], None] = log.info,
        desk: Callable[[int], Desk] | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.settings = settings
        self.metrics = Metrics()
        self._alarms: dict[int, str] = {}
        self._reply = reply
        self._print = say
        self._given_desk = desk
        self._now = now
        self._signatures = Signatures(settings.secrets, settings.tolerance_s)
        self._stopping = False
        self._open = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as opening:
            self.ledger = Ledger(self.settings.ledger)
            opening.callback(self.ledger.close)
            self.memory = Memory(self.ledger)
            self._desk = self._given_desk or await self._to_chatwoot(opening)
            turns = Turns(
                *(self.ledger, self._reply, self._desk, self.settings, self.metrics),
                alarm=self._alarmed,
                say=self.say,
                now=self._now,
            )
            self._lanes = Lanes(self.ledger, turns.serve, self.settings.at_once, self._now)
            self._tasks = {asyncio.create_task(self._prune())}
            opening.push_async_callback(self._stop)
            self._watch()
            with self.ledger.writing():  # it may be damaged
                self._lanes.wake_all()
            self._open = opening.pop_all()
        return self

    def say(self, line: str) -> None:
        """Print a line; where nobody reads any more, or a disk is full, customers are answered."""
        with suppress(OSError):
            self._print(line)

    @property
    def alarm(self) -> str:
        """Why nothing is sent in an account; empty if all is well."""
        return next(iter(self._alarms.values()), "")

    @property
    def trouble(self) -> str:
        """Why it does not take webhooks, or does not answer them; empty if it does."""
        return _("the bot is being stopped") if self._stopping else self.alarm

    async def __aexit__(self, *_: object) -> None:
        await self._open.aclose()

    async def _to_chatwoot(self, opening: AsyncExitStack) -> Callable[[int], Desk]:
        if not self.settings.url:
            printed = Printed(self.say)
            return lambda account: printed
        chatwoot = await opening.enter_async_context(
            open_chatwoot(self.settings.url, 0, self.settings.token)
        )
        return chatwoot.of

    async def _stop(self) -> None:
        self._stopping = True
        await self._lanes.stop(STOP_S)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _watch(self) -> None:
        self.metrics.owed.set_function(self.ledger.open_turns)
        self.metrics.working.set_function(lambda: self._lanes.working)
        self.metrics.alarm.set_function(lambda: bool(self.alarm))

    # What comes

    async def handle(self, headers: Mapping[str, str], body: bytes) -> Answer:
        """Judge a webhook, and write down what it asks for; the answer is to whoever posted it.

        Args:
            headers: Looked up in any case, as aiohttp's are.
            body: The bytes as they came.
        """
        answer = self._handled(headers, body)
        outcome = "refused" if answer.status >= 400 else answer.code
        self.metrics.webhooks.labels(outcome).inc()
        return answer

    def _handled(self, headers: Mapping[str, str], body: bytes) -> Answer:
        if self._stopping:
            return Answer(503, "stopping", _("the bot is being stopped"))
        if refusal := self._signatures.refusal(headers, body, self._now()):
            return Answer(401, "bad_signature", retold(refusal))
        try:
            event = parse(body)
            with self.ledger.writing():
                answer = self._take(event, body, anew=_is_asked_for_anew(headers))
                if (late := asked_late(event, self.settings.bot)) is not None:
                    answer = self._take(parse(late), late, anew=False)
        except RelayError as exc:  # unreadable; or the ledger cannot take it
            return Answer(exc.status_hint, exc.code, told(exc)[0])
        if answer.code == TAKEN and event.key is not None:
            self._lanes.wake(event.key)
        return answer

    def _take(self, event: Event, body: bytes, *, anew: bool) -> Answer:
        key, now = event.key, self._now()
        if key is None:
            return Answer(200, IGNORED, _("it is about no conversation"), event)
        spoke = self._people_spoke(event, key, now)
        if isinstance(event, MessageEvent):
            self._remember(event, key, now)
        verdict = may_answer(event, Identity(key.account, self.settings.bot), people_spoke=spoke)
        if not verdict or not isinstance(event, MessageEvent):
            return Answer(200, IGNORED, verdict.reason, event)
        due_at = now + self.settings.burst_s
        if self.ledger.take(key, event.message.id, body, now, due_at, anew=anew):
            return Answer(200, TAKEN, _("it is to be answered"), event)
        return Answer(200, REPEAT, _("it was taken before"), event)

    def _people_spoke(self, event: Event, key: Key, now: float) -> bool:
        """Whether people have the conversation, now that this came."""
        before = self.ledger.is_peoples(key)
        after = people_spoke(event, before)
        if after:
            self.ledger.peoples_turn(key, now)
        elif before:
            self.ledger.bots_again(key)
        return after

    def _remember(self, event: MessageEvent, key: Key, now: float) -> None:
        """Keep what was said for replies to come, and what was taken back no longer."""
        message = event.message
        if message.is_deleted:
            self.ledger.withdraw(key.account, message.id)
            self.memory.forget_message(key.account, message.id)
            return
        line = line_of(message, self.settings.bot, now)
        is_new = event.kind == MESSAGE and not self.ledger.is_known(key.account, message.id)
        if line is not None and is_new:  # not of last week's, nor what was forgotten since
            customer = event.conversation.meta.sender
            contact = customer.id if customer is not None else None
            self.memory.note(key, contact, message.id, line.author, line.text, now)

    # The alarm

    def _alarmed(self, turn: Turn, exc: ChatwootError) -> None:
        """Chatwoot does not take the token in an account: nothing is sent there until it does."""
        account = turn.key.account
        if account not in self._alarms:
            self._alarms[account] = told(exc)[0]
            self._lanes.hold(account)
            hint = _(HINT) if isinstance(exc, OF_TOKENS) else exc.hint
            facts = {"hint": hint, "account": account}
            log.critical("nothing is sent: %s", exc, extra=facts)
            task = asyncio.create_task(self._probe(turn.key))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _probe(self, key: Key) -> None:
        while not await self._is_let_in(key):
            pass
        del self._alarms[key.account]
        log.warning("Chatwoot takes the token again", extra={"account": key.account})
        self._lanes.let_go(key.account)

    async def _is_let_in(self, key: Key) -> bool:
        await asyncio.sleep(PROBE_S)
        try:
            await look(self._desk(key.account), key.conversation)
        except ChatwootError as exc:
            return not (exc.again or isinstance(exc, ALARMS))
        return True

    async def _prune(self) -> None:
        while True:
            try:
                self.ledger.prune(self._now())
                self.memory.prune(self._now())
            except LedgerUnusable:
                log.exception("the ledger is not pruned")
            await asyncio.sleep(PRUNE_S)


def _is_asked_for_anew(headers: Mapping[str, str]) -> bool:
    """Whether a person replays this event; later attempts of that replay are repeats again."""
    return headers.get("Relay-Replay") == "1" and headers.get("Relay-Attempt", "1") == "1"
