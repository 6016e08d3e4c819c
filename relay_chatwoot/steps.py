"""What the steps of a hand-off are at a Chatwoot, and how a conversation is looked at for them."""

from __future__ import annotations

from typing import Protocol

from relay_chatwoot.errors import ChatwootError, NotForBots
from relay_chatwoot.handoff import MESSAGE, PENDING, Recipe, Step
from relay_chatwoot.resources import Conversation, Message


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


async def carry_out(desk: Desk, step: Step, id_: int, recipe: Recipe) -> str:
    """Make a step's calls, and say what came of them."""
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


async def add_labels(desk: Desk, id_: int, *labels: str) -> None:
    """Give a conversation labels beside those that it has."""
    there = await desk.labels(id_)
    if missing := [label for label in dict.fromkeys(labels) if label not in there]:
        await desk.set_labels(id_, [*there, *missing])


async def _assign(desk: Desk, id_: int, recipe: Recipe) -> str:
    """Give it to a team, and to somebody; people have it already, whatever comes of that."""
    try:
        if recipe.team:
            await desk.assign(id_, team=recipe.team)
        if recipe.user:
            await desk.assign(id_, user=recipe.user)
    except ChatwootError as exc:
        if exc.again:
            raise
        return f"not assigned: {exc}"
    given = {"team": recipe.team, "user": recipe.user}
    return " and ".join(f"{what} {number}" for what, number in given.items() if number)


async def _label(desk: Desk, id_: int, label: str) -> str:
    try:
        await add_labels(desk, id_, label)
    except NotForBots:
        return "no label: this Chatwoot's bots may not"
    return f"label {label}"
