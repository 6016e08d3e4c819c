"""Why a bot has not answered: the steps between a message and its answer, up to where it broke.

Questions and answers are in the language of whoever asks.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence

import msgspec

from relay_server.bodies.talk import Line, State, lines_of, state_of
from relay_server.filters.facts import Direction
from relay_server.operations import Caller
from relay_server.operations.conversations import hear_conversation
from relay_server.operations.dead import GIVEN_UP, can_be_given_up
from relay_server.operations.events import DeliveryLine, delivery_line
from relay_server.values import Channel, Subscription
from relay_terminal.retold import retold
from relay_terminal.words import _

REPLY_WITHIN_S = 60.0  # a later reply is said to be late


class WhyQuery(msgspec.Struct):
    """For whom it is asked: a subscription by name; left out, the caller's own."""

    subscription: str = ""


class Mend(enum.StrEnum):
    """What can be done about it here, by an operation of this name on the subscription or event."""

    REPLAY = "replay"
    RESUME = "resume"
    DISCARD = "discard"
    GIVE_UP = "give_up"  # on the event that the question names, or else on the message's


class Question(msgspec.Struct, omit_defaults=True):
    """A step between a customer's message and its answer.

    Attributes:
        asks: What is asked.
        answer: `yes`, `no`, or `unknown`.
        text: Why that is so.
        event: The event that says it.
        fix: The command, or the step in Chatwoot, that mends it.
        mends: What whoever asks may do about it here, the best first; only of the cause.
    """

    asks: str
    answer: str
    text: str
    event: str = ""
    fix: str = ""
    mends: list[Mend] = []


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
        # A replay of what was delivered asks no more than whether it comes again. What a replay
        # delivered is settled so, though its own last attempt failed: the replay's says more.
        delivered = [one for one in own if one.state == "delivered"]
        taken = [one for one in delivered if _is_taken(one)]
        delivery = next(iter(taken or delivered or own[-1:]), None)
        was_delivered = _delivered(delivery, subscription, who)
        if was_delivered is None:
            was_delivered = await _behind(who, of, subscription, lines, asked)
        questions += [_is_for(delivery, subscription), was_delivered, _taken(delivery)]
        replied = _replied(asked, lines)
        questions += [replied] if replied.answer == "yes" else [_may_answer(state), replied]
    broken = next((one for one in questions if one.answer == "no"), None)
    for one in questions:
        one.mends = [m for m in one.mends if one is broken and _may(who, subscription, m)]
    if asked is not None and broken is not None and Mend.REPLAY in broken.mends:
        [is_kept] = await who.store.examine(of.number, [asked.sequence], lambda e: e.kept) or [
            False
        ]
        broken.mends = [m for m in broken.mends if is_kept or m is not Mend.REPLAY]
    if asked is not None and broken is not None and Mend.GIVE_UP in broken.mends:
        is_forward = subscription.config.forward is not None
        does = "relay-server events give-up" if is_forward else "relay-client give-up"
        broken.fix = broken.fix or f"{does} {broken.event or asked.event}"
    return Why(broken.text if broken else "", asked.event if asked else "", questions)


def _may(who: Caller, subscription: Subscription, mend: Mend) -> bool:
    """Whether that operation would let the caller."""
    if mend is Mend.GIVE_UP:
        return who.owns(subscription)
    return who.admin or (mend is not Mend.DISCARD and subscription.config.forward is None)


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
        again = _("relay-client replay it.")
        return Question(question, "no", text, fix=again, mends=[Mend.REPLAY])
    if delivery.state == "skipped":
        text = _("The filter of {name} leaves it out.").format(name=name)
        fix = f"relay-server subscription set {subscription.channel} {name} --filter …"
        return Question(question, "no", text, fix=fix, mends=[Mend.REPLAY])
    if delivery.state == "expired":
        text = _("It waited too long for {name}, and has expired: {reason}.")
        text = text.format(name=name, reason=retold(delivery.reason))
        again = _("relay-client replay it.")
        return Question(question, "no", text, fix=again, mends=[Mend.REPLAY])
    return Question(question, "yes", _("It is."))


def _delivered(
    delivery: DeliveryLine | None, subscription: Subscription, who: Caller
) -> Question | None:
    """None where it only waits behind another."""
    question = _("Was it delivered?")
    if delivery is None:
        return Question(question, "unknown", _("It is not for this subscription."))
    name, attempt, is_paused = subscription.name, delivery.attempt, subscription.config.paused
    match delivery.state:
        case "delivered":
            return Question(question, "yes", _("At attempt {number}.").format(number=attempt))
        case "dead" | "discarded" as state:
            is_said = delivery.reason.startswith(GIVEN_UP)
            text = _("It is dead: {reason}.") if is_said else _("It was given up: {reason}.")
            text = text.format(reason=retold(delivery.reason))
            fix = f"relay-client replay --dead --as {name}"
            mends = [Mend.REPLAY, *([Mend.DISCARD] if state == "dead" else [])]
            return Question(question, "no", text, fix=fix, mends=mends)
        case "waiting" if attempt and not is_paused:
            mends = [Mend.REPLAY, *([Mend.GIVE_UP] if can_be_given_up(delivery) else [])]
            return Question(question, "no", _failed(delivery), mends=mends)
        case "under_way":
            text = _("{name} has it, and has not answered yet.").format(name=name)
            return Question(question, "no", text)
        case _:  # it has not been sent yet, or is not to be sent again
            return _held_up(question, subscription, who)


def _failed(delivery: DeliveryLine) -> str:
    text = _("Attempt {number} failed: {reason}. It is tried again.")
    return text.format(number=delivery.attempt, reason=retold(delivery.reason))


def _held_up(question: str, subscription: Subscription, who: Caller) -> Question | None:
    """What of its subscription holds a delivery up; None for nothing."""
    name, state = subscription.name, who.parts.hub.readers.state(subscription.number)
    if subscription.config.paused:
        text = _("{name} is paused: {reason}.")
        text = text.format(name=name, reason=retold(subscription.config.paused))
        fix = f"relay-server subscription resume {subscription.channel} {name}"
        return Question(question, "no", text, fix=fix, mends=[Mend.RESUME])
    if not state.readers:
        text = _("Nobody reads {name}.").format(name=name)
        return Question(question, "no", text, fix="relay-client connect")
    if state.waits_for_target is not None:
        return Question(question, "no", _("The target of {name} is not there.").format(name=name))
    return None


async def _behind(
    who: Caller, of: Channel, subscription: Subscription, lines: Sequence[Line], asked: Line
) -> Question:
    """Which earlier event of the conversation a delivery waits for, and for what that does."""
    question = _("Was it delivered?")
    text = _("It waits behind an earlier event of the same conversation.")
    earlier = [line for line in lines if line.sequence < asked.sequence]
    found = await who.store.deliveries(of.number, [line.sequence for line in earlier])
    for line, states in zip(earlier, found, strict=True):
        for one in map(delivery_line, states):
            if one.subscription == subscription.name and one.state in ("waiting", "under_way"):
                if not can_be_given_up(one):
                    return Question(question, "no", text, line.event)
                why = _failed(one) if one.state == "waiting" else ""
                mends = [Mend.GIVE_UP]
                said = f"{text} {why}".rstrip()
                return Question(question, "no", said, line.event, mends=mends)
    return Question(question, "no", text)


def _taken(delivery: DeliveryLine | None) -> Question:
    question = _("Did the bot take it?")
    if delivery is None or delivery.state in ("pending", "skipped", "expired"):
        return Question(question, "unknown", _("It was not asked."))
    if delivery.status is None:
        return Question(question, "no", retold(delivery.reason) or _("It gave no answer."))
    answer = "yes" if _is_taken(delivery) else "no"
    return Question(question, answer, _("It answered {status}.").format(status=delivery.status))


def _is_taken(delivery: DeliveryLine) -> bool:
    return delivery.status is not None and 200 <= delivery.status < 300


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
    fix = _("Look at the bot's own log.")
    return Question(question, "no", text, fix=fix, mends=[Mend.REPLAY])
