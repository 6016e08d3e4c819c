"""Why a bot has not answered: the steps between a message and its answer, up to where it broke."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from relay_server.bodies.talk import Line, State, lines_of, state_of
from relay_server.filters.facts import Direction
from relay_server.operations import Caller
from relay_server.operations.conversations import hear_conversation
from relay_server.operations.events import DeliveryLine, delivery_line
from relay_server.values import Channel, Subscription

REPLY_WITHIN_S = 60.0  # a later reply is said to be late


class WhyQuery(msgspec.Struct):
    """For whom it is asked: a subscription by name; left out, the caller's own."""

    subscription: str = ""


class Question(msgspec.Struct, omit_defaults=True):
    """A step between a customer's message and its answer.

    Attributes:
        asks: What is asked.
        answer: `yes`, `no`, or `unknown`.
        text: Why that is so.
        event: The event that says it.
        fix: The command, or the step in Chatwoot, that mends it.
    """

    asks: str
    answer: str
    text: str
    event: str = ""
    fix: str = ""


class Why(msgspec.Struct):
    """Why a conversation has no answer: the first question whose answer is `no`.

    Attributes:
        cause: What that says; empty where nothing is wrong.
        event: The customer's message that it is about; empty where there is none.
    """

    cause: str
    event: str
    questions: list[Question]


async def why_unanswered(who: Caller, channel: str, key: str, query: WhyQuery) -> Why:
    """Why the customer of a conversation has no answer: what follows what, up to where it broke."""
    of = who.channel(channel)
    subscription = await who.subscription(of.name, query.subscription or who.name)
    heard, *_ = await hear_conversation(who, of, key)
    lines, state = lines_of(heard), state_of(heard)
    asked = next((line for line in reversed(lines) if _is_customers(line)), None)
    questions = [_came(asked, of)]
    if asked is not None:
        [states] = await who.store.deliveries(of.number, [asked.sequence])
        own = [delivery_line(one) for one in states if one.subscription == subscription.name]
        # A replay of what was delivered asks no more than whether it comes again.
        delivered = (one for one in own if one.state == "delivered")
        delivery = next(delivered, own[-1] if own else None)
        questions += [
            _is_for(delivery, subscription),
            _delivered(delivery, subscription, who),
            _taken(delivery),
        ]
        replied = _replied(asked, lines)
        questions += [replied] if replied.answer == "yes" else [_may_answer(state), replied]
    broken = next((one for one in questions if one.answer == "no"), None)
    return Why(broken.text if broken else "", asked.event if asked else "", questions)


def _is_customers(line: Line) -> bool:
    return line.message is not None and line.message.direction == Direction.CUSTOMER


# The questions, in the order in which a message passes them.


def _came(asked: Line | None, channel: Channel) -> Question:
    question = "Did a message of the customer come in?"
    if asked is not None:
        return Question(question, "yes", "It is stored.", asked.event)
    text = f"No webhook in {channel.name} brought a message of this conversation's customer."
    fix = "In Chatwoot: is the webhook subscribed to message_created? Here: GET /api/v1/refused."
    return Question(question, "no", text, fix=fix)


def _is_for(delivery: DeliveryLine | None, subscription: Subscription) -> Question:
    question, name = f"Is it for {subscription.name}?", subscription.name
    if delivery is None:
        text, fix = f"{name} was made after it came.", "relay-client replay it."
        return Question(question, "no", text, fix=fix)
    if delivery.state == "skipped":
        fix = f"relay-server subscription set {subscription.channel} {name} --filter …"
        return Question(question, "no", f"The filter of {name} leaves it out.", fix=fix)
    return Question(question, "yes", "It is.")


def _delivered(delivery: DeliveryLine | None, subscription: Subscription, who: Caller) -> Question:
    question = "Was it delivered?"
    if delivery is None:
        return Question(question, "unknown", "It is not for this subscription.")
    name, state = subscription.name, who.parts.hub.state(subscription.number)
    match delivery.state:
        case "delivered":
            return Question(question, "yes", f"At attempt {delivery.attempt}.")
        case "dead" | "discarded":
            fix = f"relay-client replay --dead --as {name}"
            return Question(question, "no", f"It was given up: {delivery.reason}.", fix=fix)
        case "waiting" if delivery.attempt:
            text = f"Attempt {delivery.attempt} failed: {delivery.reason}. It is tried again."
            return Question(question, "no", text)
        case "under_way":
            return Question(question, "no", f"{name} has it, and has not answered yet.")
        case _:
            pass  # it has not been sent yet
    if subscription.config.paused:
        fix = f"relay-server subscription resume {subscription.channel} {name}"
        text = f"{name} is paused: {subscription.config.paused}."
        return Question(question, "no", text, fix=fix)
    if not state.readers:
        return Question(question, "no", f"Nobody reads {name}.", fix="relay-client connect")
    if state.waits_for_target is not None:
        return Question(question, "no", f"The target of {name} is not there.")
    return Question(question, "no", "It waits behind an earlier event of the same conversation.")


def _taken(delivery: DeliveryLine | None) -> Question:
    question = "Did the bot take it?"
    if delivery is None or delivery.state in ("pending", "skipped"):
        return Question(question, "unknown", "It was not asked.")
    if delivery.status is None:
        return Question(question, "no", delivery.reason or "It gave no answer.")
    answer = "yes" if 200 <= delivery.status < 300 else "no"
    return Question(question, answer, f"It answered {delivery.status}.")


def _may_answer(state: State) -> Question:
    question = "May a bot answer?"
    if state.assigned_to == "user":
        text = f"The conversation is {state.status}, and {state.assignee or 'an agent'} has it."
        return Question(question, "no", text, fix="In Chatwoot: unassign it.")
    if state.status == "resolved":
        return Question(question, "no", "The conversation is resolved.")
    return Question(question, "yes", f"The conversation is {state.status or 'open'}, and nobody's.")


def _replied(asked: Line, lines: Sequence[Line]) -> Question:
    question, on_time = "Did a reply come?", asked.received_at + REPLY_WITHIN_S * 1_000
    behind = [line for line in lines if line.sequence > asked.sequence and line.message is not None]
    for line in behind:
        if line.message is not None and line.message.is_answer:
            late = f", later than {REPLY_WITHIN_S:g} s" if line.received_at > on_time else ""
            text = f"By {line.message.name or line.message.direction}{late}."
            return Question(question, "yes", text, line.event)
    notes = any(line.message is not None and line.message.private for line in behind)
    text = "Only a private note came." if notes else "No message of bot or agent came after it."
    return Question(question, "no", text, fix="Look at the bot's own log.")
