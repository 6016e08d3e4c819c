"""How many files and connections the system lets this process have open."""

from __future__ import annotations

import resource

import structlog

from relay_server.settings import ServerSettings

log = structlog.get_logger()

# Open files that are not for connections: the database, the ops port, forwards and the rest.
RESERVED = 256


def fitted(settings: ServerSettings) -> ServerSettings:
    """Raise the limit on open files, and the settings with no more connections than fit it."""
    room = max(1, _raised() - RESERVED)
    if settings.max_connections <= room:
        return settings
    log.warning(
        "fewer connections than set: the limit on open files (ulimit -n) is too low",
        max_connections=room,
    )
    return settings.model_copy(update={"max_connections": room})


def _raised() -> int:
    """The limit on open files, once it is as high as this process may have it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (ValueError, OSError):
        return soft  # some systems name a limit that they do not give
    return hard if hard != resource.RLIM_INFINITY else 1 << 30
