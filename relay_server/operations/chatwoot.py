"""What a channel knows of the Chatwoot that posts to it, for `relay-server chatwoot`."""

from __future__ import annotations

import msgspec

from relay_server.configs import ChatwootLink
from relay_server.operations import Caller, ForAdmins
from relay_server.operations.channels import webhook_path
from relay_server.sealing import fingerprint


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


@ForAdmins
async def show_chatwoot(who: Caller, name: str) -> ChatwootView:
    """The Chatwoot of a channel."""
    channel, opened = who.channel(name), who.parts.sealer.open
    config = channel.config
    link, secrets = config.chatwoot or ChatwootLink(""), config.hmac.secrets if config.hmac else ()
    return ChatwootView(
        webhook_path(who.parts, channel),
        config.token,
        [fingerprint(opened(secret)) for secret in secrets],
        config.hmac is not None and config.hmac.log_only,
        link.url,
        link.account,
        link.inbox,
        link.bot,
        fingerprint(opened(link.token)) if link.token else "",
    )
