"""What a bot for Chatwoot is made of."""

from relay_chatwoot.authors import Author
from relay_chatwoot.errors import ChatwootError
from relay_chatwoot.signature import Signatures, sign
from relay_client.chatwoot.answering import (
    Code,
    Identity,
    Verdict,
    asked_late,
    may_answer,
    may_still_answer,
    people_spoke,
)
from relay_client.chatwoot.bot import Answer, Bot
from relay_client.chatwoot.events import (
    Account,
    Attachment,
    Contact,
    ContactEvent,
    Conversation,
    ConversationEvent,
    Event,
    Inbox,
    Key,
    Message,
    MessageEvent,
    Sender,
    TypingEvent,
    UnreadableEvent,
    WidgetEvent,
    parse,
)
from relay_client.chatwoot.ledger import Ledger, LedgerUnusable, State, TooMuchWaits, Turn
from relay_client.chatwoot.memory import Memory
from relay_client.chatwoot.settings import BotSettings, read_settings
from relay_client.chatwoot.talks import Line, Reply, Talk

__all__ = [
    "Account",
    "Answer",
    "Attachment",
    "Author",
    "Bot",
    "BotSettings",
    "ChatwootError",
    "Code",
    "Contact",
    "ContactEvent",
    "Conversation",
    "ConversationEvent",
    "Event",
    "Identity",
    "Inbox",
    "Key",
    "Ledger",
    "LedgerUnusable",
    "Line",
    "Memory",
    "Message",
    "MessageEvent",
    "Reply",
    "Sender",
    "Signatures",
    "State",
    "Talk",
    "TooMuchWaits",
    "Turn",
    "TypingEvent",
    "UnreadableEvent",
    "Verdict",
    "WidgetEvent",
    "asked_late",
    "may_answer",
    "may_still_answer",
    "parse",
    "people_spoke",
    "read_settings",
    "sign",
]
