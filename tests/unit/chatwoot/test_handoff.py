"""The steps of a hand-off, whatever crashes when: nothing is done twice, nothing is left out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay_chatwoot.handoff import ORDER, WRITTEN, Made, Recipe, Step, newest, next_move
from relay_chatwoot.resources import Conversation, LastMessage, Sender

BOT, NOTE, SAY = 9, "The bot has not answered since 14:02.", "Já chamo alguém."
PLAIN, WHOLE = Recipe(NOTE, "bot-away"), Recipe(NOTE, "bot-away", SAY, team=3)
CRASHES = st.lists(
    st.tuples(st.sampled_from(["before", "called", "written"]), st.integers(0, 5)), max_size=8
)


class Crashed(Exception):
    """The process is gone; what was written down is not."""


@dataclass
class World:
    """A conversation in a Chatwoot, what is written down of it, and crashes to come."""

    crashes: list[tuple[str, int]]
    status: str = "pending"
    messages: list[LastMessage] = field(default_factory=lambda: [LastMessage(1, "Oi", None)])
    made: dict[Step, Made] = field(default_factory=dict)
    calls: list[Step] = field(default_factory=list)
    opened: int = 0
    team: int = 0
    recipe: Recipe = PLAIN
    labels: set[str] = field(default_factory=set)

    @property
    def talk(self) -> Conversation:
        return Conversation(318, self.status, last_non_activity_message=self.messages[-1])

    def run(self) -> None:
        """One life of a process, until it is done or crashes."""
        talk, moves = self.talk, 0
        while Step.END not in self.made:
            move = next_move(self.made, talk, self.recipe, BOT)
            text = move.known
            if text is None:
                begun = newest(self.made, talk) if move.step in WRITTEN else ""
                self.made[move.step] = Made(False, begun)
                self.crash("before", moves)
                text = self.call(move.step)
                self.crash("called", moves)
            self.made[move.step] = Made(True, text)
            self.crash("written", moves)
            moves += 1

    def crash(self, where: str, moves: int) -> None:
        if self.crashes and self.crashes[0] == (where, moves):
            del self.crashes[0]
            raise Crashed

    def call(self, step: Step) -> str:
        self.calls.append(step)
        match step:
            case Step.NOTE | Step.SAY:
                self.say(self.recipe.words_of(step), Sender(BOT, "agent_bot"))
                return f"message {self.messages[-1].id}"
            case Step.ASSIGN:
                assert self.status == "open"
                self.team = self.recipe.team
            case Step.LABEL:
                self.labels.add("bot-away")
            case _:
                self.opened += self.status == "pending"
                self.status = "open"
        return "done"

    def say(self, content: str, sender: Sender | None) -> None:
        self.messages.append(LastMessage(len(self.messages) + 1, content, sender))

    def finish(self) -> None:
        """Start again after each crash."""
        for _ in range(20):
            try:
                self.run()
            except Crashed:
                continue
            return


@given(crashes=CRASHES, recipe=st.sampled_from([PLAIN, WHOLE]))
def test_a_hand_off_is_whole_and_once_whatever_crashes(
    crashes: list[tuple[str, int]], recipe: Recipe
) -> None:
    world = World(crashes, recipe=recipe)
    world.finish()

    written = [m.content for m in world.messages][1:]
    assert written == [NOTE, SAY] if recipe.say else [NOTE]
    assert (world.opened, world.labels, world.team) == (1, {"bot-away"}, recipe.team)
    calls = [step for step in ORDER if step in world.calls]
    assert len(calls) == (5 if recipe is WHOLE else 3)
    firsts = [world.calls.index(step) for step in calls]
    assert firsts == sorted(firsts)
    assert world.made[Step.END].done
    assert "handed over" in world.made[Step.END].text


@pytest.mark.parametrize("crash", [("before", 0), ("called", 0)])
def test_no_note_is_written_twice_where_somebody_wrote_since(crash: tuple[str, int]) -> None:
    world = World([crash])
    with pytest.raises(Crashed):
        world.run()
    world.say("alguém?", Sender(4, "contact"))
    world.finish()

    assert len([m for m in world.messages if m.content == NOTE]) == (crash[0] == "called")
    assert world.opened == 1


@pytest.mark.parametrize(
    ("shown", "again"),
    [
        ({}, False),
        ({"messages": ()}, False),
        ({"messages": (LastMessage(1, "Oi"),)}, True),
        ({"messages": (LastMessage(2, NOTE, Sender(BOT, "agent_bot")),)}, False),
        ({"last_non_activity_message": LastMessage(1, "Oi")}, True),
    ],
)
def test_a_note_is_written_again_only_where_it_is_seen_to_be_missing(
    shown: dict[str, Any], again: bool
) -> None:
    talk = Conversation(318, "pending", **shown)
    move = next_move({Step.NOTE: Made(False, "after 1")}, talk, PLAIN, BOT)

    assert (move.step, move.known is None) == (Step.NOTE, again)


@pytest.mark.parametrize("status", ["open", "resolved", "snoozed"])
@pytest.mark.parametrize("crash", [None, ("written", 0)])
def test_what_people_took_meanwhile_is_left_to_them(
    status: str, crash: tuple[str, int] | None
) -> None:
    world = World([crash] if crash else [])
    if crash:
        with pytest.raises(Crashed):
            world.run()
    world.status = status
    world.finish()

    assert (world.opened, Step.OPEN in world.calls) == (0, False)
    assert world.made[Step.END].text == f"people have it already: it is {status}"


def test_another_bot_s_note_is_not_ours() -> None:
    world = World([("before", 0)])
    with pytest.raises(Crashed):
        world.run()
    world.say(NOTE, Sender(10, "agent_bot"))
    world.finish()

    assert world.made[Step.NOTE].text == "written, perhaps: somebody wrote since"
