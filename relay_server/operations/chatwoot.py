"""What a channel knows of the Chatwoot that posts to it, for `relay-server chatwoot`."""

from __future__ import annotations

from relay_server.chatwoot.seen import ChatwootView
from relay_server.configs import ChatwootLink
from relay_server.operations import Caller, ForAdmins
from relay_server.operations.channels import webhook_path
from relay_server.sealing import fingerprint


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
