"""When a bot answers, and when it stays silent: every shape, and the cases that bots get wrong."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from relay_chatwoot import resources
from relay_client.chatwoot.answering import (
    REASONS,
    Code,
    Identity,
    asked_late,
    may_answer,
    may_still_answer,
    people_spoke,
)
from relay_client.chatwoot.events import MessageEvent, parse
from tests.unit.client.chatwoot.fixtures import FILES, body_of, changed, given_to

BOT = Identity(account=2, bot=9)
MARIANA = {"id": 5, "name": "Mariana Araújo", "type": "user"}
ROBOT = {"id": 9, "name": "Robô Pão", "type": "agent_bot"}
INCOMING, OUTGOING = "agent_bot_message_created", "message_created_outgoing_api_inbox"
ANSWERED = {"agent_bot_message_created", "agent_bot_message_created_owned_by_the_bot"}
# Of those that are no new message of a pending conversation, why they are not answered.
AUTHORS = {
    "message_created_by_a_rule": Code.AUTOMATION,
    "message_created_by_captain": Code.CAPTAIN,
    "message_created_from_the_phone": Code.PHONE,
    "message_created_from_the_phone_by_a_fork": Code.PHONE,
    "message_created_outgoing_api_inbox": Code.HUMAN,
    "message_created_private_note": Code.PRIVATE_NOTE,
    "message_created_template": Code.CHATWOOT,
    "message_created_voice_call": Code.VOICE_CALL,
}
ACCOUNTLESS = {"installation_account_created"}


def assigned(to: dict[str, Any], kind: str = "") -> dict[str, Any]:
    return {"meta": {"assignee": to, "assignee_type": kind or None}}


@pytest.mark.parametrize("name", FILES)
def test_of_all_shapes_as_they_came_two_are_answered(name: str) -> None:
    verdict = may_answer(parse(body_of(name)), BOT)

    assert bool(verdict) == (name in ANSWERED)
    kind = json.loads(body_of(name))["event"]
    if kind != "message_created":
        assert verdict.code is Code.NO_MESSAGE
    elif name not in ANSWERED:
        assert verdict.code is AUTHORS.get(name, Code.NOT_PENDING)
    assert verdict.reason
    assert "{" not in verdict.reason


@pytest.mark.parametrize("name", [name for name in FILES if name.startswith("message_created_")])
def test_of_a_pending_conversation_what_customers_wrote_is_answered(name: str) -> None:
    """Words, pictures, places, contacts, stories; and nothing that anybody else wrote."""
    assert may_answer(parse(changed(name)), BOT).code is AUTHORS.get(name, Code.MAY)


@pytest.mark.parametrize(
    ("talk", "fields", "code"),
    [
        (assigned(ROBOT, "AgentBot"), {}, Code.MAY),
        (assigned(ROBOT), {}, Code.MAY),
        (assigned(ROBOT | {"id": 7}, "AgentBot"), {}, Code.OTHERS_TALK),
        (assigned(MARIANA, "User"), {}, Code.ASSIGNED),
        (assigned(MARIANA), {}, Code.ASSIGNED),
        (assigned({"id": 5}), {}, Code.ASSIGNED),
        ({"status": "open"}, {}, Code.NOT_PENDING),
        ({"status": "open"} | assigned(MARIANA, "User"), {}, Code.NOT_PENDING),
        ({"status": "snoozed"}, {}, Code.NOT_PENDING),
        ({"status": "resolved"}, {}, Code.NOT_PENDING),
        ({}, {"account": {"id": 7}}, Code.OTHER_ACCOUNT),
        ({}, {"private": True}, Code.PRIVATE_NOTE),
        ({}, {"content_attributes": {"deleted": True}}, Code.DELETED),
        ({}, {"content_attributes": {"is_unsupported": True}}, Code.UNSUPPORTED),
        ({}, {"content": None}, Code.EMPTY),
        ({}, {"content": " \n"}, Code.EMPTY),
        ({}, {"content": None, "attachments": [{"file_type": "audio"}]}, Code.MAY),
        ({}, {"event": "message_updated"}, Code.NO_MESSAGE),
        ({}, {"event": "automation_event.message_created", "status": "open"}, Code.NO_MESSAGE),
        ({}, {"message_type": "template"}, Code.CHATWOOT),
        ({}, {"message_type": "outgoing", "sender": ROBOT}, Code.BOT),
        ({}, {"message_type": "outgoing", "sender": ROBOT | {"id": 7}}, Code.OTHER_BOT),
        ({}, {"message_type": "outgoing", "sender": MARIANA}, Code.HUMAN),
        ({}, {"message_type": "outgoing", "sender": None, "source_id": "wamid.1"}, Code.PHONE),
        ({}, {"message_type": "outgoing", "sender": None}, Code.AUTOMATION),
    ],
    ids=range(25),
)
def test_a_message_of_a_pending_conversation(
    talk: dict[str, Any], fields: dict[str, Any], code: Code
) -> None:
    assert may_answer(parse(changed(INCOMING, talk, **fields)), BOT).code is code


def test_a_bot_that_does_not_know_its_number_counts_each_as_itself() -> None:
    nameless = Identity(account=2)
    of_another = changed(INCOMING, assigned(ROBOT | {"id": 7}, "AgentBot"))
    assert may_answer(parse(of_another), nameless)
    written = parse(changed(INCOMING, message_type="outgoing", sender=ROBOT | {"id": 7}))
    assert may_answer(written, nameless).code is Code.BOT


def test_a_message_of_a_kind_that_a_later_version_adds_keeps_nobody_waiting() -> None:
    survey = resources.LastMessage(90420, "Nota?", message_type=4)
    seen = resources.Conversation(318, "pending", last_non_activity_message=survey)
    assert may_still_answer(seen, 90417, BOT)


def test_every_code_has_a_sentence() -> None:
    assert set(REASONS) == set(Code)


def looked_up(status: str = "pending", *, last: Any = ..., **meta: Any) -> resources.Conversation:
    """A conversation as the API shows it, with its newest message, if it shows one."""
    shown = {} if last is ... else {"last_non_activity_message": last}
    answer = {"id": 318, "status": status, "meta": meta, **shown}
    return msgspec.json.decode(json.dumps(answer), type=resources.Conversation)


def last(id_: int, kind: int = 0, sender: dict[str, Any] | None = None, **more: Any) -> Any:
    return {"id": id_, "message_type": kind, "sender": sender, "content": "Oi", **more}


@pytest.mark.parametrize(
    ("now", "code"),
    [
        (looked_up(), Code.MAY),
        (looked_up(last=None), Code.MAY),
        (looked_up(last=last(90417)), Code.MAY),
        (looked_up(last=last(90417, content_attributes={"deleted": True})), Code.DELETED),
        (looked_up(last=last(90416, content_attributes={"deleted": True})), Code.MAY),
        (looked_up(assignee=ROBOT, assignee_type="AgentBot"), Code.MAY),
        (looked_up(assignee=ROBOT | {"id": 7}, assignee_type="AgentBot"), Code.OTHERS_TALK),
        (looked_up(assignee={"id": 5, "name": "Mariana"}), Code.ASSIGNED),
        (looked_up("open"), Code.NOT_PENDING),
        (looked_up("resolved", last=last(90420, 1, MARIANA)), Code.NOT_PENDING),
        (looked_up(last=last(90420)), Code.NEWER_MESSAGE),
        # These are answered by nobody, so the answer to what came before must not wait for them.
        (looked_up(last=last(90420, content_type="voice_call")), Code.MAY),
        (looked_up(last=last(90420, content_attributes={"deleted": True})), Code.MAY),
        (looked_up(last=last(90420, 1, MARIANA)), Code.HUMAN_SINCE),
        (looked_up(last=last(90420, 1, source_id="wamid.1")), Code.HUMAN_SINCE),
        (looked_up(last=last(90420, 1, MARIANA, private=True)), Code.MAY),
        (looked_up(last=last(90420, 1, ROBOT)), Code.MAY),
        (looked_up(last=last(90420, 1, ROBOT | {"id": 7})), Code.BOT_SINCE),
        (looked_up(last=last(90420, 1, {"id": 3, "type": "captain_assistant"})), Code.BOT_SINCE),
        (looked_up(last=last(90420, 3)), Code.MAY),
        (looked_up(last={"id": 90420}), Code.MAY),
    ],
    ids=range(21),
)
def test_just_before_an_answer_to_the_message_90417(
    now: resources.Conversation, code: Code
) -> None:
    assert may_still_answer(now, 90417, BOT).code is code


@pytest.mark.parametrize(
    ("body", "asks"),
    [
        (given_to(9), True),
        (given_to(7), False),
        (given_to(None), False),
        (given_to(9, messages=[]), False),
        (given_to(9, messages=None), False),
        (given_to(9, account=None), False),
        (body_of("agent_bot_conversation_updated"), False),
        (body_of(INCOMING), False),
    ],
    ids=range(8),
)
def test_a_conversation_that_is_given_to_the_bot_late(body: bytes, asks: bool) -> None:
    """Chatwoot does not tell it again of what the customer wrote before."""
    event = parse(body)
    late = asked_late(event, BOT.bot)

    assert (late is not None) is asks
    assert asked_late(event, None) is None
    if late is not None:
        asked = parse(late)
        assert isinstance(asked, MessageEvent)
        assert (asked.key, asked.message.id, bool(may_answer(asked, BOT))) == (
            (2, 318),
            90412,
            True,
        )
        assert asked.conversation.extra["waiting_since"] == 1782999910


def test_once_somebody_of_the_team_answered_the_bot_is_silent_until_it_is_its_turn_again() -> None:
    """Chatwoot leaves the conversation pending; only what comes after it was not says otherwise."""
    story = [
        (changed(INCOMING), False),
        (changed("message_created_private_note"), False),
        (changed(INCOMING, message_type="outgoing", sender=ROBOT), False),
        (changed("message_created_from_the_phone"), True),
        (changed(INCOMING), True),
        (body_of("agent_bot_conversation_status_changed"), True),  # it is pending in it
        (body_of("contact_updated"), True),
        (body_of("agent_bot_conversation_resolved"), False),
        (changed(OUTGOING, event="message_updated", status="read"), False),
        (changed(INCOMING), False),
        (changed(OUTGOING), True),
        (changed(OUTGOING, {"status": "open"}), False),
        (changed(OUTGOING), True),
        (given_to(9), False),
    ]
    spoke, said = False, []
    for body, _ in story:
        spoke = people_spoke(parse(body), spoke)
        said.append(spoke)
    assert said == [expected for _, expected in story]

    verdict = may_answer(parse(changed(INCOMING)), BOT, people_spoke=True)
    assert verdict.code is Code.HUMAN_SINCE
