"""A bot that gives conversations to people: what they get, whatever Chatwoot makes of it."""

from __future__ import annotations

import pytest

from relay_client.chatwoot import State, Talk
from relay_client.chatwoot.testing import Fault, Trial
from tests.support.waiting import until
from tests.unit.client.chatwoot.bots import ends, repeat

LABELS = "conversations/318/labels"
WRITES = "POST conversations/318/messages"
TOO_MANY = b'{"message":"Too many messages","attributes":["base"]}'


async def give(talk: Talk) -> str | None:
    """Say nothing, and give it to people."""
    talk.hand_over("he wants a wedding cake")
    return None


async def test_what_the_bot_leaves_to_people_is_handed_over(trial: Trial) -> None:
    """A conversation that stays pending is seen by nobody."""

    async def nothing(talk: Talk) -> None:
        return None

    async with trial.running(nothing) as running:
        await trial.says("Quero falar com alguém")
        await trial.rested(running)

    assert trial.chatwoot.handed_off == [318]
    assert trial.chatwoot.conversations[318]["labels"] == ["handed-over"]
    assert trial.notes == ["The bot gives this conversation to you: it has no answer to this"]


async def test_a_reply_may_answer_and_hand_over(trial: Trial) -> None:
    async def goodbye(talk: Talk) -> str:
        await talk.label("bolo", "handed-over")
        talk.hand_over("he wants a wedding cake")
        return "Já chamo alguém."

    async with trial.running(goodbye) as running:
        await trial.says("Um bolo de casamento")
        await trial.rested(running)

    assert trial.answers == ["Já chamo alguém."]
    assert trial.notes == ["The bot gives this conversation to you: he wants a wedding cake"]
    assert trial.chatwoot.conversations[318]["labels"] == ["bolo", "handed-over"]
    assert trial.chatwoot.handed_off == [318]


async def test_what_chatwoot_refuses_for_good_goes_to_people_with_the_reason(trial: Trial) -> None:
    """422: too long; the model is asked once, and the answer sent once."""
    asked = []

    async def long(talk: Talk) -> str:
        asked.append(talk.text)
        return "x" * 150_001

    async with trial.running(long) as running:
        await trial.says("Conte uma história")
        await trial.rested(running)

    assert (asked, trial.answers) == (["Conte uma história"], [])
    assert trial.chatwoot.handed_off == [318]
    assert "Content is too long" in trial.notes[0]
    [(state, reason)] = ends(trial.settings.ledger)
    assert (state, "too long" in reason) == (State.HANDED, True)


@pytest.mark.parametrize(
    "fault",
    [
        Fault(WRITES, 422, times=99, body=TOO_MANY),  # 200 a minute in a conversation
        Fault(f"POST {LABELS}", 422, times=99, body=TOO_MANY),
        Fault(f"GET {LABELS}", 400, times=99, body=b'{"error":"bad request"}'),
        Fault(f"* {LABELS}", 500, times=99),  # Chatwoot 4.16.0, for all tokens
    ],
    ids=lambda fault: f"{fault.call} {fault.status}",
)
async def test_people_are_told_though_chatwoot_will_not_have_a_note_or_a_label(
    trial: Trial, fault: Fault
) -> None:
    trial.chatwoot.faults.append(fault)
    async with trial.running(give) as running:
        await trial.says("Quero um bolo")
        await trial.rested(running)

    assert trial.chatwoot.handed_off == [318]
    assert ends(trial.settings.ledger) == [(State.HANDED, "he wants a wedding cake")]
    assert "#318  handed over to people: he wants a wedding cake" in trial.lines


async def test_why_the_bot_wished_it_is_told_though_its_answer_is_refused(trial: Trial) -> None:
    async def long(talk: Talk) -> str:
        talk.hand_over("he wants a wedding cake")
        return "x" * 150_001

    async with trial.running(long) as running:
        await trial.says("Quero um bolo")
        await trial.rested(running)

    [note] = trial.notes
    assert "he wants a wedding cake; ChatwootInvalid" in note


async def test_an_agent_s_token_that_is_not_good_for_an_inbox_alarms(trial: Trial) -> None:
    """401 is nobody's message: no customer is given up for it."""
    refused = b'{"error":"You are not authorized to do this action"}'
    fault = Fault("* conversations/318*", 401, times=99, body=refused)
    trial.chatwoot.faults.append(fault)
    async with trial.running(repeat) as running:
        await trial.says("Oi!")
        await until(lambda: running.trouble)
        assert trial.chatwoot.changes == []
        fault.times = 0
        await trial.rested(running)

    assert trial.answers == ["You said: Oi!"]


async def test_why_a_customer_is_not_answered_is_said(trial: Trial) -> None:
    async def late(talk: Talk) -> str:
        await trial.chatwoot.human_takes(318)
        return "Olá!"

    async with trial.running(late) as running:
        await trial.says("Oi!")
        await trial.rested(running)

    assert "#318  not answered: people have the conversation: it is open" in trial.lines
