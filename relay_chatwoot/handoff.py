"""Handing a conversation to people, step by step. Pure: it is told what Chatwoot says.

    look ─▶ NOTE ─▶ LABEL ─▶ OPEN ─▶ END ─▶ (the bot is back) BACK
      └── people have it, or gave it up: END

Each step is written down before its call (`begun`) and after it (`done`), so whoever goes on after
a crash knows which calls may have been made. It looks at the conversation first, and

- one that is not pending any more was opened: by us if that was begun, by people if not. Opening
  is what tells people, and asking for it twice is asking for what is there;
- a label is set only where it is missing;
- a note that was begun and is not known to be written is looked for: it is there if the newest
  message is the bot's own with the same words, and not there if the newest one is still what it was
  before. Where somebody wrote since, or Chatwoot does not show it, nobody can know, and it is not
  written twice.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from relay_chatwoot.api import Conversation, LastMessage

PENDING = "pending"


class Step(enum.IntEnum):
    """What is done to a conversation, in order. The numbers are stored: do not change them."""

    NOTE = 1
    LABEL = 2
    OPEN = 3
    END = 4
    BACK = 5  # its bot takes webhooks again: what comes from now on is its own


@dataclass(frozen=True, slots=True)
class Made:
    """A step as it is written down.

    Attributes:
        done: Its call was answered; else it may have been made or not.
        text: What came of it. Of a note that is only begun, the newest message before it.
    """

    done: bool
    text: str = ""


@dataclass(frozen=True, slots=True)
class Move:
    """What follows: a step whose call is to be made, or that is known to be done.

    Attributes:
        step: Which.
        known: It needs no call: this is what came of it. None for a call.
    """

    step: Step
    known: str | None = None


def next_move(made: Mapping[Step, Made], talk: Conversation, note: str, bot: int) -> Move:
    """Say what follows.

    Args:
        made: The steps so far.
        talk: The conversation as it is now.
        note: What the note says.
        bot: The number of the bot that writes it; 0 where that is not known.
    """
    opened = made.get(Step.OPEN)
    if talk.status != PENDING or (opened is not None and opened.done):
        if opened is not None:
            return Move(Step.END, "handed over to people")
        return Move(Step.END, f"people have it already: it is {talk.status}")
    written = made.get(Step.NOTE)
    if written is None:
        return Move(Step.NOTE)
    if not written.done:
        return _look_for_note(written, talk.last, note, bot)
    labelled = made.get(Step.LABEL)
    return Move(Step.OPEN if labelled is not None and labelled.done else Step.LABEL)


def newest(talk: Conversation) -> str:
    """What is written down of the newest message before a note is begun."""
    return f"after {talk.last.id}" if talk.last is not None else ""


def _look_for_note(begun: Made, last: LastMessage | None, note: str, bot: int) -> Move:
    if last is None:
        return Move(Step.NOTE, "a note, perhaps: Chatwoot does not show it")
    if is_own(last, bot) and last.content == note:
        return Move(Step.NOTE, f"note {last.id}")
    if begun.text == f"after {last.id}":
        return Move(Step.NOTE)
    return Move(Step.NOTE, "a note, perhaps: somebody wrote since")


def is_own(message: LastMessage, bot: int) -> bool:
    """Whether an agent bot wrote a message: ours, where its number is known."""
    sender = message.sender
    return sender is not None and sender.type == "agent_bot" and bot in (0, sender.id)
