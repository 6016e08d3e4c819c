"""What a Chatwoot and a channel have of each other, and whether what is wished can be had."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol
from urllib.parse import urlsplit

import msgspec

from relay_chatwoot.api import Chatwoot
from relay_chatwoot.errors import NotAdministrator, NotInAccount
from relay_chatwoot.resources import Account, Bot, Inbox, Version, Webhook
from relay_http.addresses import plain_address
from relay_server.chatwoot.errors import (
    AddressNotPublic,
    ChatwootVersion,
    InboxTaken,
    NoSuchInbox,
)
from relay_server.sealing import fingerprint
from relay_terminal.words import _, plural

CHECKS_ADDRESSES = (4, 14)  # the first version that posts to public addresses alone
SIGNS_WEBHOOKS, SIGNS_ALL = (4, 12), (4, 13)  # the first versions that sign what they post
BOTS_READ = (4, 14, 2)  # the first in which bots read conversations, and set labels
BOTS_BROKEN = "4.16.0"

Json = dict[str, Any]


class Relay(Protocol):
    """The relay's own API."""

    async def call(self, method: str, path: str, body: Json | None = None) -> Json:
        """Make a request, and give the answer's JSON."""


class ChatwootView(msgspec.Struct, frozen=True):
    """How a channel lets a Chatwoot in, and what the relay may do there; secrets by fingerprint.

    Attributes:
        webhook_path: Where Chatwoot posts to, on the public port.
        token: The sender must show one.
        secrets: Fingerprints of what it may sign with.
        log_only: A wrong signature is let in.
        url: Of the Chatwoot; empty where none was set up, and so on.
        bot_token: Fingerprint of the bot's access token; empty without.
    """

    webhook_path: str
    token: bool
    secrets: list[str]
    log_only: bool
    url: str
    account: int
    inbox: int
    bot: int
    bot_token: str


class Wish(msgspec.Struct, frozen=True):
    """What is to be set up.

    Attributes:
        channel: That Chatwoot posts to.
        relay_url: Of the relay, as Chatwoot reaches it.
        webhook: The account's webhook; `bot`, an agent bot; `api`, an inbox of an API.
        inbox: Number of the one that the bot answers in.
        events: Of the account's webhook; empty for those it has, or else the usual.
        hand_off: The relay keeps the bot's access token.
        private: Chatwoot posts to private addresses, too.
    """

    channel: str
    relay_url: str
    webhook: bool = True
    bot: bool = False
    api: bool = False
    inbox: int = 0
    events: tuple[str, ...] = ()
    hand_off: bool = False
    private: bool = False


class Seen(msgspec.Struct, frozen=True):
    """What there is.

    Attributes:
        url: Of the Chatwoot.
        inbox_bot: The bot of each inbox that was asked about.
        addresses: Where the relay's name leads, as far as this host knows.
    """

    url: str
    version: Version
    account: Account
    channel: ChatwootView
    webhooks: tuple[Webhook, ...] = ()
    bots: tuple[Bot, ...] = ()
    inboxes: tuple[Inbox, ...] = ()
    inbox_bot: Bot | None = None
    addresses: tuple[str, ...] = ()

    @property
    def refused_addresses(self) -> list[str]:
        """Those to which this Chatwoot posts nothing, unless it is told otherwise."""
        if self.version.parts < CHECKS_ADDRESSES:
            return []
        found = [plain for one in self.addresses if (plain := plain_address(one)) is not None]
        return [str(plain) for plain in found if not plain.is_global]


class Ours(NamedTuple):
    """What of it posts to the channel."""

    webhooks: list[Webhook]
    bots: list[Bot]
    inboxes: list[Inbox]

    @property
    def secrets(self) -> list[str]:
        """What they sign with."""
        all_of_it: list[Webhook | Bot | Inbox] = [*self.webhooks, *self.bots, *self.inboxes]
        return [one.secret for one in all_of_it if one.secret]


async def look(
    chatwoot: Chatwoot, relay: Relay, channel: str, inbox: int, addresses: Sequence[str]
) -> Seen:
    """See what there is, if the token is an administrator's.

    Raises:
        ChatwootError: It is not, or Chatwoot does not answer.
        ChatwootVersion: It answers no question about bots.
    """
    version = await chatwoot.version()
    await _check_role(chatwoot)
    account = await chatwoot.settings()
    view = msgspec.convert(await relay.call("GET", f"channels/{channel}/chatwoot"), ChatwootView)
    if version.version == BOTS_BROKEN:
        why = _("it answers 500 to whatever concerns bots; 4.16.1 mends that")
        raise ChatwootVersion(version.version, "", why)
    inboxes = await chatwoot.inboxes()
    asked = inbox or view.inbox
    known = any(one.id == asked for one in inboxes)
    return Seen(
        chatwoot.url,
        version,
        account,
        view,
        await chatwoot.webhooks(),
        await chatwoot.bots(),
        inboxes,
        await chatwoot.bot_of(asked) if known else None,
        tuple(addresses),
    )


async def _check_role(chatwoot: Chatwoot) -> None:
    accounts = (await chatwoot.profile()).accounts
    mine = [one for one in accounts if one.id == chatwoot.account]
    if not mine:
        theirs = ", ".join(f"{one.id} ({one.name})" for one in accounts)
        why = _("its owner is in {accounts}").format(accounts=theirs or _("none"))
        raise NotInAccount(chatwoot.url, "", why)
    if mine[0].role != "administrator":
        raise NotAdministrator(chatwoot.url, "", "")


def ours(seen: Seen, url: str) -> Ours:
    """What of a Chatwoot posts to a URL, whatever user and password are in it."""

    def leads(to: str | None) -> bool:
        return to is not None and place(to) == place(url)

    return Ours(
        [one for one in seen.webhooks if leads(one.url)],
        [one for one in seen.bots if leads(one.outgoing_url)],
        [one for one in seen.inboxes if leads(one.webhook_url)],
    )


def place(url: str) -> tuple[str, str]:
    """Host and port of a URL, and its path: what two spellings of one have in common."""
    try:
        parts = urlsplit(url)
    except ValueError:  # of somebody else's webhook
        return "", url
    return parts.netloc.rpartition("@")[2].lower(), parts.path


def with_lost(text: str, channel: ChatwootView, known: Sequence[str]) -> str:
    """A step's text, with how many secrets the channel loses by taking those that are known."""
    lost = set(channel.secrets) - {fingerprint(secret.encode()) for secret in known}
    told = plural(
        "{number} secret that this Chatwoot does not sign with IS TAKEN NO MORE",
        "{number} secrets that this Chatwoot does not sign with ARE TAKEN NO MORE",
        len(lost),
    )
    return f"{text}; {told}" if lost else text


def check(wish: Wish, seen: Seen) -> None:
    """See that a wish can be fulfilled.

    Raises:
        ChatwootError: It cannot; nothing was changed.
    """
    version = seen.version
    if wish.bot:
        _check_inbox(wish, seen)
    if (wish.bot or wish.api) and version.parts < SIGNS_ALL and _asks_for_signature(seen.channel):
        why = _(
            "the channel asks for a signature, which bots and API inboxes make since 4.13: give"
            " them a channel of their own"
        )
        raise ChatwootVersion(version.version, "", why)
    if wish.hand_off and version.parts < BOTS_READ:
        why = _("bots may read conversations since 4.14.2, which handing them over needs")
        raise ChatwootVersion(version.version, "", why)
    if seen.refused_addresses and not wish.private:
        why = _("{address} is no public address").format(address=seen.refused_addresses[0])
        raise AddressNotPublic(wish.relay_url, "", why)


def _asks_for_signature(channel: ChatwootView) -> bool:
    return bool(channel.secrets) and not channel.log_only


def _check_inbox(wish: Wish, seen: Seen) -> None:
    if not any(one.id == wish.inbox for one in seen.inboxes):
        known = ", ".join(f"{one.id} ({one.name})" for one in seen.inboxes)
        raise NoSuchInbox("", "", known or _("none"))
    url = wish.relay_url + seen.channel.webhook_path
    bot, mine = seen.inbox_bot, {one.id for one in ours(seen, url).bots}
    if bot is not None and bot.id not in mine:
        raise InboxTaken(str(wish.inbox), "", f"{bot.name} ({bot.id})")
