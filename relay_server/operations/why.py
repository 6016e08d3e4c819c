"""Why a bot has not answered: the steps between a message and its answer, up to where it broke.

Questions and answers are in the language of whoever asks.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from relay_server.bodies.talk import Line, State, lines_of, state_of
from relay_server.filters.facts import Direction
from relay_server.operations import Caller
from relay_server.operations.conversations import hear_conversation
from relay_server.operations.events import DeliveryLine, delivery_line
from relay_server.values import Channel, Subscription
from relay_terminal.retold import retold
from relay_terminal.words import _

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
    heard, _scanned_to, _complete = await hear_conversation(who, of, key)
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
    question = _("Did a message of the customer come in?")
    if asked is not None:
        return Question(question, "yes", _("It is stored."), asked.event)
    text = _("No webhook in {channel} brought a message of this conversation's customer.")
    fix = _("In Chatwoot: is the webhook subscribed to message_created? Here: GET /api/v1/refused.")
    return Question(question, "no", text.format(channel=channel.name), fix=fix)


def _is_for(delivery: DeliveryLine | None, subscription: Subscription) -> Question:
    name = subscription.name
    question = _("Is it for {name}?").format(name=name)
    if delivery is None:
        text = _("{name} was made after it came.").format(name=name)
        return Question(question, "no", text, fix=_("relay-client replay it."))
    if delivery.state == "skipped":
        text = _("The filter of {name} leaves it out.").format(name=name)
        fix = f"relay-server subscription set {subscription.channel} {name} --filter …"
        return Question(question, "no", text, fix=fix)
    if delivery.state == "expired":
        text = _("It waited too long for {name}, and has expired: {reason}.")
        text = text.format(name=name, reason=retold(delivery.reason))
        return Question(question, "no", text, fix=_("relay-client replay it."))
    return Question(question, "yes", _("It is."))


def _delivered(delivery: DeliveryLine | None, subscription: Subscription, who: Caller) -> Question:
    question = _("Was it delivered?")
    if delivery is None:
        return Question(question, "unknown", _("It is not for this subscription."))
    name, attempt = subscription.name, delivery.attempt
    match delivery.state:
        case "delivered":
            return Question(question, "yes", _("At attempt {number}.").format(number=attempt))
        case "dead" | "discarded":
            text = _("It was given up: {reason}.").format(reason=retold(delivery.reason))
            return Question(question, "no", text, fix=f"relay-client replay --dead --as {name}")
        case "waiting" if attempt:
            text = _("Attempt {number} failed: {reason}. It is tried again.")
            return Question(
                question, "no", text.format(number=attempt, reason=retold(delivery.reason))
            )
        case "under_way":
            text = _("{name} has it, and has not answered yet.").format(name=name)
            return Question(question, "no", text)
        case _:  # it has not been sent yet
            return Question(question, "no", *_held_up(subscription, who))


def _held_up(subscription: Subscription, who: Caller) -> tuple[str, str, str]:
    """Why a delivery has not been sent yet: text, no event, fix."""
    name, state = subscription.name, who.parts.hub.readers.state(subscription.number)
    if subscription.config.paused:
        text = _("{name} is paused: {reason}.")
        fix = f"relay-server subscription resume {subscription.channel} {name}"
        return text.format(name=name, reason=retold(subscription.config.paused)), "", fix
    if not state.readers:
        return _("Nobody reads {name}.").format(name=name), "", "relay-client connect"
    if state.waits_for_target is not None:
        return _("The target of {name} is not there.").format(name=name), "", ""
    return _("It waits behind an earlier event of the same conversation."), "", ""


def _taken(delivery: DeliveryLine | None) -> Question:
    question = _("Did the bot take it?")
    if delivery is None or delivery.state in ("pending", "skipped", "expired"):
        return Question(question, "unknown", _("It was not asked."))
    if delivery.status is None:
        return Question(question, "no", retold(delivery.reason) or _("It gave no answer."))
    answer = "yes" if 200 <= delivery.status < 300 else "no"
    return Question(question, answer, _("It answered {status}.").format(status=delivery.status))


def _may_answer(state: State) -> Question:
    question = _("May a bot answer?")
    if state.assigned_to == "user":
        text = _("The conversation is {status}, and {name} has it.")
        text = text.format(status=state.status, name=state.assignee or _("an agent"))
        return Question(question, "no", text, fix=_("In Chatwoot: unassign it."))
    if state.status == "resolved":
        return Question(question, "no", _("The conversation is resolved."))
    text = _("The conversation is {status}, and nobody's.").format(status=state.status or "open")
    return Question(question, "yes", text)


def _replied(asked: Line, lines: Sequence[Line]) -> Question:
    question, on_time = _("Did a reply come?"), asked.received_at + REPLY_WITHIN_S * 1_000
    behind = [line for line in lines if line.sequence > asked.sequence and line.message is not None]
    for line in behind:
        if line.message is not None and line.message.is_answer:
            is_late = line.received_at > on_time
            text = _("By {name}, later than {seconds} s.") if is_late else _("By {name}.")
            name = line.message.name or line.message.direction
            text = text.format(name=name, seconds=f"{REPLY_WITHIN_S:g}")
            return Question(question, "yes", text, line.event)
    notes = any(line.message is not None and line.message.private for line in behind)
    text = _("No message of bot or agent came after it.")
    text = _("Only a private note came.") if notes else text
    return Question(question, "no", text, fix=_("Look at the bot's own log."))
