"""The JSON API behind the commands: by token on the public port, by file mode on the host."""

from __future__ import annotations

from relay_server.web.api import (
    channels,
    dead,
    events,
    forwards,
    replays,
    server,
    subscriptions,
    tokens,
)

routes = [
    *server.routes,
    *channels.routes,
    *subscriptions.routes,
    *forwards.routes,
    *tokens.routes,
    *events.routes,
    *replays.routes,
    *dead.routes,
]
