"""What a reply sees of a conversation, and what it does there, against a strict Chatwoot."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from relay_chatwoot.api import open_chatwoot
from relay_chatwoot.errors import ChatwootError, ChatwootInvalid, ChatwootUnreachable
from relay_client.chatwoot import Line, MessageEvent, Talk, parse, talks
from relay_client.chatwoot.testing import FakeChatwoot, Fault
from relay_client.chatwoot.testing import open_chatwoot as open_fake
from tests.unit.client.chatwoot import stranger
from tests.unit.client.chatwoot.fixtures import body_of, changed

INCOMING = "agent_bot_message_created"


def event(name: str = INCOMING, **fields: Any) -> MessageEvent:
    read = parse(changed(name, **fields))
    assert isinstance(read, MessageEvent)
    return read


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(talks, "CALL_WAITS_S", (0.0, 0.0))


@pytest.fixture
async def fake() -> AsyncIterator[FakeChatwoot]:
    async with open_fake() as chatwoot:
        chatwoot.add_bot(9, inbox=4)
        chatwoot.add_conversation(318)
        yield chatwoot


@asynccontextmanager
async def talking(fake: FakeChatwoot, newest: int = 1) -> AsyncIterator[Talk]:
    async with open_chatwoot(fake.url, 2, fake.bots[9]["access_token"]) as chatwoot:
        yield Talk(chatwoot, [event(id=newest)], bot=9)


def said(fake: FakeChatwoot) -> list[tuple[str, bool]]:
    return [(one["content"], one["private"]) for one in fake.messages[318]]


def test_a_burst_is_one_text() -> None:
    spoken = [{"file_type": "audio", "transcribed_text": "sem glúten"}, {"file_type": "image"}]
    talk = Talk(None, [event(content="Oi!"), event(content=None, attachments=spoken)])
    assert talk.text == "Oi!\nsem glúten"
    assert [file.file_type for file in talk.attachments] == ["audio", "image"]
    assert (talk.customer.id, talk.customer.name) == (1187, "João Gonçalves da Conceição")
    assert talk.customer.custom_attributes["pontos"] == 1240
    assert repr(talk) == "<Talk 2/318>"


async def test_a_reply_acts_in_chatwoot(fake: FakeChatwoot) -> None:
    fake.conversations[318]["labels"] = ["entrega"]
    async with talking(fake) as talk:
        async with talk.typing():
            await talk.say("Um momento.")
        await talk.note("o cliente parece irritado")
        await talk.label("robô", "entrega", "robô")
        await talk.label("robô")
        await talk.assign(team=3)

    assert said(fake) == [("Um momento.", False), ("o cliente parece irritado", True)]
    assert fake.conversations[318]["labels"] == ["entrega", "robô"]
    parts = ("toggle_typing_status", "messages", "toggle_typing_status", "messages", "labels")
    assert fake.changes == [f"POST conversations/318/{part}" for part in (*parts, "assignments")]


async def test_a_reply_talks_over_nobody(fake: FakeChatwoot) -> None:
    """It thinks for minutes, and says so; people may have the conversation by then."""
    async with talking(fake) as talk:
        await fake.human_takes(318)
        await talk.say("Um momento.")
    assert said(fake) == []


@pytest.mark.parametrize("done", [True, False])
async def test_a_message_whose_answer_got_lost_is_there_once(
    fake: FakeChatwoot, done: bool
) -> None:
    """Nobody knows whether it was written: so the conversation is looked at first."""
    fake.faults = [Fault("POST conversations/318/messages", 502, done=done)]
    async with talking(fake) as talk:
        await talk.say("Um momento.")
    assert said(fake) == [("Um momento.", False)]


async def test_the_same_words_said_before_are_no_proof(fake: FakeChatwoot) -> None:
    async with talking(fake) as talk:
        await talk.say("Um momento.")
    before = fake.messages[318][0]["id"]
    fake.faults = [Fault("POST conversations/318/messages", 429)]
    async with talking(fake, newest=before + 1) as talk:
        await talk.say("Um momento.")
    assert len(said(fake)) == 2


@pytest.mark.parametrize(
    ("fault", "error", "calls"),
    [
        (Fault("POST *", 503, times=9), ChatwootUnreachable, 3),
        (Fault("POST *", 429, times=9), ChatwootUnreachable, 3),
        (Fault("POST *", 429, times=9, headers={"Retry-After": "31"}), ChatwootUnreachable, 1),
        (Fault("POST *", 422, times=9), ChatwootInvalid, 1),
        (Fault("POST *", 418, times=9), ChatwootError, 1),
    ],
    ids=range(5),
)
async def test_what_fails_is_tried_so_often(
    fake: FakeChatwoot, fault: Fault, error: type[ChatwootError], calls: int
) -> None:
    fake.faults = [fault]
    async with talking(fake) as talk:
        with pytest.raises(error):
            await talk.assign(user=5)
    assert len(fake.calls) == calls


async def test_a_reply_goes_on_where_typing_cannot_be_shown(fake: FakeChatwoot) -> None:
    fake.faults = [Fault("POST *toggle_typing_status", 401, times=2)]
    async with talking(fake) as talk, talk.typing():
        await talk.say("Um momento.")
    assert said(fake) == [("Um momento.", False)]


async def test_a_stranger_s_bot() -> None:
    """What it takes of the library is typed; and it runs."""
    history = [Line("customer", "Oi!", 1.0), Line("bot", "Olá!", 2.0)]
    answer = await stranger.reply(Talk(None, [event()], history))
    assert answer == "Olá de novo, João Gonçalves da Conceição! joao.goncalves@exemplo.com.br"
    silent = Talk(None, [event("message_created_location", content=None)])
    assert (await stranger.reply(silent), silent.wish) == (None, "1 files, no words")
    with pytest.raises(AssertionError, match="can only be read"):
        await silent.note("x")

    assert stranger.considered(b"{") == (None, "unreadable_event")
    assert stranger.considered(body_of(INCOMING))[0] == "may_answer"
    assert stranger.considered(body_of("message_created_by_captain"))[0] == "captain"
    resolved = stranger.considered(body_of("agent_bot_conversation_updated"))
    assert resolved == (None, "open: pending to open")
