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

canary_routes = channels.canary_routes  # not for the host: whoever makes one has a token
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
