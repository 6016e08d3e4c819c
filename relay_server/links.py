"""Links that log somebody in to the dashboard: once, and within a minute.

They are kept in memory alone: a server that starts anew knows none, and who asked makes another.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from dataclasses import dataclass

from relay_server.auth import digest
from relay_server.errors import LinkExpired, LinkUnknown, LinkUsed

LINK_PREFIX = "rlk_"
LINK_MS = 60_000  # for which a login link is good
REMEMBERED_MS = 3_600_000  # for which it is known that a login link was used, or ran out
MAX_LINKS = 256  # login links that are known; the oldest go


@dataclass(slots=True)
class Link:
    """One, and what became of it.

    Attributes:
        token: Whose rights it gives: name of a token; None for somebody on the host.
        used_at: Unix milliseconds; None while it is good.
    """

    token: str | None
    made_at: int
    used_at: int | None = None
    used_from: str = ""


class Links:
    """Those that were made, by the digest of their secret."""

    def __init__(self) -> None:
        self._known = OrderedDict[bytes, Link]()

    def make(self, token: str | None, now: int) -> str:
        """Make one for a token, or for somebody on the host; what its URL ends in."""
        secret = LINK_PREFIX + secrets.token_urlsafe(32)
        self._known[digest(secret.encode())] = Link(token, now)
        while len(self._known) > MAX_LINKS:
            self._known.popitem(last=False)
        return secret

    def take(self, secret: str, address: str, now: int) -> str | None:
        """Use one: whose rights it gives.

        Raises:
            LinkUnknown, LinkExpired, LinkUsed: As `look`.
        """
        link = self._good(secret, now)
        link.used_at, link.used_from = now, address
        return link.token

    def look(self, secret: str, now: int) -> str | None:
        """Whose rights one gives, which stays good.

        Raises:
            LinkUnknown: There is none, or not any more.
            LinkExpired: It was not used in time.
            LinkUsed: It was used before.
        """
        return self._good(secret, now).token

    def _good(self, secret: str, now: int) -> Link:
        link = self._known.get(digest(secret.encode("utf-8", "surrogateescape")))
        if link is None or now - link.made_at > REMEMBERED_MS:
            raise LinkUnknown
        if link.used_at is not None:
            raise LinkUsed(link.used_from or "this host", (now - link.used_at) // 1_000)
        if now - link.made_at > LINK_MS:
            raise LinkExpired((now - link.made_at - LINK_MS) // 1_000)
        return link
