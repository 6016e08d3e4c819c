"""Takes a turn on: asks for the reply, looks at the conversation once more, sends, or hands over.

What can fail, and what becomes of the turn:

- the reply (an exception, or no end in time): it is asked for again, later each time, and then the
  conversation is handed to people, with the reason in a note;
- Chatwoot for a while (429, 5xx, no answer, or a proxy's): the same call again, until `GIVE_UP_S`
  have gone by, and `LEAST_FAILS` calls: what waited for a token is old before its first one.
  An answer of which nobody knows whether it was sent is looked for in the conversation first;
- Chatwoot for good (422 and other 4xx): handed to people;
- the token (401, 403): an alarm, and no call more until Chatwoot takes it again.

Before an answer is sent, the conversation is looked at: people may have it by now, and then
nothing is said; or the customer wrote on, or deleted what they wrote, and then the reply is thrown
away and asked for again, with what there is now. Where that is nothing, nothing is said either.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping

from relay_chatwoot.errors import (
    ChatwootApiOff,
    ChatwootError,
    ChatwootTokenRefused,
    ChatwootTokenUnseen,
    GoneFromChatwoot,
    NotAdministrator,
    NotInAccount,
)
from relay_chatwoot.handoff import WRITTEN, Made, Recipe, Step, is_own, newest, next_move
from relay_chatwoot.resources import Conversation
from relay_chatwoot.steps import Desk, carry_out, look
from relay_client.chatwoot.answering import Code, Identity, Verdict, may_still_answer
from relay_client.chatwoot.events import MessageEvent, parse
from relay_client.chatwoot.ledger import Ledger, State, Turn
from relay_client.chatwoot.memory import Memory
from relay_client.chatwoot.metrics import Metrics
from relay_client.chatwoot.settings import BotSettings
from relay_client.chatwoot.talks import Reply, Talk, answer_of
from relay_protocol.errors import RelayError
from relay_protocol.text import harmless
from relay_terminal.retold import told
from relay_terminal.words import N_, _

REPLY_WAITS_S = (5.0, 30.0, 120.0)  # after a reply that failed; then people have the conversation
MOST_ROUNDS = 3  # replies of one turn that are thrown away because the customer wrote on
CALL_WAITS_S = (1.0, 2.0, 5.0, 15.0, 60.0)  # after a call that failed for a while; the last again
GIVE_UP_S = 86_400.0  # after a turn's first message, where Chatwoot does not come back
LEAST_FAILS = 10  # of calls in a row before a turn is given up, however old it is
STALE_S = 60.0  # a turn older than this is looked at before its reply is asked for, too
NOTE_CHARS = 1_000  # of a reason in a note
LABEL = "handed-over"  # of conversations that the bot gave to people
NOTE = N_("The bot gives this conversation to you: {reason}")
SAID = {
    State.LEFT: N_("#{number}  not answered: {reason}"),
    State.HANDED: N_("#{number}  handed over to people: {reason}"),
}
ALARMS = (
    ChatwootTokenRefused,
    ChatwootTokenUnseen,
    NotAdministrator,
    NotInAccount,
    ChatwootApiOff,
)

log = logging.getLogger("relay.bot")


class Turns:
    """Serves turns: each call of `serve` takes one on, puts it off, or settles it.

    Args:
        desk: Speaks to an account of a Chatwoot.
        alarm: Called where Chatwoot does not take the token.
        say: Prints a line about how a turn ended.
        now: Unix seconds.
    """

    def __init__(
        self,
        ledger: Ledger,
        reply: Reply,
        desk: Callable[[int], Desk],
        settings: BotSettings,
        metrics: Metrics,
        *,
        alarm: Callable[[Turn, ChatwootError], None],
        say: Callable[[str], None],
        now: Callable[[], float],
    ) -> None:
        self._ledger = ledger
        self._memory = Memory(ledger)
        self._reply = reply
        self._desk = desk
        self._settings = settings
        self._metrics = metrics
        self._alarm = alarm
        self._say = say
        self._now = now

    async def serve(self, turn: Turn) -> None:
        """Do what follows; what fails is put off, or handed to people."""
        try:
            match turn.state:
                case State.SENDING:
                    await self._send(turn)
                case State.HANDING:
                    await self._hand(turn)
                case _:
                    await self._think(turn)
        except ChatwootError as exc:
            self._failed(turn, exc)

    # The reply

    async def _think(self, turn: Turn) -> None:
        messages = self._ledger.messages(turn)
        if not messages:
            self._settle(turn, State.LEFT, _("its messages were deleted"))
        elif turn.tries > len(REPLY_WAITS_S):
            self._hand_over(
                turn, turn.reason or _("the reply was asked for often, and never ended")
            )
        elif not await self._is_left_already(turn, max(messages)):
            await self._ask(self._ledger.think(turn), messages)

    async def _is_left_already(self, turn: Turn, upto: int) -> bool:
        """Look before the reply is asked for, where that comes late: people may have it by now."""
        if self._ledger.is_peoples(turn.key):
            self._settle(turn, State.LEFT, Verdict(Code.HUMAN_SINCE).reason)
            return True
        if self._now() - turn.opened_at < STALE_S:
            return False
        talk = await look(self._desk(turn.key.account), turn.key.conversation)
        verdict = may_still_answer(talk, upto, self._identity(turn))
        if verdict or verdict.code is Code.NEWER_MESSAGE:
            return False
        self._left(turn, verdict, upto)
        return True

    async def _ask(self, turn: Turn, messages: Mapping[int, bytes]) -> None:
        talk = self._talk(turn, messages)
        began = time.monotonic()
        try:
            async with asyncio.timeout(self._settings.reply_s):
                text = answer_of(await self._reply(talk))
        except (KeyboardInterrupt, SystemExit):
            raise
        except ChatwootError as exc:
            self._ledger.put_back(turn, self._now(), tries=turn.tries, reason=_why(exc))
            raise
        # Whatever may be wrong with somebody's function: a task of its own is cancelled, a library
        # in Rust panics.
        except BaseException as exc:
            if _is_stopped():  # in good order: no failure of the reply's
                self._ledger.put_back(turn, self._now(), tries=turn.tries - 1)
                raise
            self._reply_failed(turn, exc)
            return
        finally:
            self._metrics.replies.observe(time.monotonic() - began)
        await self._replied(turn, messages, text, talk.wish)

    async def _replied(
        self, turn: Turn, messages: Mapping[int, bytes], text: str | None, wish: str
    ) -> None:
        there = self._ledger.messages(turn).keys()
        wrote_on, is_deleted = there - messages.keys(), not messages.keys() <= there
        if is_deleted or (wrote_on and turn.rounds < MOST_ROUNDS):
            self._ledger.wait_on(turn, self._now())
            return
        if wrote_on:
            self._ledger.part(turn, wrote_on, self._now())
        if text:
            await self._send(self._ledger.answer(turn, text, max(messages), wish))
        elif text is None or wish:
            self._hand_over(turn, wish or _("it has no answer to this"))
        else:
            self._settle(turn, State.LEFT, _("the reply has nothing to say"))

    def _reply_failed(self, turn: Turn, exc: BaseException) -> None:
        log.error("the reply failed", exc_info=exc, extra=_facts(turn))
        self._metrics.failures.labels("reply").inc()
        why = _("the reply failed: {why}").format(why=_why(exc))
        if turn.tries > len(REPLY_WAITS_S):
            self._hand_over(turn, why)
        else:
            due_at = self._now() + REPLY_WAITS_S[turn.tries - 1]
            self._ledger.put_back(turn, due_at, tries=turn.tries, reason=why)

    # The answer

    async def _send(self, turn: Turn) -> None:
        talk = await look(self._desk(turn.key.account), turn.key.conversation)
        if turn.tries and (sent := self._sent_before(turn, talk)):
            self._sent(turn, sent)
        elif self._may(turn, talk):
            turn = self._ledger.send(turn, talk.last.id if talk.last else None)
            desk = self._desk(turn.key.account)
            written = await desk.write(turn.key.conversation, turn.answer, private=False)
            self._sent(turn, written.id)

    def _sent_before(self, turn: Turn, talk: Conversation) -> int | None:
        """The id that an answer has which was begun to be sent, as far as Chatwoot shows it."""
        before, last = turn.newest or turn.upto, talk.last
        own = last is not None and is_own(last, self._settings.bot or 0)
        if last is not None and own and last.id > before and last.content == turn.answer:
            return last.id
        return self._memory.said_by_bot(turn.key, turn.answer, before)

    def _may(self, turn: Turn, talk: Conversation) -> bool:
        """False where it is not sent: people have it, or the customer wrote on or deleted it."""
        verdict = may_still_answer(talk, turn.upto, self._identity(turn))
        if not self._ledger.messages(turn):
            verdict = Verdict(Code.DELETED)
        if self._ledger.is_peoples(turn.key):
            verdict = Verdict(Code.HUMAN_SINCE)
        if verdict.code is not Code.NEWER_MESSAGE:
            if not verdict:
                self._left(turn, verdict, turn.upto)
            return bool(verdict)
        may = turn.tries > 0 or turn.rounds >= MOST_ROUNDS
        if not may:
            self._ledger.wait_on(turn, self._now() + self._settings.burst_s)
        return may

    def _left(self, turn: Turn, verdict: Verdict, upto: int) -> None:
        """Say nothing; but what a customer wrote beside a message that they deleted is answered."""
        if verdict.code is Code.DELETED:
            self._ledger.withdraw(turn.key.account, upto)
            self._memory.forget_message(turn.key.account, upto)
            self._ledger.wait_on(turn, self._now())
        else:
            self._settle(turn, State.LEFT, verdict.reason)

    def _sent(self, turn: Turn, message: int) -> None:
        if message:
            self._say(
                _("#{number}  answered: {text}").format(
                    number=turn.key.conversation, text=harmless(turn.answer)
                )
            )
        with self._ledger.writing():
            self._memory.note(turn.key, None, message or -turn.id, "bot", turn.answer, self._now())
            if turn.reason:
                self._ledger.hand(turn, turn.reason)
            else:
                self._settle(turn, State.SENT, "")

    # People

    def _hand_over(self, turn: Turn, reason: str) -> None:
        log.warning("a conversation goes to people: %s", reason, extra=_facts(turn))
        self._ledger.hand(turn, reason)

    async def _hand(self, turn: Turn) -> None:
        """Step by step, each written down before its call and after it."""
        desk, id_ = self._desk(turn.key.account), turn.key.conversation
        recipe = Recipe(_(NOTE).format(reason=harmless(_line(turn.reason), NOTE_CHARS)), LABEL)
        talk = await look(desk, id_)
        while (
            move := next_move(turn.steps, talk, recipe, self._settings.bot or 0)
        ).step is not Step.END:
            text = move.known
            if text is None:
                begun = Made(False, newest(turn.steps, talk) if move.step in WRITTEN else "")
                turn = self._ledger.step(turn, move.step, begun)
                text = await carry_out(desk, move.step, id_, recipe, turn.fails)
            turn = self._ledger.step(turn, move.step, Made(True, text))
        self._settle(turn, State.HANDED, turn.reason)

    # What fails, and what ends

    def _failed(self, turn: Turn, exc: ChatwootError) -> None:
        facts = _facts(turn)
        self._metrics.failures.labels("chatwoot").inc()
        if isinstance(exc, ALARMS):
            self._alarm(turn, exc)
        elif exc.again and not self._is_hopeless(turn):
            wait_s = CALL_WAITS_S[min(turn.fails, len(CALL_WAITS_S) - 1)]
            wait_s = max(wait_s, exc.retry_after_s)
            log.warning("Chatwoot cannot be asked: %s; again in %.0f s", exc, wait_s, extra=facts)
            self._ledger.put_off(turn, self._now() + wait_s)
        elif turn.state is State.HANDING or isinstance(exc, GoneFromChatwoot):
            log.error("nobody was told: %s", exc, extra=facts)
            self._settle(turn, State.GIVEN_UP, _why(exc))
        else:
            self._hand_over(turn, "; ".join(filter(None, [self._wish(turn), _why(exc)])))

    def _wish(self, turn: Turn) -> str:
        """Why people are to have it once its answer is sent, if they are."""
        now = self._ledger.next_turn(turn.key)
        if now is None or (now.id, now.state) != (turn.id, State.SENDING):
            return ""
        return now.reason

    def _is_hopeless(self, turn: Turn) -> bool:
        is_old = self._now() - turn.opened_at >= GIVE_UP_S
        return is_old and turn.fails >= LEAST_FAILS

    def _talk(self, turn: Turn, messages: Mapping[int, bytes]) -> Talk:
        events = [one for one in map(parse, messages.values()) if isinstance(one, MessageEvent)]
        history = self._memory.history(turn.key)
        return Talk(self._desk(turn.key.account), events, history, self._settings.bot)

    def _identity(self, turn: Turn) -> Identity:
        return Identity(turn.key.account, self._settings.bot)

    def _settle(self, turn: Turn, state: State, reason: str) -> None:
        self._ledger.settle(turn, state, reason, self._now())
        self._metrics.turns.labels(state.name.lower()).inc()
        is_printed = state is State.HANDED and not self._settings.url  # by the desk, step by step
        if state in SAID and not is_printed:
            number = turn.key.conversation
            self._say(_(SAID[state]).format(number=number, reason=harmless(_line(reason))))


def _is_stopped() -> bool:
    """Whether this task itself is cancelled, and not just what it waits for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _why(exc: BaseException) -> str:
    said = _line(told(exc)[0] if isinstance(exc, RelayError) else str(exc))
    return harmless(f"{type(exc).__name__}: {said}" if said else type(exc).__name__)


def _line(text: str) -> str:
    return " ".join(text.split())


def _facts(turn: Turn) -> dict[str, object]:
    return {"account": turn.key.account, "conversation": turn.key.conversation, "turn": turn.id}
