"""Handing a conversation to people, step by step. Pure: it is told what Chatwoot says.

    look ─▶ NOTE ─▶ LABEL ─▶ SAY ─▶ OPEN ─▶ ASSIGN ─▶ END ─▶ (the bot is back) BACK
      └── people have it, or gave it up: END

SAY and ASSIGN are steps where a `Recipe` wants them: a message that the customer sees, before the
opening, since it ends the wait that people are shown; and whom it is given to, after it, since a
bot's conversation is assigned to nobody.

Each step is written down before its call (`begun`) and after it (`done`), so whoever goes on after
a crash knows which calls may have been made. It looks at the conversation first, and

- one that is not pending any more was opened: by us if that was begun, by people if not. Opening
  is what tells people, and asking for it twice is asking for what is there;
- a label is set only where it is missing;
- giving it to a team twice is giving it once;
- a note, or message, that was begun and is not known to be written is looked for: it is there if
  the newest message is the bot's own with the same words, and not there if the newest one is still
  what it was before. Where somebody wrote since, or Chatwoot does not show it, nobody can know, and
  it is not written twice.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from relay_chatwoot.resources import Conversation, LastMessage

PENDING = "pending"


class Step(enum.IntEnum):
    """What is done to a conversation, in `ORDER`. The numbers are stored: do not change them."""

    NOTE = 1
    LABEL = 2
    OPEN = 3
    END = 4
    BACK = 5  # its bot takes webhooks again: what comes from now on is its own
    SAY = 6  # between LABEL and OPEN
    ASSIGN = 7  # between OPEN and END


WRITTEN = (Step.NOTE, Step.SAY)
ORDER = (Step.NOTE, Step.LABEL, Step.SAY, Step.OPEN, Step.ASSIGN, Step.END, Step.BACK)
MESSAGE = "message "  # begins what is noted of one that is written; its number follows


@dataclass(frozen=True, slots=True)
class Recipe:
    """What is done to a conversation.

    Attributes:
        note: What people read.
        label: That it is given.
        say: What the customer reads; empty for nothing.
        team: That it is given to, by number; 0 for none.
        user: The same of an agent.
    """

    note: str
    label: str
    say: str = ""
    team: int = 0
    user: int = 0

    def words_of(self, step: Step) -> str:
        """What a step writes."""
        return self.say if step is Step.SAY else self.note


@dataclass(frozen=True, slots=True)
class Made:
    """A step as it is written down.

    Attributes:
        done: Its call was answered; else it may have been made or not.
        text: What came of it. Of what is written and only begun, the newest message before it.
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


def next_move(made: Mapping[Step, Made], talk: Conversation, recipe: Recipe, bot: int) -> Move:
    """Say what follows the steps that were made; the bot is 0 where its number is not known."""
    opened = made.get(Step.OPEN)
    if talk.status != PENDING or (opened is not None and opened.done):
        if opened is None:
            return Move(Step.END, f"people have it already: it is {talk.status}")
        if (recipe.team or recipe.user) and not _is_done(made, Step.ASSIGN):
            return Move(Step.ASSIGN)
        return Move(Step.END, "handed over to people")
    for step in (Step.NOTE, Step.LABEL, *([Step.SAY] if recipe.say else [])):
        if not _is_done(made, step):
            if step in WRITTEN and (begun := made.get(step)) is not None:
                return _look_for(step, begun, talk.last, recipe.words_of(step), bot)
            return Move(step)
    return Move(Step.OPEN)


def _is_done(made: Mapping[Step, Made], step: Step) -> bool:
    return (known := made.get(step)) is not None and known.done


def newest(made: Mapping[Step, Made], talk: Conversation) -> str:
    """What is noted of the newest message before one is written: our note, or what was seen."""
    note = made.get(Step.NOTE)
    if note is not None and note.text.startswith(MESSAGE):
        return f"after {note.text.removeprefix(MESSAGE)}"
    return f"after {talk.last.id}" if talk.last is not None else ""


def _look_for(step: Step, begun: Made, last: LastMessage | None, words: str, bot: int) -> Move:
    if last is None:
        return Move(step, "written, perhaps: Chatwoot does not show it")
    if is_own(last, bot) and last.content == words:
        return Move(step, f"{MESSAGE}{last.id}")
    if begun.text == f"after {last.id}":
        return Move(step)
    return Move(step, "written, perhaps: somebody wrote since")


def is_own(message: LastMessage, bot: int) -> bool:
    """Whether an agent bot wrote a message: ours, where its number is known."""
    sender = message.sender
    return sender is not None and sender.type == "agent_bot" and bot in (0, sender.id)
