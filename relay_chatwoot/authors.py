"""Who wrote a message, by what Chatwoot says of it. Pure."""

from __future__ import annotations

import enum
from collections.abc import Mapping

# Of what was written past Chatwoot, in the app of WhatsApp or Instagram; forks have the second.
ECHOES = frozenset({"external_echo", "external_sender_name"})
_NOTHING: Mapping[str, object] = {}


class Author(enum.StrEnum):
    """Who wrote a message.

    Attributes:
        CUSTOMER: A contact.
        BOT: The agent bot that asks; any, where its number is not known.
        OTHER_BOT: Another agent bot.
        CAPTAIN: Chatwoot's own assistant.
        HUMAN: Somebody of the team, in Chatwoot.
        PHONE: Somebody of the team, past Chatwoot: in the channel's own app.
        AUTOMATION: An automation rule, a campaign whoever is its sender, or nobody.
        CHATWOOT: Chatwoot itself: templates, and lines that say what happened.
    """

    CUSTOMER = "customer"
    BOT = "bot"
    OTHER_BOT = "other_bot"
    CAPTAIN = "captain"
    HUMAN = "human"
    PHONE = "phone"
    AUTOMATION = "automation"
    CHATWOOT = "chatwoot"

    @property
    def is_person(self) -> bool:
        """True for somebody of the team, wherever they wrote."""
        return self in (Author.HUMAN, Author.PHONE)

    @property
    def is_bot(self) -> bool:
        """True for whatever answers by itself."""
        return self in (Author.BOT, Author.OTHER_BOT, Author.CAPTAIN)


def author_of(
    message_type: object,
    sender_type: object,
    attributes: Mapping[str, object],
    *,
    more: Mapping[str, object] = _NOTHING,
    source_id: object = None,
    sender_id: object = None,
    bot: int | None = None,
) -> Author:
    """Say who wrote a message.

    Args:
        message_type: As a webhook has it (`incoming`), or the API (0).
        sender_type: Of its sender; a customer has none in webhooks.
        attributes: Its `content_attributes`.
        more: Its `additional_attributes`.
        source_id: Its number in the channel; one that Chatwoot sent out itself has none at first.
        sender_id: Of its sender.
        bot: The number of the agent bot that asks; None where that is not known.
    """
    match message_type, sender_type:
        case "incoming" | 0, "agent_bot":  # two bots must not talk to each other for ever
            return Author.BOT if bot in (None, sender_id) else Author.OTHER_BOT
        case "incoming" | 0, _:
            return Author.CUSTOMER
        case "outgoing" | 1, "user":
            return Author.AUTOMATION if _by_itself(attributes, more) else Author.HUMAN
        case "outgoing" | 1, "agent_bot":
            return Author.BOT if bot in (None, sender_id) else Author.OTHER_BOT
        case "outgoing" | 1, "captain_assistant":
            return Author.CAPTAIN
        case "outgoing" | 1, _:
            return _of_nobody(attributes, more, source_id)
        case _:
            return Author.CHATWOOT


def _by_itself(attributes: Mapping[str, object], more: Mapping[str, object]) -> bool:
    """True of what a rule or a campaign sent, though in somebody's name."""
    return bool(attributes.get("automation_rule_id") or more.get("campaign_id"))


def _of_nobody(
    attributes: Mapping[str, object], more: Mapping[str, object], source_id: object
) -> Author:
    """Who wrote what has no sender: a rule's message gets its number in the channel later."""
    if not ECHOES.isdisjoint(attributes):
        return Author.PHONE
    if _by_itself(attributes, more) or not source_id:
        return Author.AUTOMATION
    return Author.PHONE
