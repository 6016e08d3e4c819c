"""What a reply is asked about, and what it may do in Chatwoot beside answering.

>>> from relay_client import samples
>>> from relay_client.chatwoot.events import parse
>>> talk = Talk(None, [parse(samples.read("agent_bot_message_created"))])
>>> talk.text
'quero falar com um humano, por favor 🙏'
>>> talk.customer.name
'João Gonçalves da Conceição'
>>> talk.key
Key(account=2, conversation=318)

A reply is a function of a talk:

    async def reply(talk: Talk) -> str | None:
        if "humano" in talk.text:
            talk.hand_over("the customer asks for a person")
            return "Já chamo alguém."
        async with talk.typing():
            return await ask_model(talk.text, talk.history)

What it returns is sent once, also where the bot is killed meanwhile. What it does by itself
(`say`, `note`, `label`) may be done once more then, because the reply is asked for again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Literal, Protocol

from relay_chatwoot.errors import ChatwootError
from relay_chatwoot.handoff import is_own
from relay_chatwoot.steps import Desk, add_labels, look
from relay_client.chatwoot.answering import Code, Identity, may_still_answer
from relay_client.chatwoot.events import (
    Attachment,
    Contact,
    Conversation,
    Key,
    Message,
    MessageEvent,
)
from relay_protocol.text import well_formed
from relay_terminal.words import _

CALL_WAITS_S = (1.0, 3.0)  # before a call to Chatwoot is made again, where it failed for a while
PATIENCE_S = 30.0  # for Chatwoot's `Retry-After` within a reply; else the reply is asked for later

Who = Literal["customer", "bot", "human"]


@dataclass(frozen=True, slots=True)
class Line:
    """Something that was said.

    Attributes:
        author: `"customer"`, `"bot"` or `"human"`, one of the team.
        at: In Unix seconds.
    """

    author: Who
    text: str
    at: float


class Talk:
    """A conversation in which a customer waits for an answer.

    Its calls to Chatwoot are made again where that may help, for some seconds, or when Chatwoot's
    `Retry-After` has it; then, and at once where Chatwoot refuses, they raise `ChatwootError`.

    Args:
        desk: Speaks to the account's Chatwoot; without one, the talk can only be read.
        events: The webhooks of the messages to be answered, the oldest first; one at least.
        history: What was said before, and these messages too, the oldest first.
        bot: The number of the agent bot; None where that is not known.

    Attributes:
        key: Account and conversation: what to keep a model's memory by.
        conversation: As it was when the newest message came.
        customer: Who is to be answered; their name is what a stranger says of themselves.
        messages: What is to be answered, the oldest first; several where they came in a row.
        wish: Why people are to have it; empty where they are not.
    """

    def __init__(
        self,
        desk: Desk | None,
        events: Sequence[MessageEvent],
        history: Sequence[Line] = (),
        bot: int | None = None,
    ) -> None:
        newest = events[-1]
        self.key = Key(newest.account.id, newest.conversation.id)
        self.conversation: Conversation = newest.conversation
        self.customer = self.conversation.meta.sender or _nameless(newest.message)
        self.messages: tuple[Message, ...] = tuple(event.message for event in events)
        self.history = tuple(history)
        self.wish = ""
        self._desk = desk
        self._bot = bot or 0

    def __repr__(self) -> str:
        return f"<Talk {self.key.account}/{self.key.conversation}>"

    @property
    def text(self) -> str:
        """What the customer wrote, a line a message; empty where only files came."""
        return "\n".join(filter(None, (message.words for message in self.messages)))

    @property
    def attachments(self) -> tuple[Attachment, ...]:
        """All files that came."""
        return tuple(file for message in self.messages for file in message.attachments)

    def chat(self) -> list[dict[str, str]]:
        """What was said, as models take it; it ends with what is to be answered, as one message.

        >>> from relay_client import samples
        >>> from relay_client.chatwoot.events import parse
        >>> asked = parse(samples.read("agent_bot_message_created"))
        >>> said = [Line("customer", "Oi", 0.0), Line("human", "Olá!", 1.0)]
        >>> talk = Talk(None, [asked], [*said, Line("customer", asked.message.content, 2.0)])
        >>> [(line["role"], line["content"][:10]) for line in talk.chat()]
        [('user', 'Oi'), ('assistant', 'Olá!'), ('user', 'quero fala')]

        Returns:
            Roles and contents; to the customer, the bot and the team are one.
        """
        before = list(self.history)
        while before and before[-1].author == "customer" and before[-1].text in self.text:
            before.pop()
        said = [(line.author, line.text) for line in before] + [("customer", self.text)]
        roles = {"customer": "user", "bot": "assistant", "human": "assistant"}
        return [{"role": roles[author], "content": text} for author, text in said if text]

    def hand_over(self, reason: str = "") -> None:
        """Have people take the conversation once the reply has returned, and its answer is sent.

        Args:
            reason: They read it in a note.
        """
        self.wish = well_formed(reason) or _("the bot asked for it")

    async def say(self, text: str) -> None:
        """Tell the customer something before the answer, such as that it takes a while.

        Nothing is said where people have the conversation by now: the answer is not sent, either.
        """
        await self._write(text, private=False)

    async def note(self, text: str) -> None:
        """Write a note that only the team sees."""
        await self._write(text, private=True)

    async def label(self, *labels: str) -> None:
        """Add labels to those that the conversation has."""
        desk, id_ = self._at()
        await _persist(lambda: add_labels(desk, id_, *labels))

    async def assign(self, *, team: int | None = None, user: int | None = None) -> None:
        """Give the conversation to a team, or to somebody of it, by number; one of them."""
        desk, id_ = self._at()
        await _persist(lambda: desk.assign(id_, team=team, user=user))

    @asynccontextmanager
    async def typing(self) -> AsyncIterator[None]:
        """Show the customer that somebody types, as long as the block; whatever becomes of that."""
        desk, id_ = self._at()
        with suppress(ChatwootError):
            await desk.typing(id_, on=True)
        try:
            yield
        finally:
            with suppress(ChatwootError):
                await desk.typing(id_, on=False)

    def _at(self) -> tuple[Desk, int]:
        if self._desk is None:
            raise AssertionError("a talk without a desk can only be read")
        return self._desk, self.key.conversation

    async def _write(self, text: str, *, private: bool) -> None:
        """Write a message; where nobody knows whether it is there, look before writing it again."""
        desk, id_ = self._at()
        text, tried = well_formed(text), False

        async def write() -> None:
            nonlocal tried
            if tried and await self._is_written(text):
                return
            if not private and await self._is_peoples():
                return
            tried = True
            await desk.write(id_, text, private=private)

        await _persist(write)

    async def _is_peoples(self) -> bool:
        desk, id_ = self._at()
        bot, upto = Identity(self.key.account, self._bot or None), self.messages[-1].id
        verdict = may_still_answer(await look(desk, id_), upto, bot)
        return not verdict and verdict.code is not Code.NEWER_MESSAGE

    async def _is_written(self, text: str) -> bool:
        """Whether the newest message is the bot's, in these words, and younger than the talk."""
        desk, id_ = self._at()
        last = (await look(desk, id_)).last
        if last is None or last.id <= self.messages[-1].id:
            return False
        return is_own(last, self._bot) and last.content == text


def _nameless(message: Message) -> Contact:
    """The customer of a conversation that does not say whose it is."""
    return Contact(id=message.sender.id or 0, name=message.sender.name)


async def _persist(call: Callable[[], Awaitable[None]]) -> None:
    """Make a call, and again where it failed and may succeed later."""
    for wait_s in CALL_WAITS_S:
        try:
            await call()
            return
        except ChatwootError as exc:
            if not exc.again or exc.retry_after_s > PATIENCE_S:
                raise
            wait_s = max(wait_s, exc.retry_after_s)
        await asyncio.sleep(wait_s)
    await call()


class Reply(Protocol):
    """Finds the answer: None leaves the conversation to people, an empty text says nothing."""

    def __call__(self, talk: Talk, /) -> Awaitable[str | None]:
        """Answer what the talk holds; what is raised is tried again, and then people have it."""


def answer_of(returned: object) -> str | None:
    """What a reply returned, as it can be sent; what is blank is empty.

    Raises:
        TypeError: It is neither a text nor None.
    """
    if returned is None:
        return None
    if not isinstance(returned, str):
        kind = type(returned).__name__
        raise TypeError(_("its answer is no text, but of the type {kind}").format(kind=kind))
    return well_formed(returned) if returned.strip() else ""
