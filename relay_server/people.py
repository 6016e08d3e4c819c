"""Who is let in, and what is kept of them, beside their tokens. Times are Unix milliseconds."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from relay_server.values import ChannelNumber


class LastUses(msgspec.Struct, frozen=True):
    """When tokens and signing secrets let somebody in last, in Unix milliseconds.

    Attributes:
        tokens: By name.
        secrets: By channel, and the id of a secret.
    """

    tokens: Mapping[str, int]
    secrets: Mapping[tuple[ChannelNumber, str], int]


class Invitation(msgspec.Struct, frozen=True):
    """Lets whoever has its secret have a token made, once.

    Attributes:
        name: The token's.
        digest: SHA-256 of the secret.
        channels: Where the token is good.
        made_by: Name of a token; empty for somebody on the host.
        expires_at: From then on it is good for nothing.
        used_at: 0 while it is not.
    """

    name: str
    digest: bytes
    channels: frozenset[str]
    made_by: str
    created_at: int
    expires_at: int
    used_at: int = 0

    def is_open(self, now: int) -> bool:
        """True if a token may still be made of it."""
        return not self.used_at and now < self.expires_at


class Session(msgspec.Struct, frozen=True):
    """Somebody who is logged in to the dashboard, in one browser.

    Attributes:
        token: Whose rights it has; None for somebody on the host, who may do everything.
        address: Where it was used last.
        agent: What the browser calls itself.
    """

    digest: bytes  # SHA-256 of the cookie's secret
    token: str | None
    made_at: int
    used_at: int
    address: str
    agent: str


class Noted(msgspec.Struct, frozen=True):
    """An entry of the audit log: who changed or saw what.

    Attributes:
        made_by: Name of a token; empty for somebody on the host.
        address: Where they were; empty on the host.
        action: Such as `"token.revoke"`.
        what: It was done to this, such as `"chatwoot/ana"`.
        asked: What was asked, secrets masked.
        number: Grows with each entry; 0 for one that is to be made.
    """

    at: int
    made_by: str
    address: str
    action: str
    what: str
    asked: Mapping[str, object]
    number: int = 0
