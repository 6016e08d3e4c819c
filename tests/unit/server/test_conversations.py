"""Conversations as the API shows them, and why one has no answer."""

from __future__ import annotations

import json
from typing import Any

import pytest

from relay_protocol.messages import Wanted
from relay_protocol.values import Failure, FailureKind, Outcome, Response
from relay_server.operations import conversations
from relay_server.values import Attempt, Mark, MarkState, Progress
from tests.support.chatwoot import fixture
from tests.support.clock import START_MS
from tests.unit.server.asking import Asking, Json, append
from tests.unit.server.support import FakePeer, Served

CUSTOMER = "message_created_incoming"
AGENT = "message_created_outgoing_api_inbox"
NOTE = "message_created_private_note"
FAILED = "Attempt 1 failed: it failed. It is tried again."


async def told(served: Served, name: str, number: int = 318, **changes: Any) -> str:
    """Store a webhook about a conversation of account 2, a second after the one before."""
    body = json.loads(fixture(name)) | changes
    part = body.get("conversation", body)
    part["id"] = number
    served.clock.advance(1)
    return await append(
        served,
        body=json.dumps(body).encode(),
        key=f"2/{number}",
        kind=body["event"],
        received_at=served.clock.unix_ms(),
    )


@pytest.fixture
async def subscribed(served: Served) -> Served:
    """Ana has a subscription."""
    await served.store.subscribe("chatwoot", "ana", None, START_MS)
    return served


async def settle(served: Served, sequence: int, state: MarkState, outcome: Outcome) -> None:
    """Have the store know what became of a delivery to ana."""
    [ana] = await served.store.subscriptions("chatwoot")
    claim = await served.store.claim(ana.number)
    assert claim is not None
    status = outcome.status if isinstance(outcome, Response) else None
    kind = "response" if isinstance(outcome, Response) else outcome.kind.value
    attempt = Attempt(sequence, 1, START_MS, 5, kind, status)
    marks = [Mark(sequence, state, 1, reason="it failed")] if status != 200 else []
    floor = sequence if status == 200 else 0
    served.store.record(claim, Progress(floor, tuple(marks), (attempt,)))
    await served.store.flush()


async def test_the_newest_conversations_come_first(served: Served, ana: Asking) -> None:
    await told(served, CUSTOMER, 1, id=1, content="primeiro")
    await told(served, CUSTOMER, 2, id=2, content="segundo")
    await told(served, AGENT, 2, id=3, content="resposta")
    await told(served, NOTE, 1, id=4)

    found = await ana.ok("GET", "conversations")

    rows = [
        (row["conversation"], row["says"], row["direction"], row["unanswered_since"] is not None)
        for row in found["conversations"]
    ]
    assert rows == [("1", "primeiro", "customer", True), ("2", "resposta", "agent", False)]
    assert (found["next"], found["complete"]) == (None, True)
    waiting = await ana.ok("GET", "conversations?state=unanswered")
    assert [row["conversation"] for row in waiting["conversations"]] == ["1"]


async def test_conversations_come_in_pages(
    served: Served, ana: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversations, "PIECE", 2)
    for number in range(1, 8):
        await told(served, CUSTOMER, number)
    query: str | None = "limit=3"
    pages = []
    while query is not None:
        page = await ana.ok("GET", f"conversations?{query}")
        pages.append([row["conversation"] for row in page["conversations"]])
        query = page["next"] and f"{page['next']}&limit=3"
    assert pages == [["7", "6", "5"], ["4", "3", "2"], ["1"]]


async def test_who_waits_is_told_right_on_each_page(served: Served, ana: Asking) -> None:
    await told(served, CUSTOMER, 1, id=1)  # answered behind the others
    for number in range(2, 5):
        await told(served, CUSTOMER, number, id=number)
    await told(served, AGENT, 1, id=5)

    first = await ana.ok("GET", "conversations?limit=3&state=unanswered")
    second = await ana.ok("GET", f"conversations?{first['next']}")

    pages = [[row["conversation"] for row in page["conversations"]] for page in (first, second)]
    assert pages == [["4", "3"], ["2"]]
    assert await ana.refused("GET", "conversations?state=unanswred") == (422, "invalid_value")


async def test_a_message_that_changes_is_no_answer(served: Served, ana: Asking) -> None:
    """Chatwoot sends an agent's message again once its customer has read it."""
    await told(served, AGENT, id=1)
    await told(served, CUSTOMER, id=2, content="e agora?")
    await told(served, AGENT, id=1, event="message_updated")

    [row] = (await ana.ok("GET", "conversations?state=unanswered"))["conversations"]

    assert (row["says"], row["direction"]) == ("e agora?", "customer")


@pytest.mark.parametrize("key", ["318", "2%2F318"])
async def test_a_conversation(subscribed: Served, ana: Asking, key: str) -> None:
    first = await told(subscribed, CUSTOMER, id=1, content="oi")
    await told(subscribed, CUSTOMER, 9, id=2)
    await told(subscribed, AGENT, id=3, content="olá")
    await settle(subscribed, 1, MarkState.DELIVERED, Response(200))

    talk = await ana.ok("GET", f"conversations/chatwoot/{key}")

    assert [line["message"]["content"] for line in talk["lines"]] == ["oi", "olá"]
    assert talk["lines"][0]["event"] == first
    assert [line["deliveries"][0]["state"] for line in talk["lines"]] == ["delivered", "pending"]
    assert (talk["state"]["status"], talk["unanswered_since"]) == ("open", None)
    assert (talk["before"], talk["complete"]) == (None, True)


async def test_a_long_conversation_comes_in_parts(
    served: Served, ana: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversations, "MAX_LINES", 3)
    for number in range(7):
        await told(served, CUSTOMER, id=number, content=str(number))
    found = list[str]()
    before: int | None = 0
    while before is not None:
        talk = await ana.ok("GET", f"conversations/chatwoot/318?before={before}")
        found = [line["message"]["content"] for line in talk["lines"]] + found
        before = talk["before"]
    assert found == [str(n) for n in range(7)]


async def test_a_conversation_as_it_stood_at_a_moment(subscribed: Served, ana: Asking) -> None:
    await told(subscribed, CUSTOMER, id=1, content="oi")
    await told(subscribed, CUSTOMER, id=2, content="alguém?")
    await told(subscribed, "message_updated", id=1, content="olá")
    await settle(subscribed, 1, MarkState.DELIVERED, Response(200))
    now = await ana.ok("GET", "conversations/chatwoot/318")
    assert [line["message"] and line["message"]["content"] for line in now["lines"]] == [
        "olá",
        "alguém?",
        None,
    ]
    first, second, third = [line["received_at"] for line in now["lines"]]
    # By its target's clock the first was tried before it came.
    assert now["moments"] == [first, second, third]

    then = await ana.ok("GET", f"conversations/chatwoot/318?as_of={second}")

    assert [line["message"]["content"] for line in then["lines"]] == ["oi", "alguém?"]
    assert then["moments"] == now["moments"]
    assert (await ana.ok("GET", "conversations/chatwoot/318?as_of=1"))["lines"] == []


async def test_what_came_by_a_clock_that_was_set_back_has_its_own_deliveries(
    subscribed: Served, ana: Asking
) -> None:
    for minutes in (1, 0):
        body, at = fixture(CUSTOMER), START_MS + 60_000 * minutes
        await append(subscribed, body=body, key="2/318", kind="message_created", received_at=at)
    await settle(subscribed, 1, MarkState.DELIVERED, Response(200))

    then = await ana.ok("GET", f"conversations/chatwoot/318?as_of={START_MS + 30_000}")

    assert [(line["sequence"], line["attempts"]) for line in then["lines"]] == [(2, [])]


async def test_there_is_no_such_conversation(served: Served, ana: Asking) -> None:
    await told(served, CUSTOMER)
    missing = await ana.refused("GET", "conversations/chatwoot/319")
    assert missing == (404, "conversation_not_found")
    assert await ana.refused("GET", "conversations/other/318") == (404, "channel_not_found")


async def why(ana: Asking) -> Json:
    return await ana.ok("GET", "conversations/chatwoot/318/why")


def answers(found: Json) -> list[str]:
    return [question["answer"] for question in found["questions"]]


def mends(found: Json) -> list[list[str]]:
    return [question["mends"] for question in found["questions"] if "mends" in question]


async def test_all_went_well(subscribed: Served, ana: Asking) -> None:
    await told(subscribed, CUSTOMER, id=1)
    await told(subscribed, AGENT, id=2)
    await settle(subscribed, 1, MarkState.DELIVERED, Response(200))
    found = await why(ana)
    assert answers(found) == ["yes"] * 5
    assert found["cause"] == ""


async def test_no_message_came(subscribed: Served, ana: Asking) -> None:
    await told(subscribed, "conversation_created")
    found = await why(ana)
    assert found["cause"].startswith("No webhook in chatwoot brought a message")
    assert answers(found) == ["no"]


async def test_a_subscription_that_was_made_later(served: Served, ana: Asking) -> None:
    await told(served, CUSTOMER)
    await served.store.subscribe("chatwoot", "ana", None, START_MS)
    assert "was made after it came" in (await why(ana))["cause"]


async def test_it_is_said_in_the_language_of_whoever_asks(subscribed: Served, ana: Asking) -> None:
    """And kept apart from the same in another, by whoever keeps answers."""
    await told(subscribed, CUSTOMER)
    path, tags = "conversations/chatwoot/318/why", set[str]()
    for language, cause in (("pt-BR,en;q=0.5", "Ninguém lê ana."), ("fr", "Nobody reads ana.")):
        answer = await ana("GET", path, headers=[("Accept-Language", language)])
        assert answer.json["cause"] == cause
        tags.add(dict(answer.headers)["ETag"])
    assert len(tags) == 2


async def test_nobody_reads(subscribed: Served, ana: Asking) -> None:
    await told(subscribed, CUSTOMER)
    found = await why(ana)
    assert found["cause"] == "Nobody reads ana."
    assert answers(found) == ["yes", "yes", "no", "unknown", "yes", "no"]


async def test_it_is_paused(subscribed: Served, ana: Asking, admin: Asking) -> None:
    await told(subscribed, CUSTOMER)
    await admin.ok("POST", "channels/chatwoot/subscriptions/ana/pause")
    found = await why(ana)
    assert found["cause"] == "ana is paused: paused by hand."
    assert mends(found) == [["resume"]]
    # Also where it was tried before: 410 pauses a subscription.
    await settle(subscribed, 1, MarkState.WAITING, Response(410))
    assert (await why(ana))["cause"] == "ana is paused: paused by hand."


@pytest.mark.parametrize(
    ("state", "outcome", "cause", "mend"),
    [
        (MarkState.WAITING, Response(503), FAILED, [["replay", "give_up"]]),
        (MarkState.DEAD, Response(404), "It was given up: it failed.", [["replay"]]),
        (MarkState.WAITING, Failure(FailureKind.NETWORK), FAILED, [["replay", "give_up"]]),
        (
            MarkState.UNDER_WAY,
            Failure(FailureKind.NETWORK),
            "ana has it, and has not answered yet.",
            [],
        ),
    ],
)
async def test_it_was_not_delivered(
    subscribed: Served, ana: Asking, state: MarkState, outcome: Outcome, cause: str, mend: Any
) -> None:
    await told(subscribed, CUSTOMER)
    await settle(subscribed, 1, state, outcome)
    found = await why(ana)
    assert (found["cause"], mends(found)) == (cause, mend)


async def test_it_waits_behind_an_event_that_failed(subscribed: Served, ana: Asking) -> None:
    earlier = await told(subscribed, CUSTOMER, id=1)
    await told(subscribed, CUSTOMER, id=2)
    await settle(subscribed, 1, MarkState.WAITING, Response(503))
    await subscribed.context.hub.join(FakePeer(window=0), Wanted("chatwoot"), "ana")
    found = await why(ana)
    behind = "It waits behind an earlier event of the same conversation."
    assert found["cause"] == f"{behind} {FAILED}"
    assert found["questions"][2]["event"] == earlier
    assert mends(found) == [["give_up"]]

    path = "channels/chatwoot/subscriptions/ana/give-up"
    await ana.ok("POST", path, {"event": earlier})
    again = await why(ana)
    assert again["questions"][2]["text"] != found["cause"]
    asked = "conversations/chatwoot/318/why?subscription=ana"
    await told(subscribed, CUSTOMER, id=3)
    await settle(subscribed, 3, MarkState.WAITING, Response(503))
    latest = (await ana.ok("GET", "events/latest"))["event"]["id"]
    await ana.ok("POST", path, {"event": latest})
    assert (await ana.ok("GET", asked))["cause"] == "It is dead: given up by ana."


async def test_what_is_dead_administrators_may_also_let_go(
    subscribed: Served, admin: Asking
) -> None:
    await told(subscribed, CUSTOMER)
    await settle(subscribed, 1, MarkState.DEAD, Response(404))
    path = "conversations/chatwoot/318/why?subscription=ana"
    assert mends(await admin.ok("GET", path)) == [["replay", "discard"]]


@pytest.mark.parametrize(
    ("name", "changes", "cause"),
    [
        (None, {}, "No message of bot or agent came after it."),
        (
            CUSTOMER,
            {"id": 2, "message_type": "outgoing", "private": True, "sender": {"type": "user"}},
            "Only a private note came.",
        ),
        (
            "conversation_updated",
            {"status": "open"},
            "The conversation is open, and Mariana Araújo has it.",
        ),
        ("conversation_status_changed", {"meta": {}}, "The conversation is resolved."),
    ],
)
async def test_the_bot_took_it_and_nobody_answered(
    subscribed: Served, ana: Asking, name: str | None, changes: Json, cause: str
) -> None:
    await told(subscribed, CUSTOMER, id=1)
    if name is not None:
        await told(subscribed, name, **changes)
    await settle(subscribed, 1, MarkState.DELIVERED, Response(200))
    assert (await why(ana))["cause"] == cause


async def test_a_late_reply_is_said_to_be_late(subscribed: Served, ana: Asking) -> None:
    await told(subscribed, CUSTOMER, id=1)
    subscribed.clock.advance(100)
    await told(subscribed, AGENT, id=2)
    assert (await why(ana))["questions"][-1]["text"] == "By Mariana Araújo, later than 60 s."
