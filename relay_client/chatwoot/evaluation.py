"""Asks a reply what it would have said in conversations that were; nothing is sent to anybody.

Webhooks are cut into turns as the bot itself does: what a customer wrote without a pause, where the
bot might answer. A turn carries what was said before it, and what the customer was answered then.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

from relay_client.chatwoot.answering import Identity, may_answer, people_spoke
from relay_client.chatwoot.bot import Printed
from relay_client.chatwoot.events import Event, Key, MessageEvent
from relay_client.chatwoot.memory import LINES_SHOWN, line_of
from relay_client.chatwoot.talks import Line, Reply, Talk, answer_of

# Of a conversation: each message by its id, with when it came.
_Said: TypeAlias = dict[int, tuple[float, MessageEvent]]


@dataclass(slots=True)
class PastTurn:
    """A turn of a conversation that was.

    Attributes:
        events: The webhooks of what the customer wrote.
        history: What was said up to there, with that.
        then: What the customer was answered, before they wrote again.
    """

    events: list[MessageEvent]
    history: list[Line]
    then: list[Line] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Answered:
    """What a reply would have said, and done.

    Attributes:
        text: None leaves the conversation to people, an empty one says nothing.
        wish: Why people are to have the conversation.
        did: What else it would have done in Chatwoot, in sentences.
        error: Why there is no answer.
        took_s: Seconds that the reply took.
    """

    text: str | None = None
    wish: str = ""
    did: tuple[str, ...] = ()
    error: str = ""
    took_s: float = 0.0


def past_turns(
    webhooks: Iterable[tuple[float, Event]], bot: int | None, burst_s: float
) -> list[PastTurn]:
    """Cut webhooks into turns, those of a conversation in their order.

    Args:
        webhooks: Each with when it came, in Unix seconds; in any order, and perhaps several of
            one message.
        bot: The agent bot's number; None counts each agent bot as this one.
        burst_s: What a customer writes within so long is one turn.
    """
    talks = defaultdict[Key, _Said](dict)
    for at, event in sorted(webhooks, key=lambda one: one[0]):
        if isinstance(event, MessageEvent) and event.kind == "message_created":
            key = Key(event.account.id, event.conversation.id)
            talks[key].setdefault(event.message.id, (at, event))
    return [turn for key, said in talks.items() for turn in _cut(key, said, bot, burst_s)]


def _cut(key: Key, said: _Said, bot: int | None, burst_s: float) -> Iterator[PastTurn]:
    turn: PastTurn | None = None
    history, spoke, last_at = list[Line](), False, 0.0
    for _, (at, event) in sorted(said.items()):
        line = line_of(event.message, bot, at)
        spoke = people_spoke(event, spoke)
        history = [*history, line][-LINES_SHOWN:] if line else history
        if may_answer(event, Identity(key.account, bot), people_spoke=spoke):
            if turn is None or turn.then or at - last_at > burst_s:
                if turn is not None:
                    yield turn
                turn = PastTurn([], [])
            turn.events.append(event)
            turn.history, last_at = history, at
        elif turn is not None and line is not None and line.author != "customer":
            turn.then.append(line)
    if turn is not None:
        yield turn


async def ask(turn: PastTurn, reply: Reply, bot: int | None, timeout_s: float) -> Answered:
    """Ask a reply for its answer to a turn; what it does in Chatwoot is only noted."""
    loop = asyncio.get_running_loop()
    did = list[str]()
    talk = Talk(Printed(did.append), turn.events, turn.history, bot)
    began, text, error = loop.time(), None, ""
    try:
        async with asyncio.timeout(timeout_s):
            text = answer_of(await reply(talk))
    except Exception as exc:  # noqa: BLE001  whatever may be wrong with somebody's function
        error = f"{type(exc).__name__}: {exc}"
    return Answered(text, talk.wish, tuple(did), error, loop.time() - began)
