"""Replies that do what a reply should not: no customer waits for ever because of one."""

from __future__ import annotations

import asyncio

import pytest

from relay_client.chatwoot import Talk
from relay_client.chatwoot.testing import Trial


@pytest.mark.parametrize(
    ("returned", "answers", "note"),
    [
        (b"Oi", [], "TypeError: its answer is no text, but of the type bytes"),
        ({"text": "Oi"}, [], "TypeError: its answer is no text, but of the type dict"),
        ("Oi \ud83d\0", ["Oi ?\ufffd"], None),
        (" \n", [], None),
    ],
    ids=["bytes", "object", "half-an-emoji", "blank"],
)
async def test_what_it_returns(
    trial: Trial, returned: str, answers: list[str], note: str | None
) -> None:
    async def reply(talk: Talk) -> str:
        return returned

    async with trial.running(reply) as running:
        await trial.says("Oi!")
        await trial.rested(running)

    assert trial.answers == answers
    assert trial.is_handed_over == (note is not None)
    assert (note or "") in "".join(trial.notes)


async def test_a_task_of_its_own_that_is_cancelled_is_a_failure(trial: Trial) -> None:
    """And no stop of the bot: its conversation is gone on with."""

    async def reply(talk: Talk) -> str:
        raise asyncio.CancelledError

    async with trial.running(reply) as running:
        await trial.says("Oi!")
        await trial.rested(running)

    assert "CancelledError" in trial.notes[0]
    assert trial.is_handed_over


async def test_its_reasons_are_readable(trial: Trial) -> None:
    async def reply(talk: Talk) -> None:
        talk.hand_over("dois\nbolos \ud83d")

    async with trial.running(reply) as running:
        await trial.says("Oi!")
        await trial.rested(running)

    assert "dois bolos ?" in trial.notes[0]
