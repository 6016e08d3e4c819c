"""Of the events which tell one message, the first: what a subscription with `--once` gets.

A Chatwoot with an account's webhook, an agent bot and an API inbox posts a message up to three
times, under different delivery ids. Those events have one *family*: the kind, the account, the
message's id and when it was made. The first whose turn comes is delivered; the others are settled
when theirs comes, as skipped, with a note that names the first. A replay asks nothing of this.

    take ──its turn──▶ told_by(body) ──▶ known? ──no──▶ kept, delivered
                                             └───yes──▶ skipped, noted

A `message_updated` is of what a message became, and there may be many of one. It is left out only
if it says the same as the one before it: a digest is made of the message's own fields, and of its
row in the conversation (its status, such as read, and when it was changed), where that is there.
What a conversation says besides is counted on while webhooks are made, so it is no part of that.
Where the two differ in anything else, both go: what is passed twice does less harm than what is
not passed. A first that died is not made up for by the second: it is listed as dead.

What is known is in memory: so many families, for a while. A new reader looks back at what lies
around the subscription's floor and was delivered. So a restart may pass a message twice if more
than `LOOK_BACK` events of the channel lie between its events.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import msgspec

from relay_protocol.values import EventHead
from relay_server.store.interface import Store
from relay_server.values import SAME_MESSAGE, Attempt, Channel, Event

KINDS = ("message_created", "message_updated")  # that tell a message
MAX_BODY_BYTES = 262_144  # a larger body is not looked at, and always goes
MAX_FAMILIES = 4_096  # that are known of a subscription; the oldest goes then
TOGETHER_MS = 3_600_000  # between two events that tell the same message at once
LOOK_BACK = 256  # events on each side of the floor that a new reader looks at
AT_ONCE = 16  # bodies in memory while it does

_NOTHING = msgspec.Raw(b"")


class _Account(msgspec.Struct):
    id: int | str


class _Row(msgspec.Struct):
    id: int | str | None = None
    status: msgspec.Raw = _NOTHING
    updated_at: msgspec.Raw = _NOTHING


class _Conversation(msgspec.Struct):
    id: int | str | None = None
    messages: list[_Row] = []


class _Message(msgspec.Struct):
    id: int | str
    account: _Account
    conversation: _Conversation
    created_at: msgspec.Raw = _NOTHING
    content: msgspec.Raw = _NOTHING
    content_type: msgspec.Raw = _NOTHING
    content_attributes: msgspec.Raw = _NOTHING
    attachments: msgspec.Raw = _NOTHING
    message_type: msgspec.Raw = _NOTHING
    private: msgspec.Raw = _NOTHING
    source_id: msgspec.Raw = _NOTHING
    sender: msgspec.Raw = _NOTHING


class _Sender(msgspec.Struct):
    id: int | str | None = None
    type: str = ""


_messages = msgspec.json.Decoder(_Message)
_senders = msgspec.json.Decoder(_Sender)
_INCOMING, _OUTGOING = (b'"incoming"', b"0"), (b'"outgoing"', b"1")


class Told(NamedTuple):
    """What an event tells.

    Attributes:
        family: The same of all events that tell this.
        said: What the message is then; empty for one that was made, which is told once.
        by: Who wrote it: empty for a customer, None for what nobody answers or who is not named.
    """

    family: bytes
    said: bytes
    by: str | None


class _First(NamedTuple):
    sequence: int
    id: str
    received_at: int
    said: bytes


def told_by(event: Event) -> Told | None:
    """What message an event tells; None where it tells none, or cannot be read."""
    if event.head.kind not in KINDS or len(event.body) > MAX_BODY_BYTES:
        return None
    try:
        message = _messages.decode(event.body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    talk = message.conversation
    which = event.head.kind, message.account.id, talk.id, message.id
    family = _digest(repr(which).encode(), bytes(message.created_at))
    said = b"" if event.head.kind == KINDS[0] else _said(message)
    return Told(family, said, _writer(message))


def _said(message: _Message) -> bytes:
    rows = (row for row in message.conversation.messages if row.id == message.id)
    row = next(rows, _Row())
    return _digest(
        *(bytes(row.status), bytes(row.updated_at)),
        *(bytes(message.content), bytes(message.content_type), bytes(message.content_attributes)),
        *(bytes(message.attachments), bytes(message.message_type)),
        *(bytes(message.private), bytes(message.source_id)),
    )


def _writer(message: _Message) -> str | None:
    if bytes(message.private) not in (b"", b"false"):
        return None
    direction = bytes(message.message_type)
    if direction not in _OUTGOING:
        return "" if direction in _INCOMING else None
    try:
        sender = _senders.decode(message.sender)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return f"{sender.type} {sender.id}"


def _digest(*parts: bytes) -> bytes:
    """Of parts that are JSON, so none holds the byte between them."""
    return hashlib.blake2b(b"\0".join(parts), digest_size=16).digest()


def repeated(event: EventHead, first: str, now_ms: int) -> Attempt:
    """The note that an event's message was told before."""
    return Attempt.note(event.sequence, now_ms, SAME_MESSAGE, f"the same message as {first}")


class Once:
    """Knows the messages that a subscription was told of lately.

    Args:
        subscription: Its name.
    """

    def __init__(self, store: Store, channel: Channel, subscription: str) -> None:
        self._store = store
        self._channel = channel.number
        self._subscription = subscription
        self._firsts: dict[bytes, _First] = {}
        self._looked = False

    def first_of(self, event: Event) -> str:
        """The id of another event that told what this one does; empty if it is the first itself.

        That is kept then.
        """
        told = told_by(event)
        if told is None:
            return ""
        head, known = event.head, self._firsts.get(told.family)
        if known is not None and known.sequence != head.sequence:
            apart_ms = abs(head.received_at - known.received_at)
            if known.said == told.said and apart_ms <= TOGETHER_MS:
                return known.id
        self._keep(told, head)
        return ""

    async def look_back(self, floor: int, up_to: int) -> None:
        """Learn what was delivered before this reader, the first time.

        Args:
            floor: Everything up to this sequence is settled.
            up_to: The last sequence to look at.

        Raises:
            StoreUnavailable: It cannot be read now.
        """
        if self._looked:
            return
        await self._store.flush_if_possible()
        after = max(0, floor - LOOK_BACK)
        outlines = await self._store.outlines(self._channel, after, 2 * LOOK_BACK)
        small = [o.sequence for o in outlines if o.sequence <= up_to and o.size <= MAX_BODY_BYTES]
        for i in range(0, len(small), AT_ONCE):
            await self._learn(small[i : i + AT_ONCE])
        self._looked = True

    async def _learn(self, sequences: list[int]) -> None:
        states = await self._store.deliveries(self._channel, sequences)
        had = [
            sequence
            for sequence, of in zip(sequences, states, strict=True)
            if any(
                one.subscription == self._subscription
                and not one.replay
                and one.state in ("delivered", "dead")
                for one in of
            )
        ]
        for event in await self._store.fetch(self._channel, had):
            self.first_of(event)

    def _keep(self, told: Told, head: EventHead) -> None:
        self._firsts.pop(told.family, None)  # so that it is the newest again
        self._firsts[told.family] = _First(head.sequence, head.id, head.received_at, told.said)
        if len(self._firsts) > MAX_FAMILIES:
            del self._firsts[next(iter(self._firsts))]
