"""Operations on channels, tokens, subscriptions, forwards and replays, each of them once.

An operation checks what it is asked, then stores it, and raises one of our errors where it does
neither. The JSON API, the host's commands (through the API) and pages call it. It knows nothing of
HTTP, and tells nobody of what it changed: whom that concerns listens to the store's feed.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from relay_server.clock import Clock
from relay_server.delivery.hub import Hub
from relay_server.sealing import Sealer
from relay_server.settings import ServerSettings
from relay_server.store.interface import Store


class Parts(Protocol):
    """The server's parts, as far as operations need them.

    Attributes:
        making_canary: One at a time, so that a token has no more than one.
    """

    store: Store
    clock: Clock
    sealer: Sealer
    settings: ServerSettings
    hub: Hub
    making_canary: asyncio.Lock
