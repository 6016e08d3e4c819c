"""What a Chatwoot's API has and gives: accounts, webhooks, bots, inboxes, conversations, messages.

Of each as much as Relay uses; what else an answer holds is not read.
"""

from __future__ import annotations

from typing import Any

import msgspec


class Version(msgspec.Struct, frozen=True):
    """Of the installation."""

    version: str

    @property
    def parts(self) -> tuple[int, ...]:
        """To compare with, such as `(4, 14, 2)`."""
        numbers = self.version.partition("-")[0].split(".")
        return tuple(int(part) for part in numbers if part.isdecimal())


class Membership(msgspec.Struct, frozen=True):
    """An account that a user is in, and what as."""

    id: int
    role: str | None = None
    name: str = ""


class Profile(msgspec.Struct, frozen=True):
    """Whose a token is."""

    id: int
    name: str = ""
    accounts: tuple[Membership, ...] = ()


class AccountSettings(msgspec.Struct, frozen=True):
    """What an account's administrators chose."""

    keep_pending_on_bot_failure: bool | None = None


class Account(msgspec.Struct, frozen=True):
    """An account, and its settings."""

    id: int
    name: str = ""
    settings: AccountSettings = AccountSettings()


class Webhook(msgspec.Struct, frozen=True):
    """An account's webhook; without a secret it is unsigned."""

    id: int
    url: str
    subscriptions: tuple[str, ...] = ()
    name: str | None = None
    secret: str | None = None


class Bot(msgspec.Struct, frozen=True):
    """An agent bot; the system's own show neither URL, secret nor token."""

    id: int
    name: str = ""
    outgoing_url: str | None = None
    access_token: str | None = None
    secret: str | None = None
    system_bot: bool = False


class Inbox(msgspec.Struct, frozen=True):
    """An inbox; those of an API have a webhook of their own."""

    id: int
    name: str = ""
    channel_type: str = ""
    webhook_url: str | None = None
    secret: str | None = None


class Assignee(msgspec.Struct, frozen=True):
    """Whoever has a conversation."""

    id: int | None = None
    name: str | None = None
    type: str | None = None


class Meta(msgspec.Struct, frozen=True):
    """Of a conversation, who has it."""

    assignee: Assignee | None = None
    assignee_type: str | None = None


class Sender(msgspec.Struct, frozen=True):
    """Whoever wrote a message."""

    id: int | None = None
    type: str | None = None


class LastMessage(msgspec.Struct, frozen=True):
    """The newest message that somebody wrote, notes too; of the id 0 where there is none.

    Attributes:
        message_type: By number: 0 for a customer's, 1 for an answer; empty where it is not told.
        attachments: Its files.
    """

    id: int
    content: str | None = None
    sender: Sender | None = None
    message_type: int | str = ""
    content_type: str | None = None
    content_attributes: dict[str, Any] | None = None
    additional_attributes: dict[str, Any] | None = None
    private: bool = False
    source_id: str | None = None
    attachments: list[dict[str, Any]] = []


class Conversation(msgspec.Struct, frozen=True):
    """A conversation, by the number that people see."""

    id: int
    status: str
    inbox_id: int | None = None
    meta: Meta = Meta()
    last_non_activity_message: LastMessage | msgspec.UnsetType | None = msgspec.UNSET
    messages: tuple[LastMessage, ...] | None = None

    @property
    def last(self) -> LastMessage | None:
        """The newest message; None where the answer does not tell."""
        if self.last_non_activity_message is not msgspec.UNSET:
            return self.last_non_activity_message or LastMessage(0)
        return self.messages[-1] if self.messages else None


class Message(msgspec.Struct, frozen=True):
    """A message that was written."""

    id: int
