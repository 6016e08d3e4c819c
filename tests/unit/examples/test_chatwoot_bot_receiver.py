"""The bot as a server: what it answers to webhooks, what it sends to Chatwoot, what it prints."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import aiohttp
import pytest

from examples.chatwoot_bot.chatwoot_api import ChatwootApi
from examples.chatwoot_bot.events import Conversation
from tests.support.processes import free_port
from tests.unit.examples.support import (
    TOKEN,
    FakeChatwoot,
    RunningBot,
    body_of,
    running_bot,
    serving,
    signed,
)

INCOMING = body_of("message_created_incoming")
JOAO = "João Gonçalves da Conceição"
NO_HANDLER = "no handler for this event"

# fixture, conversation, the beginning of what the bot says it did
EXPECTED = [
    ("message_created_incoming", "#318", f"would answer {JOAO}: Hello João"),
    ("message_created_incoming_attachments", "#322", "would answer Ana Beatriz de Sá: Hello"),
    ("agent_bot_message_created", "#318", f"would answer {JOAO}: Hello João"),
    ("message_created_outgoing_api_inbox", "#322", "ignored: message of type outgoing"),
    ("message_created_private_note", "#318", "ignored: a private note"),
    ("message_created_template", "#318", "ignored: message of type template"),
    ("message_updated", "#318", NO_HANDLER),
    ("conversation_created", "#318", f"{JOAO} began a conversation"),
    ("conversation_status_changed", "#318", f"the conversation with {JOAO} is now resolved"),
    ("agent_bot_conversation_resolved", "#318", f"the conversation with {JOAO} is now resolved"),
    ("conversation_updated", "#318", NO_HANDLER),
    ("contact_created", "", "contact muddy-cloud-412"),
    ("contact_updated", "", f"contact {JOAO}: name, email, phone_number, identifier, custom_"),
    ("webwidget_triggered", "", NO_HANDLER),
    ("inbox_created", "", NO_HANDLER),
    ("inbox_updated", "", NO_HANDLER),
    ("conversation_typing_on", "#318", "Mariana Araújo types"),
    ("conversation_typing_off", "#318", f"{JOAO} stopped typing"),
    ("automation_event_message_created", "#318", NO_HANDLER),
    ("macro_executed", "#318", NO_HANDLER),
]


class Gate:
    """A `reply` that waits until it is let through; counts who came."""

    def __init__(self) -> None:
        self.asked = 0
        self.came, self.opened = asyncio.Event(), asyncio.Event()

    async def reply(self, conversation: Conversation) -> str | None:
        self.asked += 1
        self.came.set()
        await self.opened.wait()
        return "done"


class Flaky:
    """A `reply` that fails a number of times first."""

    def __init__(self, failures: int) -> None:
        self.failures, self.asked = failures, 0

    async def reply(self, conversation: Conversation) -> str | None:
        self.asked += 1
        if self.asked <= self.failures:
            raise LookupError("the model is away")
        return "here I am"


async def silent(conversation: Conversation) -> str | None:
    return None


@pytest.fixture
async def bot() -> AsyncIterator[RunningBot]:
    """A bot as it starts by default, with a secret."""
    async with running_bot() as bot:
        yield bot


@pytest.mark.parametrize(("name", "conversation", "did"), EXPECTED)
async def test_every_fixture_is_answered(
    bot: RunningBot, name: str, conversation: str, did: str
) -> None:
    """Each of Chatwoot's bodies gets 200 and one line with event, conversation and deed."""
    body = body_of(name)

    answer = await bot.post(body)

    assert answer.status == 200
    assert answer.json["did"].startswith(did)
    [line] = bot.lines
    event = json.loads(body)["event"]
    assert line.split()[1] == event
    assert line.partition(event)[2].split(did)[0].strip() == conversation


async def test_a_webhook_may_come_below_the_path(bot: RunningBot) -> None:
    """Relay keeps path and query below /webhook."""
    url = f"{bot.url}/sub/path?inbox=4"

    async with bot.session.post(url, data=INCOMING, headers=signed(INCOMING)) as response:
        assert response.status == 200


async def test_a_bad_signature_is_refused(bot: RunningBot) -> None:
    """401, the reason on the screen, and nothing of the body."""
    answer = await bot.post(INCOMING, signed(INCOMING + b" "))

    assert answer.status == 401
    assert answer.json["error"]["code"] == "bad_signature"
    assert "refused (401)" in bot.lines[0]
    assert "João" not in bot.lines[0]


async def test_an_old_webhook_is_refused_unless_it_waited_in_relay(bot: RunningBot) -> None:
    """Old is judged by when Relay took it in."""
    assert (await bot.post(INCOMING, signed(INCOMING, age_s=7200))).status == 401

    headers = signed(INCOMING, age_s=7200)
    headers["Relay-Received-At"] = headers["X-Chatwoot-Timestamp"]
    assert (await bot.post(INCOMING, headers)).status == 200


@pytest.mark.parametrize(
    "body", [b"", b"{", b"\xff\xfe\xff", b"[1]", b"null", b"[" * 100_000], ids=repr
)
async def test_unreadable_json_is_refused(bot: RunningBot, body: bytes) -> None:
    """What is no JSON object gets 400."""
    answer = await bot.post(body)

    assert answer.status == 400
    assert "refused (400)" in bot.lines[0]


@pytest.mark.parametrize(
    "body",
    [
        {"event": "message_created", "message_type": "incoming"},
        {"event": "message_created", "message_type": "incoming", "account": {"id": "../2"}},
    ],
)
async def test_a_message_from_nowhere_is_refused(bot: RunningBot, body: object) -> None:
    """A message without account and conversation cannot be answered: 400."""
    assert (await bot.post(json.dumps(body).encode())).status == 400


@pytest.mark.parametrize("body", [b"{}", b'{"event": null}', b'{"event": 7}'])
async def test_an_object_without_an_event_name_is_accepted(bot: RunningBot, body: bytes) -> None:
    """It is unknown like any other."""
    assert (await bot.post(body)).status == 200
    assert "(no event name)" in bot.lines[0]


async def test_a_message_of_an_agent_bot_is_ignored(bot: RunningBot) -> None:
    """Even one that says it is incoming: two bots must not talk to each other for ever."""
    body = json.loads(INCOMING) | {"sender": {"id": 3, "name": "Robô 🤖", "type": "agent_bot"}}

    answer = await bot.post(json.dumps(body).encode())

    assert answer.json["did"] == "ignored: written by an agent bot"


async def test_no_reply_leaves_it_to_a_person() -> None:
    """None is an answer too: 200, nothing sent."""
    async with running_bot(silent) as bot:
        assert (await bot.post(INCOMING)).json["did"] == f"{JOAO}: no reply"


async def test_words_of_customers_cannot_forge_lines() -> None:
    """Line breaks, terminal codes and turned text do not reach the screen; emoji do."""

    async def echo(conversation: Conversation) -> str:
        return conversation.message

    async with running_bot(echo) as bot:
        body = json.loads(INCOMING) | {"content": "a\n\x1b[2Jb\u202ec\u2028d \ud800 👩‍🍳 ção"}
        await bot.post(json.dumps(body).encode())

        assert bot.lines[0].endswith("a [2Jb c d 👩‍🍳 ção")


async def test_an_event_is_handled_once(bot: RunningBot) -> None:
    """The same event id again: 200, and no second answer."""
    first = await bot.post(INCOMING, signed(INCOMING, event_id="evt_1", attempt="1"))
    second = await bot.post(INCOMING, signed(INCOMING, event_id="evt_1", attempt="2"))
    other = await bot.post(INCOMING, signed(INCOMING, event_id="evt_2", attempt="1"))

    assert [answer.status for answer in (first, second, other)] == [200, 200, 200]
    assert second.json["did"] == "repeat: was handled already"
    assert other.json == first.json


async def test_without_an_event_id_nothing_is_a_repeat(bot: RunningBot) -> None:
    """What did not come through Relay has no id to know it by."""
    first, second = await bot.post(INCOMING), await bot.post(INCOMING)

    assert first.json == second.json


async def test_a_refused_webhook_is_not_remembered(bot: RunningBot) -> None:
    """Nobody without the secret can make the bot skip an event."""
    headers = signed(INCOMING + b" ", event_id="evt_1")
    await bot.post(INCOMING, headers)

    answer = await bot.post(INCOMING, signed(INCOMING, event_id="evt_1"))

    assert "would answer" in answer.json["did"]


async def test_a_failed_event_is_allowed_again() -> None:
    """500 makes Relay come again, and then it is handled."""
    flaky = Flaky(failures=1)
    async with running_bot(flaky.reply) as bot:
        first = await bot.post(INCOMING, signed(INCOMING, event_id="evt_1", attempt="1"))
        second = await bot.post(INCOMING, signed(INCOMING, event_id="evt_1", attempt="2"))
        third = await bot.post(INCOMING, signed(INCOMING, event_id="evt_1", attempt="3"))

    assert first.status == 500
    assert "the model is away" in first.json["error"]["message"]
    assert second.json["did"] == f"would answer {JOAO}: here I am"
    assert third.json["did"] == "repeat: was handled already"


async def test_a_failure_is_named_on_the_screen_and_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The line says what broke; the log has the traceback for who writes the reply."""
    async with running_bot(Flaky(failures=1).reply) as bot:
        await bot.post(INCOMING)

    assert "failed (500): LookupError: the model is away" in bot.lines[0]
    assert caplog.records[0].exc_info is not None


async def test_the_answer_waits_for_the_work() -> None:
    """A 2xx before the work is done would keep Relay from trying again."""
    gate = Gate()
    async with running_bot(gate.reply) as bot, asyncio.timeout(20):
        posting = asyncio.create_task(bot.post(INCOMING, signed(INCOMING, event_id="evt_1")))
        await gate.came.wait()
        assert not posting.done()
        assert bot.lines == []
        gate.opened.set()

        assert (await posting).status == 200


async def test_a_repeat_waits_for_the_one_under_way() -> None:
    """Relay gave up waiting and came again: one answer to the customer, 200 for both."""
    gate = Gate()
    async with running_bot(gate.reply) as bot, asyncio.timeout(20):
        first = asyncio.create_task(bot.post(INCOMING, signed(INCOMING, event_id="evt_1")))
        await gate.came.wait()
        first.cancel()  # the connection closes
        second = asyncio.create_task(bot.post(INCOMING, signed(INCOMING, event_id="evt_1")))
        gate.opened.set()

        assert (await second).json["did"] == "repeat: was handled already"
    assert gate.asked == 1


async def test_a_replay_by_hand_is_handled_anew(bot: RunningBot) -> None:
    """Who replays an event wants to see the bot work; further attempts of it are repeats."""
    live = await bot.post(INCOMING, signed(INCOMING, event_id="evt_1", attempt="1"))
    replay = await bot.post(INCOMING, signed(INCOMING, event_id="evt_1", replay="1", attempt="1"))
    again = await bot.post(INCOMING, signed(INCOMING, event_id="evt_1", replay="1", attempt="2"))

    assert replay.json == live.json
    assert again.json["did"] == "repeat: was handled already"


@pytest.fixture
async def chatwoot() -> AsyncIterator[tuple[FakeChatwoot, ChatwootApi]]:
    """A stand-in for Chatwoot, and the bot's way to it."""
    fake = FakeChatwoot()
    async with serving(fake.app()) as url, aiohttp.ClientSession() as session:
        yield fake, ChatwootApi(session, f"{url}/", TOKEN)


async def test_the_reply_goes_to_the_conversation(
    chatwoot: tuple[FakeChatwoot, ChatwootApi],
) -> None:
    """Chatwoot gets it as an outgoing, public message, accents and emoji intact."""
    fake, api = chatwoot

    async def reply(conversation: Conversation) -> str:
        return f"Olá, {conversation.customer.split()[0]}! 🍞"

    async with running_bot(reply, api) as bot:
        answer = await bot.post(INCOMING)

    assert answer.json["did"] == f"answered {JOAO}: Olá, João! 🍞"
    message = {"content": "Olá, João! 🍞", "message_type": "outgoing", "private": False}
    assert fake.messages == [("/api/v1/accounts/2/conversations/318/messages", message)]


async def test_only_customers_are_answered(chatwoot: tuple[FakeChatwoot, ChatwootApi]) -> None:
    """Of all twenty fixtures, the three with a customer's new message get an answer."""
    fake, api = chatwoot
    async with running_bot(sender=api) as bot:
        for name, _, _ in EXPECTED:
            assert (await bot.post(body_of(name))).status == 200

    conversations = [path.split("/")[-2] for path, _ in fake.messages]
    assert conversations == ["318", "322", "318"]


@pytest.mark.parametrize(
    ("status", "reason"), [(404, "no such conversation"), (422, "answered 422"), (500, "500")]
)
async def test_a_refused_reply_fails_the_webhook(
    chatwoot: tuple[FakeChatwoot, ChatwootApi], status: int, reason: str
) -> None:
    """500, so that Relay comes again; when Chatwoot is well, the reply is sent."""
    fake, api = chatwoot
    async with running_bot(sender=api) as bot:
        fake.status = status
        failed = await bot.post(INCOMING, signed(INCOMING, event_id="evt_1"))
        fake.status = 200
        again = await bot.post(INCOMING, signed(INCOMING, event_id="evt_1"))

    assert failed.status == 500
    assert failed.json["error"]["code"] == "chatwoot_failed"
    assert reason in bot.lines[0]
    assert again.status == 200
    assert len(fake.messages) == 1


async def test_a_redirect_is_not_followed(chatwoot: tuple[FakeChatwoot, ChatwootApi]) -> None:
    """The token would go along; the line says what to set instead."""
    fake, api = chatwoot
    fake.status, fake.headers = 301, {"Location": "https://new.example/"}
    async with running_bot(sender=api) as bot:
        assert (await bot.post(INCOMING)).status == 500

    assert "redirects to https://new.example/: set CHATWOOT_URL" in bot.lines[0]


async def test_a_wrong_token_is_named_but_not_shown(
    chatwoot: tuple[FakeChatwoot, ChatwootApi],
) -> None:
    """The line says which setting to look at."""
    fake, _ = chatwoot
    async with (
        serving(fake.app()) as url,
        aiohttp.ClientSession() as session,
        running_bot(sender=ChatwootApi(session, url, "wrong-token")) as bot,
    ):
        assert (await bot.post(INCOMING)).status == 500

    assert "check CHATWOOT_TOKEN" in bot.lines[0]
    assert "wrong-token" not in bot.lines[0]


async def test_an_unreachable_chatwoot_fails_the_webhook() -> None:
    """Nothing listens there: 500, and the line names the address."""
    url = f"http://127.0.0.1:{free_port()}"
    async with (
        aiohttp.ClientSession() as session,
        running_bot(sender=ChatwootApi(session, url, TOKEN)) as bot,
    ):
        assert (await bot.post(INCOMING)).status == 500

    assert f"cannot reach Chatwoot at {url}" in bot.lines[0]
