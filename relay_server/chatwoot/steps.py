"""Steps by which a channel and a Chatwoot are set to each other, and what they are done with."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from relay_chatwoot.api import Chatwoot
from relay_chatwoot.resources import Bot
from relay_server.chatwoot.seen import Relay

NAME = "Relay"  # of what is made in Chatwoot


@dataclass(slots=True)
class Hands:
    """What steps are done with, and what they learn on the way."""

    chatwoot: Chatwoot
    relay: Relay
    channel: str
    url: str
    secrets: dict[str, str] = field(default_factory=dict)
    bot: Bot | None = None

    async def set_channel(self, **fields: Any) -> None:
        """Change the channel."""
        await self.relay.call("PATCH", f"channels/{self.channel}", fields)


@dataclass(frozen=True, slots=True)
class Step:
    """Something to be done.

    Attributes:
        code: For programs.
        text: What it does.
    """

    code: str
    text: str
    do: Callable[[Hands], Awaitable[None]]
