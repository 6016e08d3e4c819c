"""What Chatwoot's API answers, and what of it has a name; against a strict fake."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from relay_chatwoot import api, errors
from relay_chatwoot.api import Chatwoot, open_chatwoot, plain_url
from relay_client.chatwoot.testing import FakeChatwoot, Fault
from relay_client.chatwoot.testing import open_chatwoot as open_fake

Ask = Callable[[Chatwoot], Awaitable[object]]


@pytest.fixture
async def fake() -> AsyncIterator[FakeChatwoot]:
    async with open_fake() as chatwoot:
        yield chatwoot


@pytest.fixture
async def admin(fake: FakeChatwoot) -> AsyncIterator[Chatwoot]:
    async with open_chatwoot(fake.url, 2, fake.ADMIN) as chatwoot:
        yield chatwoot


async def test_an_administrator_sets_everything_up(fake: FakeChatwoot, admin: Chatwoot) -> None:
    """Each call is one that the fake knows, with fields that it reads."""
    assert (await admin.version()).parts == (4, 16, 2)
    [account] = (await admin.profile()).accounts
    assert (account.id, account.role) == (2, "administrator")
    assert (await admin.settings()).settings.keep_pending_on_bot_failure is False

    webhook = await admin.create_webhook(
        "https://relay.example.com/webhook", "Relay", ["message_created"]
    )
    assert webhook.secret
    await admin.change_webhook(webhook.id, subscriptions=["message_updated"])
    assert [one.subscriptions for one in await admin.webhooks()] == [("message_updated",)]
    await admin.delete_webhook(webhook.id)

    bot = await admin.create_bot("https://relay.example.com/webhook", "Relay")
    assert await admin.bot_of(4) is None
    await admin.set_bot(4, bot.id)
    assert await admin.bot_of(4) == bot
    assert (await admin.reset_bot_secret(bot.id)).secret != bot.secret
    assert (await admin.change_bot(bot.id, name="Other")).name == "Other"
    await admin.set_bot(4, None)
    await admin.delete_bot(bot.id)
    assert await admin.bots() == ()

    inbox = await admin.create_inbox("https://relay.example.com/c/api/webhook", "Relay")
    assert (await admin.reset_inbox_secret(inbox.id)).secret != inbox.secret
    assert (await admin.change_inbox(inbox.id, "")).webhook_url == ""
    assert [one.id for one in await admin.inboxes()] == [4, inbox.id]


async def test_a_bot_hands_a_conversation_over(fake: FakeChatwoot) -> None:
    bot = fake.add_bot(9, inbox=4)
    fake.add_conversation(318)

    async with open_chatwoot(fake.url, 2, bot["access_token"]) as chatwoot:
        conversation = await chatwoot.conversation(318)
        assert (conversation.status, conversation.meta.assignee_type) == ("pending", "AgentBot")
        note = await chatwoot.write(318, "O robô está fora do ar.", private=True)
        await chatwoot.set_labels(318, [*await chatwoot.labels(318), "bot-fora"])
        assert await chatwoot.set_status(318, "open") == "open"
        await chatwoot.assign(318, team=3)
        after = await chatwoot.conversation(318)

    assert note.id == fake.messages[318][0]["id"]
    assert fake.handed_off == [318]
    assert (after.status, after.meta.assignee) == ("open", None)
    parts = ("messages", "labels", "toggle_status", "assignments")
    assert fake.changes == [f"POST conversations/318/{part}" for part in parts]


def webhooks(chatwoot: Chatwoot) -> Awaitable[object]:
    return chatwoot.webhooks()


def overlong(chatwoot: Chatwoot) -> Awaitable[object]:
    return chatwoot.write(318, "a" * 150_001, private=False)


@pytest.mark.parametrize(
    ("token", "ask", "code"),
    [
        ("unknown", webhooks, "chatwoot_token_refused"),
        (FakeChatwoot.AGENT, webhooks, "chatwoot_not_administrator"),
        (FakeChatwoot.OUTSIDER, webhooks, "chatwoot_not_in_account"),
        ("bot", webhooks, "chatwoot_not_for_bots"),
        (FakeChatwoot.ADMIN, lambda chatwoot: chatwoot.conversation(404), "chatwoot_gone"),
        ("bot", overlong, "chatwoot_invalid"),
    ],
)
async def test_a_refusal_has_a_name(fake: FakeChatwoot, token: str, ask: Ask, code: str) -> None:
    """And never the token in it."""
    bot = fake.add_bot(9, inbox=4)
    fake.add_conversation(318)
    secret = bot["access_token"] if token == "bot" else token

    async with open_chatwoot(fake.url, 2, secret) as chatwoot:
        with pytest.raises(errors.ChatwootError) as raised:
            await ask(chatwoot)

    assert (raised.value.code, raised.value.again) == (code, False)
    assert secret not in f"{raised.value}{chatwoot!r}"


async def test_a_plan_without_an_api(fake: FakeChatwoot, admin: Chatwoot) -> None:
    fake.api_enabled = False
    with pytest.raises(errors.ChatwootApiOff):
        await admin.webhooks()


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault("GET webhooks", 429), errors.ChatwootUnreachable),
        (Fault("GET webhooks", 503), errors.ChatwootUnreachable),
        (Fault("GET webhooks", 0), errors.ChatwootUnreachable),
        (Fault("GET webhooks", 200, body=b"<html>"), errors.NotChatwoot),
        (Fault("GET webhooks", 200, body=b"[1]"), errors.NotChatwoot),
        (
            Fault("GET webhooks", 200, body=b'{"payload":{"webhooks":[{"id":1,"url":"\xff"}]}}'),
            errors.NotChatwoot,
        ),
        (Fault("GET webhooks", 200, body=b" " * 1_048_577), errors.ChatwootUnreachable),
        (Fault("GET webhooks", 302), errors.NotChatwoot),
        (Fault("GET webhooks", 401, body=b'{"errors":["sign in"]}'), errors.ChatwootTokenUnseen),
        (Fault("GET webhooks", 418, body=b"[" * 100_000), errors.NotChatwoot),
        (Fault("GET webhooks", 418), errors.ChatwootError),
        (Fault("GET webhooks", 404, body=b"404 page not found"), errors.NotChatwoot),
        (Fault("GET webhooks", 403, body=b"<html>"), errors.NotChatwoot),
    ],
)
async def test_an_answer_that_is_none(
    fake: FakeChatwoot,
    admin: Chatwoot,
    monkeypatch: pytest.MonkeyPatch,
    fault: Fault,
    error: type[errors.ChatwootError],
) -> None:
    """What passes can be asked again, and then it works."""
    fake.faults.append(fault)

    with monkeypatch.context() as hurried:
        if not fault.status:  # all others are answered
            hurried.setattr(api, "CALL_S", 0.5)
        with pytest.raises(errors.ChatwootError) as raised:
            await admin.webhooks()
    assert type(raised.value) is error
    assert raised.value.again is (error in (errors.ChatwootUnreachable, errors.NotChatwoot))

    assert await admin.webhooks() == ()


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("7", 7), ("86400", 3_600), ("soon", 0), ("Wed, 21 Oct 2015 07:28:00 GMT", 0)],
)
async def test_when_it_may_be_asked_again(
    fake: FakeChatwoot, admin: Chatwoot, value: str, seconds: float
) -> None:
    fake.faults.append(Fault("GET webhooks", 429, headers={"Retry-After": value}))
    with pytest.raises(errors.ChatwootUnreachable) as raised:
        await admin.webhooks()
    assert raised.value.retry_after_s == seconds


async def test_nobody_listens() -> None:
    async with open_chatwoot("http://127.0.0.1:1", 2, "secret") as chatwoot:
        with pytest.raises(errors.ChatwootUnreachable):
            await chatwoot.version()


@pytest.mark.parametrize(
    ("written", "url"),
    [
        ("https://chat.example.com/app/accounts/2/", "https://chat.example.com"),
        ("chat.example.com", "https://chat.example.com"),
        ("http://127.0.0.1:3000", "http://127.0.0.1:3000"),
    ],
)
def test_an_address_as_people_write_it(written: str, url: str) -> None:
    assert plain_url(written) == url


@pytest.mark.parametrize(
    "written",
    [
        *("ftp://chat.example.com", "https://", "https://a:b@chat.example", "http://[::1"),
        "chat.example.com:99999",
    ],
)
def test_an_address_that_is_none(written: str) -> None:
    with pytest.raises(errors.NotChatwoot) as refused:
        plain_url(written)
    assert "a:b" not in str(refused.value)
