"""A bot that runs, against a Chatwoot that tells it of everything: who is answered how often."""

from __future__ import annotations

import asyncio

import apsw
import pytest

from relay_client.chatwoot import Bot, Key, Ledger, State, Talk, lanes, turns
from relay_client.chatwoot.testing import Fault, Trial
from tests.support.waiting import LONG_S, until
from tests.unit.client.chatwoot.bots import Gate, ends, repeat
from tests.unit.client.chatwoot.fixtures import changed

KEY = Key(2, 318)
WRITES = "POST conversations/318/messages"


async def test_a_customer_is_answered_once(trial: Trial) -> None:
    """Chatwoot tells the bot of its own answer, too; each next reply knows what was said."""
    async with trial.running(repeat) as running:
        await trial.says("Oi!")
        await trial.rested(running)
        await trial.says("Tem bolo?")
        await trial.rested(running)
        history = [(line.author, line.text) for line in running.memory.history(KEY)]

    assert trial.answers == ["You said: Oi!", "You said: Tem bolo?"]
    assert history == [
        ("customer", "Oi!"),
        ("bot", "You said: Oi!"),
        ("customer", "Tem bolo?"),
        ("bot", "You said: Tem bolo?"),
    ]
    assert "#318  answered: You said: Oi!" in trial.lines


async def test_a_message_by_two_webhooks_is_answered_once(trial: Trial) -> None:
    """An account's webhook leads to the bot's URL as well: two delivery ids, two secrets."""
    webhook = trial.chatwoot.add_webhook(11, "")
    secrets = (*trial.settings.secrets, webhook["secret"])
    async with trial.running(repeat, secrets=secrets) as running:
        webhook["url"] = trial.chatwoot.bots[9]["outgoing_url"]
        await trial.says("Oi!")
        await trial.rested(running)

    assert trial.answers == ["You said: Oi!"]
    assert any("it was taken before" in line for line in trial.lines)


async def falls_silent(trial: Trial, bot: Bot) -> None:
    """Have so long pass since what the customer wrote that an answer is thought of."""
    await trial.chatwoot.echoes.settled()
    with bot.ledger.writing() as connection:
        connection.execute("UPDATE turns SET due_at = 0 WHERE settled_at IS NULL")


async def test_a_burst_of_four_is_answered_once(trial: Trial) -> None:
    async with trial.running(repeat, burst_s=LONG_S) as running:
        for text in ("Oi!", "Tudo bem?", "Queria um bolo", "de fubá"):
            await trial.says(text)
        await falls_silent(trial, running)
        await trial.rested(running)

    assert trial.answers == ["You said: Oi!\nTudo bem?\nQueria um bolo\nde fubá"]


async def test_who_writes_on_while_the_model_thinks_is_answered_once(trial: Trial) -> None:
    gate = Gate()
    async with trial.running(gate.reply) as running:
        await trial.says("Dois bolos")
        await gate.asked(1)
        await trial.says("aliás, três")
        await trial.chatwoot.echoes.settled()
        gate.open()
        await trial.rested(running)

    assert trial.answers == ["You said: Dois bolos\naliás, três"]


async def test_nobody_is_talked_over_while_the_model_thinks(trial: Trial) -> None:
    """The conversation is looked at once more before the answer is sent."""
    gate = Gate()
    async with trial.running(gate.reply) as running:
        await trial.says("Oi!")
        await gate.asked(1)
        await trial.chatwoot.human_takes(318)
        gate.open()
        await trial.rested(running)

    assert trial.answers == []
    assert ends(trial.settings.ledger) == [(State.LEFT, "people have the conversation: it is open")]


async def test_after_a_human_the_bot_is_quiet_until_its_turn_comes_back(trial: Trial) -> None:
    """Chatwoot leaves the conversation pending when somebody of the team answers in it."""
    async with trial.running(repeat) as running:
        await trial.chatwoot.human_says(318, "Deixa comigo")
        await trial.says("Obrigado!")
        await trial.rested(running)
        assert trial.answers == ["Deixa comigo"]
        for status in ("resolved", "pending"):  # it ends, and the customer writes again
            await trial.chatwoot.turn(318, status)
        await trial.says("Oi de novo")
        await trial.rested(running)

    assert trial.answers == ["Deixa comigo", "You said: Oi de novo"]


async def test_a_receipt_for_what_a_human_said_before_is_no_answer(trial: Trial) -> None:
    """A customer who writes anew opens the chat, which marks all before it as read."""
    async with trial.running(repeat) as running:
        said = await trial.chatwoot.human_says(318, "Deixa comigo")
        for status in ("resolved", "pending"):
            await trial.chatwoot.turn(318, status)
        await trial.chatwoot.echoes.tell(318, "message_updated", {**said, "status": "read"})
        await trial.says("Oi de novo")
        await trial.rested(running)

    assert trial.answers == ["Deixa comigo", "You said: Oi de novo"]


async def test_a_message_that_is_deleted_in_time_is_not_answered(trial: Trial) -> None:
    async with trial.running(repeat, burst_s=LONG_S) as running:
        said = await trial.says("Meu CPF é 000.000.000-00")
        await trial.chatwoot.delete(318, said["id"])
        await falls_silent(trial, running)
        await trial.rested(running)
        assert running.memory.history(KEY) == []

    assert trial.answers == []


@pytest.mark.parametrize("is_told", [True, False])
async def test_a_message_that_is_deleted_while_the_model_thinks_is_not_answered(
    trial: Trial, is_told: bool
) -> None:
    """Its webhook may come too late: the conversation shows it just before the answer is sent."""
    gate = Gate()
    async with trial.running(gate.reply) as running:
        said = await trial.says("Meu CPF é 000.000.000-00")
        await gate.asked(1)
        if is_told:
            await trial.chatwoot.delete(318, said["id"])
            await trial.chatwoot.echoes.settled()
        else:
            said["content_attributes"] = {"deleted": True}
        gate.open()
        await trial.rested(running)
        assert running.memory.history(KEY) == []

    assert trial.answers == []
    assert ends(trial.settings.ledger) == [(State.LEFT, "its messages were deleted")]


async def test_a_question_that_waited_for_long_and_was_deleted_is_not_thought_of(
    trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "STALE_S", 0.0)
    gate = Gate()  # that nobody opens
    async with trial.running(gate.reply, burst_s=LONG_S) as running:
        said = await trial.says("Oi!")
        said["content_attributes"] = {"deleted": True}
        await falls_silent(trial, running)
        await trial.rested(running)

    assert trial.answers == []
    assert ends(trial.settings.ledger) == [(State.LEFT, "its messages were deleted")]


@pytest.mark.parametrize("deleted", [0, 1])
@pytest.mark.parametrize("is_told", [True, False])
async def test_what_was_written_beside_a_deleted_message_is_answered(
    trial: Trial, deleted: int, is_told: bool
) -> None:
    gate, texts = Gate(), ["Dois bolos", "de fubá"]
    async with trial.running(gate.reply, burst_s=LONG_S) as running:
        said = [await trial.says(text) for text in texts]
        await falls_silent(trial, running)
        await gate.asked(1)
        if is_told:
            await trial.chatwoot.delete(318, said[deleted]["id"])
            await trial.chatwoot.echoes.settled()
        else:
            said[deleted]["content_attributes"] = {"deleted": True}
        gate.open()
        await trial.rested(running)

    of_both, of_one = ("You said: " + "\n".join(texts)), f"You said: {texts[1 - deleted]}"
    # Of an older message than the newest, only the webhook says that it was deleted.
    assert trial.answers == [of_one if is_told or deleted == 1 else of_both]


async def test_a_question_that_is_deleted_while_chatwoot_fails_is_not_answered(
    trial: Trial,
) -> None:
    """A note of the team's hides it: the webhook alone said that it was deleted."""
    trial.chatwoot.faults.append(Fault(WRITES, 503, times=99))
    async with trial.running(repeat) as running:
        said = await trial.says("Oi!")
        await until(lambda: WRITES in map(str, trial.chatwoot.calls))
        await trial.chatwoot.delete(318, said["id"])
        await trial.chatwoot.human_says(318, "ela apagou", private=True)
        await trial.chatwoot.echoes.settled()
        trial.chatwoot.faults.clear()
        await trial.rested(running)

    assert trial.answers == []


async def test_an_empty_answer_says_nothing(trial: Trial) -> None:
    async def nothing(talk: Talk) -> str:
        async with talk.typing():
            return ""

    async with trial.running(nothing) as running:
        await trial.says("👍")
        await trial.rested(running)

    typing = "POST conversations/318/toggle_typing_status"
    assert trial.chatwoot.changes == [typing, typing]


async def test_a_wrong_token_alarms_and_stops_all_posting(
    trial: Trial, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is sent, and nothing is lost: it goes on once the token is good."""
    trial.chatwoot.add_conversation(319)
    right = trial.chatwoot.bots[9]["access_token"]
    trial.chatwoot.bots[9]["access_token"] = "another"
    async with trial.running(repeat) as running:
        await trial.says("Oi!")
        await until(lambda: running.trouble)
        assert "does not know the access token" in running.trouble
        [alarm] = [one for one in caplog.records if one.levelname == "CRITICAL"]
        assert "the bot's own" in vars(alarm)["hint"]
        await trial.says("Alô?", 319)
        await trial.chatwoot.echoes.settled()
        assert trial.chatwoot.changes == []
        assert {call.method for call in trial.chatwoot.calls} == {"GET"}

        trial.chatwoot.bots[9]["access_token"] = right
        await trial.rested(running)
        assert running.trouble == ""

    assert trial.answers == ["You said: Oi!"]
    assert trial.chatwoot.answers(319) == ["You said: Alô?"]


async def test_an_account_that_the_bot_is_none_of_keeps_no_other_waiting(trial: Trial) -> None:
    """One webhook of it, on a channel that two accounts share."""
    refused = b'{"error":"Bot is not authorized to access this account"}'
    other = Fault("GET /api/v1/accounts/3/*", 401, times=1_000, body=refused)
    trial.chatwoot.faults.append(other)
    async with trial.running(repeat, secrets=()) as running:
        await running.handle({}, changed("agent_bot_message_created", account={"id": 3}))
        await until(lambda: running.trouble)
        await trial.says("Oi!")
        await until(lambda: trial.answers)
        assert "not good for the account" in running.trouble

    assert trial.answers == ["You said: Oi!"]


@pytest.mark.parametrize(
    "fault",
    [
        Fault(WRITES, 503, times=3),
        Fault(WRITES, 429),
        Fault(WRITES, 502, done=True),  # it was sent, and the answer got lost
        Fault("GET conversations/318", 500, times=2),
        Fault("GET conversations/318", 404, body=b"404 page not found"),  # a proxy's, in a deploy
        Fault("GET conversations/318", 302, headers={"Location": "/maintenance"}),
        Fault("GET conversations/318", 200, body=b"<html>Back soon</html>"),
    ],
    ids=lambda fault: f"{fault.call} {fault.status}",
)
async def test_a_chatwoot_that_fails_for_a_while_gets_the_answer_once(
    trial: Trial, fault: Fault
) -> None:
    asked = []

    async def reply(talk: Talk) -> str:
        asked.append(talk.text)
        return "Olá!"

    trial.chatwoot.faults.append(fault)
    async with trial.running(reply) as running:
        await trial.says("Oi!")
        await trial.rested(running)

    assert (len(asked), trial.answers) == (1, ["Olá!"])


async def test_what_is_old_is_not_given_up_at_its_first_failure(
    trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As what waited for a good token: then it comes at once, and Chatwoot says 429 to some."""
    monkeypatch.setattr(turns, "GIVE_UP_S", 0.0)
    trial.chatwoot.faults.append(Fault(WRITES, 429, times=2))
    async with trial.running(repeat) as running:
        await trial.says("Oi!")
        await trial.rested(running)

    assert trial.answers == ["You said: Oi!"]


async def test_chatwoot_is_not_asked_again_before_it_wishes(trial: Trial) -> None:
    """429, with a `Retry-After` that is longer than the bot's own patience."""
    trial.chatwoot.faults.append(Fault(WRITES, 429, headers={"Retry-After": "600"}))
    async with trial.running(repeat) as running:
        await trial.says("Oi!")
        await until(lambda: (turn := running.ledger.next_turn(KEY)) and turn.fails)
        turn = running.ledger.next_turn(KEY)
        assert turn is not None
        assert turn.due_at - turn.opened_at >= 600


async def test_a_reply_that_fails_is_asked_again_and_then_people_have_it(trial: Trial) -> None:
    tries = []

    async def broken(talk: Talk) -> str:
        tries.append(talk.text)
        if talk.text == "Oi!" and len(tries) == 2:
            return "Agora sim"
        raise LookupError("the model is away")

    async with trial.running(broken) as running:
        await trial.says("Oi!")
        await trial.rested(running)
        assert trial.answers == ["Agora sim"]
        await trial.says("E agora?")
        await trial.rested(running)

    assert len(tries) == 2 + 4
    assert "LookupError: the model is away" in trial.notes[0]
    assert trial.chatwoot.handed_off == [318]


async def test_a_reply_without_an_end_is_ended(trial: Trial) -> None:
    async def endless(talk: Talk) -> str:
        await asyncio.Event().wait()
        return ""

    async with trial.running(endless, reply_s=0.02) as running:
        await trial.says("Oi!")
        await trial.rested(running)

    assert "TimeoutError" in trial.notes[0]


async def test_a_conversation_that_is_gone_is_given_up(trial: Trial) -> None:
    gate = Gate()
    async with trial.running(gate.reply) as running:
        await trial.says("Oi!")
        await gate.asked(1)
        await trial.chatwoot.echoes.settled()
        del trial.chatwoot.conversations[318]
        gate.open()
        await until(lambda: not running.ledger.open_turns())

    [(state, _)] = ends(trial.settings.ledger)
    assert state == State.GIVEN_UP


async def test_an_old_chatwoot_shows_bots_no_conversation(trial: Trial) -> None:
    """Before 4.14.2: what the webhook said is all that is known."""
    trial.chatwoot.version = "4.13.0"
    async with trial.running(repeat) as running:
        await trial.says("Oi!")
        await trial.rested(running)

    assert trial.answers == ["You said: Oi!"]


async def test_what_waits_is_kept_across_a_stop(trial: Trial) -> None:
    """A burst that waits, and a reply that is under way: the next bot goes on."""
    gate = Gate()
    trial.chatwoot.add_conversation(319)
    async with trial.running(gate.reply) as running:
        await trial.says("Oi!")
        await gate.asked(1)
        await trial.says("e mais", 319)
        await trial.chatwoot.echoes.settled()
        await until(lambda: running.ledger.open_turns() == 2)
    assert trial.answers == []

    async with trial.running(repeat) as running:
        await trial.rested(running)

    assert trial.answers == ["You said: Oi!"]
    assert trial.chatwoot.answers(319) == ["You said: e mais"]


@pytest.mark.parametrize("call", ["next_turn", "think", "settle"])
async def test_a_ledger_that_fails_for_a_while_forgets_no_customer(
    trial: Trial, call: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(lanes, "TROUBLE_S", 0.01)
    works, failures = getattr(Ledger, call), [apsw.IOError("disk I/O error")] * 2

    def fails(*args: object) -> object:
        if failures:
            raise failures.pop()
        return works(*args)

    monkeypatch.setattr(Ledger, call, fails)
    async with trial.running(repeat) as running:
        await trial.says("Oi!")
        await trial.rested(running)

    assert trial.answers == ["You said: Oi!"]
    assert "a turn cannot be served" in caplog.text
