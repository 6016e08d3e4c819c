"""Whether a bot may answer, and why not. Pure: it is told what was said, and how it stands.

It is asked twice: when a webhook comes (`may_answer`), and just before the answer goes out, of the
conversation as Chatwoot shows it then (`may_still_answer`). A bot answers what a customer wrote, in
a conversation that is its own: `pending`, and of nobody of the team.

>>> from relay_client import samples
>>> from relay_client.chatwoot.events import parse
>>> bot = Identity(account=2, bot=9)
>>> bool(may_answer(parse(samples.read("agent_bot_message_created")), bot))
True
>>> verdict = may_answer(parse(samples.read("message_created_private_note")), bot)
>>> verdict.code
<Code.PRIVATE_NOTE: 'private_note'>
>>> verdict.reason
'it is a private note'

>>> from relay_chatwoot.resources import Conversation, LastMessage, Sender
>>> answered = LastMessage(90420, "Deixa comigo", Sender(5, "user"), message_type=1)
>>> now = Conversation(318, "pending", last_non_activity_message=answered)
>>> may_still_answer(now, upto=90417, bot=bot).reason
'somebody of the team answered in the conversation'

Chatwoot leaves a conversation pending when somebody of the team answers in it, in Chatwoot or on
the phone. Whether somebody did is the caller's to remember, from event to event (`people_spoke`).
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import NamedTuple

import msgspec
from pydantic_core import to_json

from relay_chatwoot import resources
from relay_chatwoot.authors import Author
from relay_chatwoot.handoff import PENDING
from relay_client.chatwoot.events import (
    Assignee,
    Conversation,
    ConversationEvent,
    Event,
    Message,
    MessageEvent,
)
from relay_terminal.words import N_, _

MESSAGE = "message_created"


class Identity(NamedTuple):
    """Who the bot is.

    Attributes:
        account: Whose it is.
        bot: Its number; None where that is not known, and each agent bot counts as this one.
    """

    account: int
    bot: int | None = None


class Code(enum.StrEnum):
    """Why a bot may not answer, for programs."""

    MAY = "may_answer"
    OTHER_ACCOUNT = "other_account"
    NO_MESSAGE = "no_message"
    PRIVATE_NOTE = "private_note"
    BOT = "own_message"
    OTHER_BOT = "other_bot"
    CAPTAIN = "captain"
    HUMAN = "human"
    PHONE = "phone"
    AUTOMATION = "automation"
    CHATWOOT = "chatwoot"
    DELETED = "deleted"
    VOICE_CALL = "voice_call"
    UNSUPPORTED = "unsupported"
    EMPTY = "empty"
    NOT_PENDING = "not_pending"
    ASSIGNED = "assigned"
    OTHERS_TALK = "other_bots_conversation"
    HUMAN_SINCE = "human_since"
    BOT_SINCE = "other_bot_since"
    NEWER_MESSAGE = "newer_message"


REASONS = {
    Code.MAY: N_("it may"),
    Code.OTHER_ACCOUNT: N_("it is about the account {fact}"),
    Code.NO_MESSAGE: N_("it is no new message"),
    Code.PRIVATE_NOTE: N_("it is a private note"),
    Code.BOT: N_("the bot wrote it"),
    Code.OTHER_BOT: N_("another bot wrote it"),
    Code.CAPTAIN: N_("Chatwoot's assistant wrote it"),
    Code.HUMAN: N_("somebody of the team wrote it"),
    Code.PHONE: N_("somebody of the team wrote it on the phone"),
    Code.AUTOMATION: N_("an automation wrote it"),
    Code.CHATWOOT: N_("Chatwoot wrote it"),
    Code.DELETED: N_("it was deleted"),
    Code.VOICE_CALL: N_("it is a voice call"),
    Code.UNSUPPORTED: N_("it is something that Chatwoot cannot show"),
    Code.EMPTY: N_("it has neither words nor files"),
    Code.NOT_PENDING: N_("people have the conversation: it is {fact}"),
    Code.ASSIGNED: N_("somebody of the team has the conversation"),
    Code.OTHERS_TALK: N_("another bot has the conversation"),
    Code.HUMAN_SINCE: N_("somebody of the team answered in the conversation"),
    Code.BOT_SINCE: N_("another bot answered meanwhile"),
    Code.NEWER_MESSAGE: N_("the customer wrote more meanwhile"),
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the bot may answer: true if so.

    Attributes:
        code: Why not, for programs.
        fact: What fills the sentence.
    """

    code: Code
    fact: str = ""

    def __bool__(self) -> bool:
        return self.code is Code.MAY

    @property
    def reason(self) -> str:
        """Why not, for people."""
        return _(REASONS[self.code]).format(fact=self.fact)


MAY = Verdict(Code.MAY)


def may_answer(event: Event, bot: Identity, *, people_spoke: bool = False) -> Verdict:
    """Say whether a webhook asks for an answer.

    Args:
        event: The webhook.
        bot: Who would answer.
        people_spoke: Somebody of the team answered there, as `people_spoke` says.
    """
    if event.account is not None and event.account.id != bot.account:
        return Verdict(Code.OTHER_ACCOUNT, str(event.account.id))
    if not isinstance(event, MessageEvent) or event.kind != MESSAGE:
        return Verdict(Code.NO_MESSAGE)
    verdict = _of_message(event.message, bot) and _of_conversation(event.conversation, bot)
    return Verdict(Code.HUMAN_SINCE) if verdict and people_spoke else verdict


def asked_late(event: Event, bot: int | None) -> bytes | None:
    """The webhook that a bot did not get, where it is given a conversation in which somebody waits.

    Of messages that came before, Chatwoot tells a bot nothing but what this event says.

    Args:
        event: The webhook.
        bot: The number of the bot.

    Returns:
        A body of `message_created` about the newest message; None where the event is another one.
    """
    is_given = isinstance(event, ConversationEvent) and event.given_to == bot is not None
    if not is_given or event.account is None or event.conversation is None:
        return None
    if not event.conversation.messages:
        return None
    around = {"account": event.account, "conversation": event.conversation}
    return to_json(event.conversation.messages[-1].model_dump() | around | {"event": MESSAGE})


def may_still_answer(now: resources.Conversation, upto: int, bot: Identity) -> Verdict:
    """Say whether an answer may go out.

    Args:
        now: The conversation, looked up; of messages it shows the newest.
        upto: The id of the newest message that is answered.
        bot: Who would answer.
    """
    verdict = _standing(now.status, now.meta.assignee_type or "", now.meta.assignee, bot)
    last = now.last
    if not verdict or last is None or last.private:
        return verdict
    message = Message.model_validate(msgspec.to_builtins(last))
    if last.id <= upto:
        return Verdict(Code.DELETED) if last.id == upto and message.is_deleted else MAY
    match message.author(bot.bot):
        case Author.CUSTOMER:  # it is answered itself, if it can be
            return Verdict(Code.NEWER_MESSAGE) if _of_message(message, bot) else MAY
        case Author.HUMAN | Author.PHONE:
            return Verdict(Code.HUMAN_SINCE)
        case Author.OTHER_BOT | Author.CAPTAIN:
            return Verdict(Code.BOT_SINCE)
        case _:
            return MAY


def people_spoke(event: Event, before: bool) -> bool:
    """Say whether people have the conversation after a webhook, though it may be pending still.

    They have it once somebody of the team answers the customer, until Chatwoot itself says whose it
    is: until it is not pending, whatever comes after, or is given to a bot. Of an answer only
    `message_created` counts: that one of last week was read, or has its number in the channel by
    now, is no answer.

    >>> from relay_client import samples
    >>> from relay_client.chatwoot.events import parse
    >>> resolved = parse(samples.read("agent_bot_conversation_resolved"))
    >>> people_spoke(resolved, before=True)
    False

    Args:
        event: The webhook; of the same conversation as those before.
        before: What this said of the webhook before; False of the first.
    """
    if event.conversation is None:
        return before
    if event.conversation.status != PENDING:
        return False
    if isinstance(event, ConversationEvent) and event.given_to is not None:
        return False
    if not isinstance(event, MessageEvent) or event.kind != MESSAGE or event.message.private:
        return before
    return before or event.message.author().is_person


def _of_message(message: Message, bot: Identity) -> Verdict:
    author = message.author(bot.bot)
    if message.private:
        return Verdict(Code.PRIVATE_NOTE)
    if author is not Author.CUSTOMER:
        return Verdict(Code[author.name])
    if message.is_deleted:
        return Verdict(Code.DELETED)
    if message.content_type == "voice_call":
        return Verdict(Code.VOICE_CALL)
    if message.is_unsupported:
        return Verdict(Code.UNSUPPORTED)
    return MAY if message.words or message.attachments else Verdict(Code.EMPTY)


def _of_conversation(talk: Conversation, bot: Identity) -> Verdict:
    return _standing(talk.status, talk.meta.assignee_type, talk.meta.assignee, bot)


def _standing(
    status: str, kind: str, assignee: Assignee | resources.Assignee | None, bot: Identity
) -> Verdict:
    """Whether a conversation is the bot's, by its status and who has it."""
    if status != PENDING:
        return Verdict(Code.NOT_PENDING, status)
    if assignee is None:
        return MAY
    if kind != "AgentBot" and assignee.type != "agent_bot":
        return Verdict(Code.ASSIGNED)
    return MAY if bot.bot in (None, assignee.id) else Verdict(Code.OTHERS_TALK)
