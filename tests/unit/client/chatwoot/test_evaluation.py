"""A past day's webhooks, cut into turns, and what replies would say to them."""

from __future__ import annotations

import asyncio
from typing import Any

from relay_client.chatwoot import Event, Talk, parse
from relay_client.chatwoot.evaluation import PastTurn, ask, past_turns
from tests.unit.client.chatwoot.fixtures import changed

BURST_S = 3.0


def webhook(at: float, content: str, **fields: Any) -> tuple[float, Event]:
    """A message that came `at`, whose id grows with it; by default of a customer."""
    fields = {"id": int(at * 10), "content": content, **fields}
    return at, parse(changed("agent_bot_message_created", **fields))


def answer(at: float, content: str, kind: str = "agent_bot") -> tuple[float, Event]:
    return webhook(at, content, message_type="outgoing", sender={"id": 9, "type": kind})


def cut(*webhooks: tuple[float, Event]) -> list[tuple[list[str], list[str], list[str]]]:
    """What was asked, what was said until then, and what was answered, turn by turn."""
    return [
        (
            [event.message.content for event in turn.events],
            [line.text for line in turn.history],
            [line.text for line in turn.then],
        )
        for turn in past_turns(webhooks, 9, BURST_S)
    ]


def test_a_burst_is_one_turn_and_what_follows_is_its_answer() -> None:
    day = [webhook(1, "Oi"), webhook(3, "tem bolo?"), answer(8, "Tem!"), webhook(60, "Quanto?")]
    assert cut(*day) == [
        (["Oi", "tem bolo?"], ["Oi", "tem bolo?"], ["Tem!"]),
        (["Quanto?"], ["Oi", "tem bolo?", "Tem!", "Quanto?"], []),
    ]
    assert cut(*day) == cut(*reversed(day), *day)  # in any order, by several webhooks


def test_a_customer_who_waited_in_vain_asks_anew() -> None:
    assert [asked for asked, _, _ in cut(webhook(1, "Oi"), webhook(1000, "Oi??"))] == [
        ["Oi"],
        ["Oi??"],
    ]


def test_what_people_have_is_no_turn() -> None:
    mine = webhook(1, "Oi")
    assert cut(mine, answer(2, "Bom dia, aqui é a Ana", "user"), webhook(50, "Oi, Ana")) == [
        (["Oi"], ["Oi"], ["Bom dia, aqui é a Ana"])
    ]


def test_conversations_are_apart() -> None:
    other = changed("agent_bot_message_created", {"id": 31}, content="Sou outra")
    assert cut((1, parse(other)), webhook(2, "Oi")) == [
        (["Sou outra"], ["Sou outra"], []),
        (["Oi"], ["Oi"], []),
    ]


async def one_turn() -> PastTurn:
    [turn] = past_turns([webhook(1, "Oi")], 9, BURST_S)
    return turn


async def test_a_reply_is_asked_and_nothing_is_done() -> None:
    async def reply(talk: Talk) -> str:
        await talk.label("vip")
        talk.hand_over("wants cake")
        return f"{talk.chat()}"

    answered = await ask(await one_turn(), reply, 9, 1.0)
    assert answered.text == "[{'role': 'user', 'content': 'Oi'}]"
    assert answered.wish == "wants cake"
    assert answered.did == ("#318  would label: vip",)


async def test_a_reply_that_fails_or_takes_too_long_says_why() -> None:
    async def broken(_: Talk) -> str:
        raise ValueError("no model")

    async def slow(_: Talk) -> str:
        await asyncio.Event().wait()
        return ""

    assert (await ask(await one_turn(), broken, 9, 1.0)).error == "ValueError: no model"
    assert (await ask(await one_turn(), slow, 9, 0.01)).error.startswith("TimeoutError")
