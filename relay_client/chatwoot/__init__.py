"""What a bot for Chatwoot is made of."""

from relay_chatwoot.authors import Author
from relay_chatwoot.signature import Signatures, sign
from relay_client.chatwoot.answering import (
    Code,
    Identity,
    Verdict,
    may_answer,
    may_still_answer,
    people_spoke,
)
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
from relay_client.chatwoot.talks import Line, Reply, Talk

__all__ = [
    "Account",
    "Attachment",
    "Author",
    "Code",
    "Contact",
    "ContactEvent",
    "Conversation",
    "ConversationEvent",
    "Event",
    "Identity",
    "Inbox",
    "Key",
    "Line",
    "Message",
    "MessageEvent",
    "Reply",
    "Sender",
    "Signatures",
    "Talk",
    "TypingEvent",
    "UnreadableEvent",
    "Verdict",
    "WidgetEvent",
    "may_answer",
    "may_still_answer",
    "parse",
    "people_spoke",
    "sign",
]
