"""Who asks, and what is theirs to see."""

from __future__ import annotations

from dataclasses import dataclass

from relay_server.auth import allows
from relay_server.errors import ChannelNotFound, Forbidden
from relay_server.operations import Parts
from relay_server.values import Channel, Scope, Subscription, Token


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks; without a token, somebody on the host, who may do everything."""

    token: Token | None

    @property
    def admin(self) -> bool:
        """True if everything is allowed."""
        return self.token is None or Scope.ADMIN in self.token.scopes

    @property
    def name(self) -> str:
        """The token's; empty for somebody on the host."""
        return self.token.name if self.token else ""

    def may_read(self, channel: Channel) -> bool:
        """True if the channel's events are for the caller's eyes."""
        return self.token is None or allows(self.token, Scope.SUBSCRIBE, channel)

    def check_reader(self, subscription: Subscription) -> None:
        """See that the caller may connect under the name of a subscription of a channel of theirs.

        Raises:
            Forbidden: The server itself reads it, and the caller is no administrator.
        """
        if subscription.config.forward is not None and not self.admin:
            raise Forbidden(f"{subscription.name!r} is a forward: this takes the scope admin")


def readable_channel(parts: Parts, who: Caller, name: str) -> Channel:
    """A channel that the caller may read.

    Raises:
        ChannelNotFound: There is none; also when it is not for the caller.
    """
    channel = parts.store.catalog.channels.get(name)
    if channel is None or not who.may_read(channel):
        raise ChannelNotFound(name)
    return channel


def visible_channels(parts: Parts, who: Caller) -> list[Channel]:
    """Channels that the caller may read, by name; canaries are nobody's business."""
    found = parts.store.catalog.channels.values()
    mine = [c for c in found if who.may_read(c) and not c.config.owner]
    return sorted(mine, key=lambda channel: channel.name)
