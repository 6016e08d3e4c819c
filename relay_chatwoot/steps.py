"""What the steps of a hand-off are at a Chatwoot, and how a conversation is looked at for them."""

from __future__ import annotations

from typing import Protocol

from relay_chatwoot.errors import ChatwootError, ChatwootInvalid, NotForBots
from relay_chatwoot.handoff import MESSAGE, PENDING, Recipe, Step
from relay_chatwoot.resources import Conversation, Message

LABEL_TRIES = 3  # of a label; Chatwoot 4.16.0 answers 500 to each


class Desk(Protocol):
    """The calls that conversations take: a Chatwoot's account, or what stands for one.

    Each raises `ChatwootError` if it fails.
    """

    async def conversation(self, id_: int) -> Conversation:
        """How it is now."""

    async def write(self, id_: int, content: str, *, private: bool) -> Message:
        """Write into it."""

    async def labels(self, id_: int) -> tuple[str, ...]:
        """Its labels."""

    async def set_labels(self, id_: int, labels: list[str]) -> tuple[str, ...]:
        """Give it these labels, and no others."""

    async def set_status(self, id_: int, status: str) -> str:
        """Set its status, and give what it is now."""

    async def assign(self, id_: int, *, team: int | None = None, user: int | None = None) -> None:
        """Give it to a team, or to a user; one of them."""

    async def typing(self, id_: int, on: bool) -> None:
        """Show the customer that somebody types, or no more."""


async def look(desk: Desk, id_: int) -> Conversation:
    """A conversation as it is; as its webhook said, where a bot may not look (before 4.14.2)."""
    try:
        return await desk.conversation(id_)
    except NotForBots:
        return Conversation(id_, PENDING)


async def carry_out(desk: Desk, step: Step, id_: int, recipe: Recipe, fails: int = 0) -> str:
    """Make a step's calls, and say what came of them.

    It is the opening that tells people. So what Chatwoot will not have of the other steps, such as
    a note beyond its 200 messages a minute, is left out; and so is a label once `fails` calls of
    the hand-off failed.
    """
    try:
        return await _carried_out(desk, step, id_, recipe)
    except ChatwootError as exc:
        if not _may_be_left_out(step, exc, fails):
            raise
        return f"left out: {exc}"


async def _carried_out(desk: Desk, step: Step, id_: int, recipe: Recipe) -> str:
    match step:
        case Step.NOTE | Step.SAY:
            words, private = recipe.words_of(step), step is Step.NOTE
            return f"{MESSAGE}{(await desk.write(id_, words, private=private)).id}"
        case Step.LABEL:
            return await _label(desk, id_, recipe.label)
        case Step.ASSIGN:
            return await _assign(desk, id_, recipe)
        case _:
            return await desk.set_status(id_, "open")


def _may_be_left_out(step: Step, exc: ChatwootError, fails: int) -> bool:
    is_of_the_call = isinstance(exc, ChatwootInvalid) or type(exc) is ChatwootError
    match step:
        case Step.NOTE | Step.SAY:
            return is_of_the_call
        case Step.LABEL:
            return is_of_the_call or (exc.again and fails >= LABEL_TRIES)
        case Step.ASSIGN:  # people have it already
            return not exc.again
        case _:
            return False


async def add_labels(desk: Desk, id_: int, *labels: str) -> None:
    """Give a conversation labels beside those that it has."""
    there = await desk.labels(id_)
    if missing := [label for label in dict.fromkeys(labels) if label not in there]:
        await desk.set_labels(id_, [*there, *missing])


async def _assign(desk: Desk, id_: int, recipe: Recipe) -> str:
    """Give it to a team, and to somebody."""
    if recipe.team:
        await desk.assign(id_, team=recipe.team)
    if recipe.user:
        await desk.assign(id_, user=recipe.user)
    given = {"team": recipe.team, "user": recipe.user}
    return " and ".join(f"{what} {number}" for what, number in given.items() if number)


async def _label(desk: Desk, id_: int, label: str) -> str:
    try:
        await add_labels(desk, id_, label)
    except NotForBots:
        return "no label: this Chatwoot's bots may not"
    return f"label {label}"
