"""What Chatwoot's webhooks say, from 4.0 to 4.18, with types.

A webhook is read with `parse`; its class says what it is about. What this library has no name for
is kept, as `extra` of the object that had it:

>>> from relay_client import samples
>>> event = parse(samples.read("message_created_incoming"))
>>> event
<MessageEvent message_created account 2 conversation 318>
>>> event.message.sender.name
'João Gonçalves da Conceição'
>>> event.conversation.extra["waiting_since"]
1782999910

**Two kinds of ids.** A conversation's id, here and in every call of the API, is the number that
people see in the address bar. It is one account's: the next account has a conversation 318, too. So
a conversation is known by its account and its id: `event.key`. All other ids are the database's, a
message's as well: no two messages of an installation have the same.

A number, a name or an object that is optional counts as left out where Chatwoot sends something
else in its place. Bodies hold secrets and personal data: what is printed of these objects is ids.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Annotated, Any, NamedTuple

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)
from pydantic_core import from_json

from relay_chatwoot.authors import Author, author_of
from relay_protocol.errors import RelayError
from relay_protocol.text import plainly
from relay_terminal.words import _

MAX_ID = 2**63 - 1  # of what has a number, as databases have them
TYPES = ("incoming", "outgoing", "activity", "template")  # of messages, as the API numbers them


class UnreadableEvent(RelayError, code="unreadable_event", status=400):
    """A body that cannot be what Chatwoot sends."""

    message = "the body is no webhook of Chatwoot's: {}"


def _or(default: Callable[[], Any]) -> WrapValidator:
    """Take what is unfit, null too, as left out."""

    def read(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        try:
            return handler(value)
        except ValidationError:
            return default()

    return WrapValidator(read)


def _fit(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
    """Take what fits of a list."""
    found = []
    for one in value if isinstance(value, list | tuple) else ():
        with suppress(ValidationError):
            found += handler([one])
    return tuple(found)


def _type_of(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
    """A message's type by its name; the API, and a conversation's messages, have it by number.

    A number that a later version adds is a name of its own.
    """
    if type(value) is not int:
        return handler(value)
    return TYPES[value] if 0 <= value < len(TYPES) else str(value)


_NONE = _or(lambda: None)
Id = Annotated[int, Field(ge=0, le=MAX_ID)]
OptionalId = Annotated[Id | None, _NONE]
Text = Annotated[str, _or(str)]
Texts = Annotated[tuple[str, ...], WrapValidator(_fit)]
Flag = Annotated[bool, _or(bool)]
Json = Annotated[dict[str, Any], _or(dict)]


class Model(BaseModel):
    """An object of Chatwoot's."""

    model_config = ConfigDict(extra="allow", frozen=True)

    @property
    def extra(self) -> dict[str, Any]:
        """What it has beyond the fields that are named here."""
        return self.model_extra or {}

    def __repr__(self) -> str:
        return f"<{' '.join([type(self).__name__, *self._named()])}>"

    __str__ = __repr__

    def _named(self) -> Iterator[str]:
        id_ = getattr(self, "id", None)
        if id_ is not None:
            yield str(id_)


class Account(Model):
    """An account of the installation."""

    id: Id
    name: Text = ""


class Inbox(Model):
    """Where a conversation came in."""

    id: Id
    name: Text = ""


class Contact(Model):
    """A customer.

    Attributes:
        identifier: What the customer's own system calls them.
        custom_attributes: As the team filled them in.
        blocked: The team takes nothing from them.
    """

    id: Id
    name: Text = ""
    email: Text = ""
    phone_number: Text = ""
    identifier: Text = ""
    custom_attributes: Json = {}
    blocked: Flag = False


class Sender(Model):
    """Whoever wrote a message.

    Attributes:
        type: `user`, `agent_bot` or `captain_assistant`; a customer has none, or `contact`.
    """

    id: OptionalId = None
    name: Text = ""
    type: Text = ""


class Attachment(Model):
    """A file, or a place, that came with a message.

    Attributes:
        file_type: `image`, `audio`, `video`, `file`, `location`, `contact`, `fallback`, `embed`,
            `share`, `story_mention`, `ig_story` and others.
        data_url: Where the file is; it answers with a redirect. Empty for what is no file.
        transcribed_text: What was said in a recording, once Chatwoot knows.
    """

    id: OptionalId = None
    file_type: Text = ""
    content_type: Text = ""
    data_url: Text = ""
    transcribed_text: Text = ""
    fallback_title: Text = ""


class Message(Model):
    """What somebody wrote, the bot included.

    Attributes:
        id: Of the whole installation: the same in each webhook about one message.
        message_type: `incoming`, `outgoing`, `template` (greetings and the like) or `activity`.
        content: Its text; empty where only files came.
        content_type: `text`, `input_select`, `voice_call` and others.
        private: A note of the team's, which the customer does not see.
        source_id: What the channel calls it; empty where it has no name there.
        sender: Of no id where nobody is named, as of templates and rules.
    """

    id: Id
    message_type: Annotated[str, WrapValidator(_type_of)]
    content: Text = ""
    content_type: Text = ""
    content_attributes: Json = {}
    additional_attributes: Json = {}
    private: bool = False
    source_id: Text = ""
    sender: Annotated[Sender, _or(Sender)] = Sender()
    attachments: Annotated[tuple[Attachment, ...], WrapValidator(_fit)] = ()

    @property
    def words(self) -> str:
        """What it says: its text, and of recordings what Chatwoot wrote down of them."""
        said = [self.content, *(one.transcribed_text for one in self.attachments)]
        return "\n".join(filter(None, map(str.strip, said)))

    @property
    def is_deleted(self) -> bool:
        """True if it was taken back; its content is what Chatwoot says of that."""
        return bool(self.content_attributes.get("deleted"))

    @property
    def is_unsupported(self) -> bool:
        """True if the channel sent what Chatwoot cannot show; its content is Chatwoot's own."""
        return bool(self.content_attributes.get("is_unsupported"))

    def author(self, bot: int | None = None) -> Author:
        """Who wrote it.

        Args:
            bot: The number of the agent bot that asks; without it, each agent bot counts as that.
        """
        return author_of(
            self.message_type,
            self.sender.type,
            self.content_attributes,
            more=self.additional_attributes,
            source_id=self.source_id,
            sender_id=self.sender.id,
            bot=bot,
        )


class Assignee(Model):
    """Whoever has a conversation: somebody of the team, or since 4.16.2 its bot."""

    id: OptionalId = None
    name: Text = ""
    type: Text = ""


class Team(Model):
    """A team of the account's."""

    id: Id
    name: Text = ""


class Meta(Model):
    """Who is in a conversation.

    Attributes:
        sender: Its customer.
        assignee_type: `User` or `AgentBot`; empty where nobody has it.
    """

    sender: Annotated[Contact | None, _NONE] = None
    assignee: Annotated[Assignee | None, _NONE] = None
    assignee_type: Text = ""
    team: Annotated[Team | None, _NONE] = None


class Conversation(Model):
    """A conversation as it was when the webhook was made.

    Attributes:
        id: The number that people see; unique within its account.
        status: `pending` (its bot has it), `open`, `snoozed` or `resolved`.
        channel: What it came in by, such as `Channel::WebWidget`.
        can_reply: False once the channel takes no more answers, such as WhatsApp after 24 hours.
        messages: The newest one, perhaps.
    """

    id: Id
    status: str = Field(max_length=100)
    inbox_id: OptionalId = None
    channel: Text = ""
    can_reply: Annotated[bool, _or(lambda: True)] = True
    labels: Texts = ()
    meta: Annotated[Meta, _or(Meta)] = Meta()
    custom_attributes: Json = {}
    messages: Annotated[tuple[Message, ...], WrapValidator(_fit)] = ()


class Key(NamedTuple):
    """What a conversation is known by: its id alone is another one's in another account."""

    account: int
    conversation: int


class Event(Model):
    """A webhook; of a kind that has no class of its own, its body is in `extra`.

    Attributes:
        kind: Chatwoot's name for what happened, such as `message_created`.
        account: None where a webhook names none, as the installation's own do.
        conversation: That it is about, if any.
    """

    kind: str
    account: Annotated[Account | None, _NONE] = None
    conversation: Annotated[Conversation | None, _NONE] = None

    @property
    def key(self) -> Key | None:
        """Of the conversation that it is about."""
        if self.account is None or self.conversation is None:
            return None
        return Key(self.account.id, self.conversation.id)

    def _named(self) -> Iterator[str]:
        yield self.kind
        if self.account is not None:
            yield f"account {self.account.id}"
        if self.conversation is not None:
            yield f"conversation {self.conversation.id}"


class MessageEvent(Event):
    """`message_created` or `message_updated`."""

    account: Account
    conversation: Conversation
    message: Message


class ConversationEvent(Event):
    """Something happened to a conversation: `conversation_resolved`, a rule, a macro and others.

    Attributes:
        changes: What it was before and is now, by name: `{"status": ("pending", "open")}`. Chatwoot
            leaves them out of `conversation_status_changed`.
    """

    conversation: Conversation
    changes: dict[str, tuple[Any, Any]] = {}

    @property
    def given_to(self) -> object:
        """The number of the agent bot that was given the conversation by this; else None."""
        return self.changes.get("assignee_agent_bot_id", (None, None))[1]


class TypingEvent(Event):
    """Somebody types, or stopped: `conversation_typing_on`, `conversation_typing_off`."""

    conversation: Conversation
    user: Annotated[Sender, _or(Sender)] = Sender()
    is_private: Flag = False


class ContactEvent(Event):
    """A contact was made or changed: `contact_created`, `contact_updated`."""

    contact: Contact
    changes: dict[str, tuple[Any, Any]] = {}


class WidgetEvent(Event):
    """Somebody opened the widget on a page: `webwidget_triggered`. A conversation may follow."""

    contact: Annotated[Contact | None, _NONE] = None
    inbox: Annotated[Inbox | None, _NONE] = None


def parse(body: bytes) -> Event:
    """Read a webhook's body.

    >>> parse(b'{"event": "account_created", "id": 7}').extra
    {'id': 7}

    Args:
        body: As it came.

    Raises:
        UnreadableEvent: It is no webhook of Chatwoot's.
    """
    try:
        read = from_json(body)
    except ValueError:
        raise UnreadableEvent(_("it is not JSON")) from None
    if not isinstance(read, dict) or not isinstance(read.get("event"), str):
        raise UnreadableEvent(_("it names no event"))
    kind = read.pop("event")
    kind_of, fields = _SHAPES.get(kind.partition(".")[0], (Event, dict))
    try:
        return kind_of.model_validate({**fields(read), "kind": kind})
    except ValidationError as exc:
        raise UnreadableEvent(_why(kind, exc)) from None


def _of_message(body: dict[str, Any]) -> dict[str, Any]:
    around = {name: body.pop(name, None) for name in ("account", "conversation")}
    return {**around, "message": body}


def _of_conversation(body: dict[str, Any]) -> dict[str, Any]:
    changes = _changes(body.pop("changed_attributes", None))
    return {"account": body.get("account"), "conversation": body, "changes": changes}


def _of_contact(body: dict[str, Any]) -> dict[str, Any]:
    changes = _changes(body.pop("changed_attributes", None))
    return {"account": body.pop("account", None), "contact": body, "changes": changes}


def _of_typing(body: dict[str, Any]) -> dict[str, Any]:
    talk = body.get("conversation")
    return {"account": talk.get("account") if isinstance(talk, dict) else None, **body}


def _of_widget(body: dict[str, Any]) -> dict[str, Any]:
    talk = body.pop("current_conversation", None)
    return {**body, "conversation": talk if isinstance(talk, dict) and "status" in talk else None}


_SHAPES: dict[str, tuple[type[Event], Callable[[dict[str, Any]], dict[str, Any]]]] = {
    **dict.fromkeys(("message_created", "message_updated"), (MessageEvent, _of_message)),
    **dict.fromkeys(
        (
            *("conversation_created", "conversation_updated", "conversation_status_changed"),
            *("conversation_opened", "conversation_resolved", "automation_event", "macro"),
        ),
        (ConversationEvent, _of_conversation),
    ),
    **dict.fromkeys(
        ("conversation_typing_on", "conversation_typing_off"), (TypingEvent, _of_typing)
    ),
    **dict.fromkeys(("contact_created", "contact_updated"), (ContactEvent, _of_contact)),
    "webwidget_triggered": (WidgetEvent, _of_widget),
}


def _changes(listed: Any) -> dict[str, tuple[Any, Any]]:
    """Of a list of objects with one key each, or null."""
    found = {}
    for one in listed if isinstance(listed, list) else ():
        for name, change in one.items() if isinstance(one, dict) else ():
            if isinstance(change, dict):
                found[name] = change.get("previous_value"), change.get("current_value")
    return found


def _why(kind: str, exc: ValidationError) -> str:
    """The first thing that is wrong, without what stands there: that may be anybody's."""
    first = exc.errors(include_input=False, include_url=False, include_context=False)[0]
    place = ".".join(map(str, first["loc"]))
    return _("{kind}: {place}: {why}").format(kind=kind, place=place, why=plainly(first["msg"], _))
