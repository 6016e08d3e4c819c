"""What every handler may use, built once in `app.py`."""

from __future__ import annotations

from dataclasses import dataclass, field

from aiohttp import web

from relay_server.clock import Clock
from relay_server.delivery.forwards import Forwards
from relay_server.delivery.hub import Hub
from relay_server.delivery.pump import Pump
from relay_server.metrics import Metrics
from relay_server.sealing import Sealer
from relay_server.settings import ServerSettings, Sources
from relay_server.store.base import EventStore


@dataclass(slots=True)
class Context:
    """The server's parts.

    Attributes:
        stopping: It drains: not ready for more.
    """

    settings: ServerSettings
    sources: Sources
    store: EventStore
    hub: Hub
    metrics: Metrics
    clock: Clock
    sealer: Sealer
    forwards: Forwards[Pump]
    started_at: float = field(default=0.0)
    stopping: bool = False


CONTEXT = web.AppKey("context", Context)
