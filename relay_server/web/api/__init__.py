"""The JSON API behind the commands: by token on the public port, by file mode on the host."""

from __future__ import annotations

from relay_server.web.api import channels, events, server, subscriptions, tokens

routes = [
    *server.routes,
    *channels.routes,
    *subscriptions.routes,
    *tokens.routes,
    *events.routes,
]
