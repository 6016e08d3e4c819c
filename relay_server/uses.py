"""When each token, and each secret that signs webhooks, let somebody in last.

Kept in memory, by this process alone: a start knows of nothing, and says when it was. A use costs
an entry of a dictionary, and never a write.
"""

from __future__ import annotations

from relay_server.clock import Clock
from relay_server.store.feed import ChannelChanged, ChannelGone, TokenRevoked
from relay_server.store.interface import Store
from relay_server.values import ChannelNumber


class Uses:
    """Uses from now on.

    Attributes:
        since: When that is, in Unix milliseconds.
        tokens: When each was shown last, by its name; Unix milliseconds.
    """

    def __init__(self, store: Store, clock: Clock) -> None:
        self.since = clock.unix_ms()
        self.tokens = dict[str, int]()
        self._secrets = dict[ChannelNumber, dict[bytes, int]]()
        store.feed.listen(TokenRevoked, self._revoked)
        store.feed.listen(ChannelGone, self._gone)
        store.feed.listen(ChannelChanged, self._changed)

    def verified(self, channel: ChannelNumber, sealed: bytes, now_ms: int) -> None:
        """A secret of a channel, as it is sealed, signed what came now."""
        self._secrets.setdefault(channel, {})[sealed] = now_ms

    def last_verified(self, channel: ChannelNumber, sealed: bytes) -> int | None:
        """When it did last; None for not since the start."""
        return self._secrets.get(channel, {}).get(sealed)

    def _revoked(self, change: TokenRevoked) -> None:
        self.tokens.pop(change.name, None)

    def _gone(self, change: ChannelGone) -> None:
        self._secrets.pop(change.channel.number, None)

    def _changed(self, change: ChannelChanged) -> None:
        """Forget the secrets that a channel has no more."""
        channel = change.channel
        if channel.number in self._secrets:
            left = channel.config.hmac.secrets if channel.config.hmac else ()
            known = self._secrets[channel.number]
            self._secrets[channel.number] = {one: known[one] for one in left if one in known}
