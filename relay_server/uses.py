"""When each token, and each secret that signs webhooks, let somebody in last.

A use costs an entry of a dictionary, and never a write. What is new of it is stored every five
minutes and at a stop, all in one transaction beside the loop; people are shown that together with
what other servers stored. So a crash loses five minutes of it, and others know it as much later.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import Iterator

import structlog

from relay_protocol.errors import RelayError
from relay_server.channels import CANARY_PREFIX
from relay_server.clock import Clock
from relay_server.people import LastUses
from relay_server.store.feed import ChannelChanged, ChannelGone, TokenRevoked
from relay_server.store.interface import Store
from relay_server.values import Channel, ChannelNumber

WRITE_S = 300.0  # between two notes of what was used since
CLOSE_S = 2.0  # for the last of them, at a stop
ID_CHARS = 16  # of a digest, by which a secret is called

log = structlog.get_logger()


def secret_id(sealed: bytes) -> str:
    """What a secret is called: the beginning of a digest of what is kept, which says nothing."""
    return hashlib.sha256(sealed).hexdigest()[:ID_CHARS]


class Uses:
    """Those that this server knows of.

    Attributes:
        tokens: When each was shown last, by its name; Unix milliseconds.
    """

    def __init__(self, store: Store, clock: Clock) -> None:
        self.tokens = dict[str, int]()
        self._secrets = dict[ChannelNumber, dict[bytes, int]]()
        self._store = store
        self._clock = clock
        self._stored = LastUses({}, {})
        self._written_at = clock.monotonic()
        store.feed.listen(TokenRevoked, self._revoked)
        store.feed.listen(ChannelGone, self._gone)
        store.feed.listen(ChannelChanged, self._changed)

    def verified(self, channel: ChannelNumber, sealed: bytes, now_ms: int) -> None:
        """A secret of a channel, as it is sealed, signed what came now."""
        self._secrets.setdefault(channel, {})[sealed] = now_ms

    def last_verified(self, channel: ChannelNumber, sealed: bytes) -> int | None:
        """When it did last; None for not as far as this server knows."""
        return self._secrets.get(channel, {}).get(sealed)

    async def learn(self) -> None:
        """Know what is stored, too: of other servers, and of this one before its start."""
        try:
            found = await self._store.last_uses()
        except RelayError as exc:  # the database is away: what is known here is shown
            log.warning("last uses of tokens and secrets not read", error=str(exc))
            return
        for token in list(self._store.catalog.tokens.values()):
            if (at := found.tokens.get(token.name)) is not None:
                self.tokens[token.name] = max(at, self.tokens.get(token.name, 0))
        for channel in list(self._store.catalog.channels.values()):
            for sealed in _sealed(channel):
                if (at := found.secrets.get((channel.number, secret_id(sealed)))) is not None:
                    known = self._secrets.setdefault(channel.number, {})
                    known[sealed] = max(at, known.get(sealed, 0))
        self._stored = found

    async def write_if_due(self) -> None:
        """Store what was used since, every five minutes."""
        if self._clock.monotonic() - self._written_at >= WRITE_S:
            await self.write()

    async def write(self) -> None:
        """Store what was used since it was last; what cannot be now, is the next time."""
        self._written_at = self._clock.monotonic()
        stored = self._stored
        tokens = {n: at for n, at in self._used_tokens() if at > stored.tokens.get(n, 0)}
        secrets = {of: at for of, at in self._used_secrets() if at > stored.secrets.get(of, 0)}
        space = self._store.space
        if not (tokens or secrets) or space.away or not space.taking:
            return
        try:
            await self._store.note_uses(LastUses(tokens, secrets))
        except RelayError as exc:
            log.warning("last uses of tokens and secrets not stored", error=str(exc))
            return
        self._stored = LastUses({**stored.tokens, **tokens}, {**stored.secrets, **secrets})

    async def close(self) -> None:
        """The same at a stop, which waits little for it."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await self.write()

    def _used_tokens(self) -> Iterator[tuple[str, int]]:
        """Without those that the server makes itself, which nobody is shown."""
        return ((n, at) for n, at in self.tokens.items() if not n.startswith(CANARY_PREFIX))

    def _used_secrets(self) -> Iterator[tuple[tuple[ChannelNumber, str], int]]:
        for channel, known in self._secrets.items():
            for sealed, at in known.items():
                yield (channel, secret_id(sealed)), at

    def _revoked(self, change: TokenRevoked) -> None:
        self.tokens.pop(change.name, None)
        self._stored = LastUses(
            {n: at for n, at in self._stored.tokens.items() if n != change.name},
            self._stored.secrets,
        )

    def _gone(self, change: ChannelGone) -> None:
        self._secrets.pop(change.channel.number, None)

    def _changed(self, change: ChannelChanged) -> None:
        """Forget the secrets that a channel has no more."""
        channel = change.channel
        if channel.number in self._secrets:
            known = self._secrets[channel.number]
            self._secrets[channel.number] = {s: known[s] for s in _sealed(channel) if s in known}


def _sealed(channel: Channel) -> tuple[bytes, ...]:
    return channel.config.hmac.secrets if channel.config.hmac else ()
