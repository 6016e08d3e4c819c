"""Replies that do what a reply should not: no customer waits for ever because of one."""

from __future__ import annotations

import asyncio

import pytest

from relay_client.chatwoot import Talk, talks
from relay_client.chatwoot.testing import Fault, Trial


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


class PanicException(BaseException):
    """As a library in Rust raises it."""


@pytest.mark.parametrize("error", [asyncio.CancelledError, PanicException])
async def test_what_is_no_exception_is_a_failure(trial: Trial, error: type[BaseException]) -> None:
    """A task of its own that is cancelled is no stop of the bot."""

    async def reply(talk: Talk) -> str:
        raise error

    async with trial.running(reply) as running:
        await trial.says("Oi!")
        await trial.rested(running)

    assert error.__name__ in trial.notes[0]
    assert trial.is_handed_over


async def test_why_chatwoot_did_not_do_what_it_wanted_is_told(
    trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It came to its end each time, with an error that passes, and not in time."""
    monkeypatch.setattr(talks, "CALL_WAITS_S", ())

    async def reply(talk: Talk) -> str:
        await talk.assign(team=3)
        return "Oi"

    trial.chatwoot.faults.append(Fault("POST *assignments", 503, times=99))
    async with trial.running(reply) as running:
        await trial.says("Oi!")
        await trial.rested(running)

    assert "assignments: it says 503" in trial.notes[0]


async def test_its_reasons_are_readable(trial: Trial) -> None:
    async def reply(talk: Talk) -> None:
        talk.hand_over("dois\nbolos \ud83d")

    async with trial.running(reply) as running:
        await trial.says("Oi!")
        await trial.rested(running)

    assert "dois bolos ?" in trial.notes[0]
