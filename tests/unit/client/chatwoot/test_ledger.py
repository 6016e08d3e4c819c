"""What a bot writes down: once, within bounds, for one bot at a time; and what it remembers."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import apsw
import pytest

from relay_client.chatwoot import (
    Bot,
    BotSettings,
    Key,
    Ledger,
    LedgerUnusable,
    Memory,
    State,
    ledger,
    memory,
)
from tests.unit.client.chatwoot.bots import repeat
from tests.unit.client.chatwoot.fixtures import changed

KEY = Key(2, 318)
DAY_S = 86_400.0


def message(id_: int, conversation: int = 318, **more: object) -> bytes:
    """A customer's, of a pending conversation."""
    return changed("agent_bot_message_created", {"id": conversation}, id=id_, **more)


@asynccontextmanager
async def bot_at(path: Path, burst_s: float = 60) -> AsyncIterator[Bot]:
    """One that answers nobody for a while."""
    async with Bot(repeat, BotSettings(ledger=path, burst_s=burst_s)) as bot:
        yield bot


@pytest.fixture
async def bot(tmp_path: Path) -> AsyncIterator[Bot]:
    async with bot_at(tmp_path / "bot.db") as bot:
        yield bot


async def test_a_message_is_taken_once(bot: Bot) -> None:
    codes = [(await bot.handle({}, message(id_))).code for id_ in (1, 1, 2)]

    assert codes == ["taken", "repeat", "taken"]
    turn = bot.ledger.next_turn(KEY)
    assert turn is not None
    assert [*bot.ledger.messages(turn)] == [1, 2]
    assert bot.ledger.open_turns() == 1


async def test_an_event_that_a_person_replays_is_answered_anew(bot: Bot) -> None:
    """Its later attempts are repeats again; and one that is not answered yet needs no replay."""
    replay = {"Relay-Replay": "1", "Relay-Attempt": "1"}
    await bot.handle({}, message(1))
    assert (await bot.handle(replay, message(1))).code == "repeat"
    turn = bot.ledger.next_turn(KEY)
    assert turn is not None
    bot.ledger.settle(turn, State.SENT, "", 0)

    codes = [
        (await bot.handle(headers, message(1))).code
        for headers in ({}, replay, replay | {"Relay-Attempt": "2"})
    ]
    assert codes == ["repeat", "taken", "repeat"]


async def test_more_than_it_takes_is_refused_and_stays_with_the_relay(
    bot: Bot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "MOST_WAITING", 1)
    await bot.handle({}, message(1))
    refused = await bot.handle({}, message(2, conversation=319))

    assert (refused.status, refused.code) == (503, "bot_full")
    assert (await bot.handle({}, message(3))).code == "taken"  # it joins the one that waits


async def test_a_customer_who_floods_is_refused_and_stays_with_the_relay(
    bot: Bot, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was taken is a repeat all the same, and others are taken."""
    monkeypatch.setattr(ledger, "MOST_MESSAGES", 2)
    found = [await bot.handle({}, message(id_)) for id_ in (1, 2, 3, 2)]
    other = await bot.handle({}, message(4, conversation=319))

    assert [one.code for one in found] == ["taken", "taken", "bot_full", "repeat"]
    assert (found[2].status, other.code) == (503, "taken")
    assert len(bot.memory.history(KEY)) == 2


async def test_two_bots_do_not_share_a_ledger(bot: Bot) -> None:
    """A new one that starts before the old one ended says so, by whatever name it finds it."""
    link = bot.ledger.path.with_name("link.db")
    link.symlink_to(bot.ledger.path)
    for path in (bot.ledger.path, link):
        with pytest.raises(LedgerUnusable, match="another bot has the ledger") as refused:
            Ledger(path)
        assert refused.value.code == "bot_ledger_taken"
        assert "another terminal" in refused.value.hint


async def test_a_ledger_that_cannot_be_written_takes_nothing(bot: Bot) -> None:
    bot.ledger.connection.execute("PRAGMA query_only = on")
    refused = await bot.handle({}, message(1))
    bot.ledger.connection.execute("PRAGMA query_only = off")

    assert (refused.status, refused.code) == (503, "bot_ledger")
    assert bot.ledger.open_turns() == 0


def test_a_ledger_of_a_newer_bot_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "bot.db"
    connection = apsw.Connection(str(path))
    connection.execute("PRAGMA user_version = 99")
    connection.close()

    with pytest.raises(LedgerUnusable, match="newer bot"):
        Ledger(path)


def test_another_program_s_file_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "threads.sqlite3"
    connection = apsw.Connection(str(path))
    connection.execute("CREATE TABLE threads (id)")
    connection.close()
    before = path.read_bytes()

    with pytest.raises(LedgerUnusable, match="another program"):
        Ledger(path)
    assert path.read_bytes() == before


async def test_a_damaged_ledger_is_told_of_at_the_start(tmp_path: Path) -> None:
    path = tmp_path / "bot.db"
    Ledger(path).close()
    content = path.read_bytes()
    path.write_bytes(content[:4_096] + bytes(len(content) - 4_096))

    with pytest.raises(LedgerUnusable, match="malformed"):
        async with bot_at(path):
            pass


async def test_what_customers_wrote_is_for_the_owner_alone_and_gone_when_settled(
    tmp_path: Path,
) -> None:
    path = tmp_path / "data" / "bot.db"
    async with bot_at(path) as bot:
        await bot.handle({}, message(1, content="segredo"))
        assert path.stat().st_mode & 0o77 == 0
        turn = bot.ledger.next_turn(KEY)
        assert turn is not None
        bot.ledger.settle(turn, State.SENT, "", 0)
        assert bot.ledger.messages(turn) == {}


async def test_a_contact_can_be_forgotten(bot: Bot) -> None:
    """With the answers, in each of their conversations, and what is owed to them."""
    contact = json.loads(message(1))["conversation"]["meta"]["sender"]["id"]
    for id_, conversation in ((1, 318), (2, 319)):
        await bot.handle({}, message(id_, conversation))
    turn = bot.ledger.next_turn(KEY)
    assert turn is not None
    bot.ledger.answer(turn, "Olá, João!", 1, "João wants a cake")
    bot.memory.note(KEY, None, 3, "bot", "Olá!", 0)
    bot.memory.note(Key(2, 400), contact + 1, 4, "customer", "Eu não", 0)

    assert bot.memory.forget_contact(2, contact) == 3
    assert bot.memory.history(KEY) == bot.memory.history(Key(2, 319)) == []
    assert len(bot.memory.history(Key(2, 400))) == 1
    assert bot.ledger.open_turns() == 0
    assert {(turn.answer, turn.reason) for turn in bot.ledger.settled()} == {("", "")}
    files = [*bot.ledger.path.parent.iterdir()]
    assert not any(b"quero falar com um humano" in file.read_bytes() for file in files)
    assert (await bot.handle({}, message(1))).code == "repeat"
    assert bot.memory.history(KEY) == []  # a webhook that comes once more brings nothing back


def test_memory_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "LINES_KEPT", 3)
    monkeypatch.setattr(memory, "LINE_CHARS", 5)
    kept = Memory(Ledger(":memory:"))
    for number in range(6):
        kept.note(KEY, 55, number, "customer", f"{number}23456", number * DAY_S)

    assert [line.text for line in kept.history(KEY)] == ["32345", "42345", "52345"]
    assert [line.text for line in kept.history(KEY, most=1)] == ["52345"]
    kept.prune(now=4.5 * DAY_S + memory.KEPT_S)
    assert [line.text for line in kept.history(KEY)] == ["52345"]


def test_what_is_settled_is_forgotten_in_the_end(tmp_path: Path) -> None:
    book = Ledger(":memory:")
    assert book.take(KEY, 1, b"{}", now=0, due_at=0)
    turn = book.next_turn(KEY)
    assert turn is not None
    book.settle(turn, State.SENT, "", now=DAY_S)
    book.prune(now=ledger.KEPT_S)
    assert not book.take(KEY, 1, b"{}", now=0, due_at=0)
    book.prune(now=ledger.KEPT_S + 2 * DAY_S)
    assert book.settled() == []
    assert book.take(KEY, 1, b"{}", now=0, due_at=0)


async def test_people_who_talk_for_longer_than_a_ledger_keeps_are_not_talked_over(
    tmp_path: Path,
) -> None:
    days = iter(range(1_000))
    settings = BotSettings(ledger=tmp_path / "bot.db", tolerance_s=0)
    async with Bot(repeat, settings, now=lambda: next(days) * DAY_S) as bot:
        human = {"id": 5, "type": "user"}
        answer = await bot.handle({}, message(1, message_type="outgoing", sender=human))
        for id_ in range(2, 40):
            answer = await bot.handle({}, message(id_))
            bot.ledger.prune(id_ * DAY_S)

    assert answer.did == "somebody of the team answered in the conversation"


def test_a_burst_is_not_put_off_for_ever() -> None:
    book = Ledger(":memory:")
    for second in range(60):
        book.take(KEY, second, b"{}", now=second, due_at=second + 3)
    turn = book.next_turn(KEY)
    assert turn is not None
    assert turn.due_at == ledger.BURST_MOST_S
