"""How often a bot calls Chatwoot, for every shape of a webhook, and where bots go wrong."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from relay_client.chatwoot import Bot, BotSettings, Talk
from relay_client.chatwoot.ledger import IN_MEMORY
from relay_client.chatwoot.testing import FakeChatwoot, open_chatwoot
from tests.support.waiting import until
from tests.unit.client.chatwoot.fixtures import FILES, body_of, changed, given_to

INCOMING = "agent_bot_message_created"
ANSWERED = {INCOMING, f"{INCOMING}_owned_by_the_bot"}
MARIANA = {"id": 5, "name": "Mariana Araújo", "type": "user"}
ROBOT = {"id": 9, "name": "Robô Pão", "type": "agent_bot"}
PEOPLE = {"assignee": MARIANA, "assignee_type": "User"}
CAMPAIGN, RULE = {"campaign_id": 3}, {"automation_rule_id": 4}  # in somebody's name, perhaps
ONE = ["GET conversations/318", "POST conversations/318/messages"]


async def reply(talk: Talk) -> str:
    return f"{len(talk.messages)} messages, {len(talk.attachments)} files"


@asynccontextmanager
async def answering(chatwoot: FakeChatwoot) -> AsyncIterator[Bot]:
    """A bot of the inbox 4."""
    made = chatwoot.add_bot(9, inbox=4)
    for conversation in (318, 322):
        chatwoot.add_conversation(conversation)
    settings = BotSettings(
        *(chatwoot.url, made["access_token"], 9), ledger=Path(IN_MEMORY), burst_s=0.02
    )
    async with Bot(reply, settings, say=lambda line: None) as bot:
        yield bot


async def calls_for(*bodies: bytes) -> list[str]:
    """The calls that webhooks lead to, each of them as it is."""
    async with open_chatwoot() as chatwoot:
        async with answering(chatwoot) as bot:
            for body in bodies:
                assert (await bot.handle({}, body)).status == 200
            await until(lambda: not bot.ledger.open_turns())
        return [str(call) for call in chatwoot.calls]


@pytest.mark.parametrize("name", FILES)
async def test_of_all_shapes_a_customer_s_message_to_the_bot_is_answered_once(name: str) -> None:
    assert await calls_for(body_of(name)) == (ONE if name in ANSWERED else [])


def outgoing(sender: dict[str, Any] | None, **fields: Any) -> bytes:
    return changed(INCOMING, message_type="outgoing", sender=sender, **fields)


def updated(**fields: Any) -> bytes:
    return changed(INCOMING, event="message_updated", **fields)


INCOMING_BODY = changed(INCOMING)
ECHOES = [outgoing(ROBOT, id=90418), outgoing(ROBOT, id=90418, event="message_updated")]
ECHOES += [body_of("agent_bot_conversation_status_changed")]
BURST = [changed(INCOMING, id=90417 + number) for number in range(4)]


@pytest.mark.parametrize(
    ("bodies", "calls"),
    [
        ([INCOMING_BODY, *ECHOES], ONE),
        ([INCOMING_BODY, INCOMING_BODY], ONE),
        (BURST, ONE),
        ([INCOMING_BODY, *ECHOES, *BURST], ONE),
        ([changed(INCOMING, content=None, attachments=[{"file_type": "image"}])], ONE),
        ([changed(INCOMING, {"status": "open", "meta": PEOPLE})], []),
        ([changed(INCOMING, {"status": "pending", "meta": PEOPLE})], []),
        ([changed(INCOMING, {"status": "open"})], []),
        ([changed(INCOMING, {"status": "snoozed"})], []),
        ([changed(INCOMING, {"status": "resolved"})], []),
        ([changed(INCOMING, private=True)], []),
        ([changed("message_created_template")], []),
        ([changed("message_created_voice_call")], []),
        ([changed(INCOMING, content_attributes={"deleted": True})], []),
        ([INCOMING_BODY, updated(content_attributes={"deleted": True})], []),
        ([outgoing(MARIANA, private=True), INCOMING_BODY], ONE),
        ([outgoing(MARIANA, id=90416), INCOMING_BODY], []),
        ([changed("message_created_from_the_phone", {"id": 318}), INCOMING_BODY], []),
        ([changed("message_created_by_captain", {"id": 318}), INCOMING_BODY], ONE),
        ([outgoing(MARIANA, id=90416, additional_attributes=CAMPAIGN), INCOMING_BODY], ONE),
        ([outgoing(None, id=90416, source_id="x", content_attributes=RULE), INCOMING_BODY], ONE),
        ([INCOMING_BODY, outgoing(MARIANA, id=90418)], []),
        ([given_to(9)], ONE),
        ([given_to(9), changed(INCOMING, id=90412)], ONE),
        ([given_to(7)], []),
    ],
    ids=range(25),
)
async def test_a_pending_conversation(bodies: list[bytes], calls: list[str]) -> None:
    """One answer where it is the bot's turn, by however many webhooks that comes; else none."""
    assert await calls_for(*bodies) == calls
