"""A bot as somebody outside of this project writes it: `mypy --strict` reads it with the rest."""

from __future__ import annotations

from relay_client.chatwoot import (
    Author,
    ChatwootError,
    Code,
    ConversationEvent,
    Identity,
    MessageEvent,
    Reply,
    Signatures,
    Talk,
    UnreadableEvent,
    may_answer,
    parse,
    people_spoke,
)

BOT = Identity(account=2, bot=9)
signatures = Signatures(secrets=("FIXTUREwebhookSECRET0001",))


async def greet(talk: Talk) -> str | None:
    """Answer words, and leave the rest to people."""
    if not talk.text:
        talk.hand_over(f"{len(talk.attachments)} files, no words")
        return None
    said_before = [line.text for line in talk.history if line.author == "bot"]
    again = " de novo" if said_before else ""
    return f"Olá{again}, {talk.customer.name}! {talk.customer.email}".strip()


async def greet_with_a_label(talk: Talk) -> str | None:
    """Answer, and have people look where there is no label."""
    try:
        await talk.label("bolo")
    except ChatwootError as exc:
        talk.hand_over(f"no label: {exc.code}")
    return await greet(talk)


reply: Reply = greet
reply_with_a_label: Reply = greet_with_a_label


def considered(body: bytes) -> tuple[Code | None, str]:
    """What a webhook asks for: why it is not answered, and what it says."""
    try:
        event = parse(body)
    except UnreadableEvent as exc:
        return None, exc.code
    if isinstance(event, ConversationEvent):
        before, after = event.changes.get("status", (None, None))
        return None, f"{event.conversation.status}: {before} to {after}"
    spoke: bool = people_spoke(event, before=False)
    verdict = may_answer(event, BOT, people_spoke=spoke)
    if isinstance(event, MessageEvent) and event.message.author(BOT.bot) is Author.CUSTOMER:
        labels: tuple[str, ...] = event.conversation.labels
        return verdict.code, f"{event.message.words} {list(labels)}"
    return verdict.code, verdict.reason
