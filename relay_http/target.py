"""The HTTP server that deliveries go to."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from relay_protocol.values import HeaderList

HTTP_PORT, HTTPS_PORT = 80, 443
# Servers decode a segment before they look at it, and some leave parameters (`..;x`) out of it.
_DOT_SEGMENT = re.compile(r"/(?:\.|%2e){2}(?=/|;|$)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Target:
    """An HTTP server.

    Attributes:
        host: Name or address, an IPv6 address without brackets.
        path: Where every event goes, whatever path it came by; empty keeps the event's own.
        secure: It is spoken to by TLS.
        headers: Added to each request, in the place of a sender's fields of the same names.
        authority: Host and port as a URL has them, e.g. `localhost:8000` or `[::1]:8000`.
    """

    host: str
    port: int
    path: str = ""
    secure: bool = False
    headers: HeaderList = ()
    authority: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        host = f"[{self.host}]" if ":" in self.host else self.host
        if not self.secure or self.port != HTTPS_PORT:  # servers know themselves without that one
            host = f"{host}:{self.port}"
        object.__setattr__(self, "authority", host)  # each request needs it

    @property
    def url(self) -> str:
        """The address as people are shown it."""
        return f"{'https' if self.secure else 'http'}://{self.authority}{self.path}"


def path_of_all(path: str) -> str | None:
    """Turn the path of a target's URL into `Target.path`; None when it can be no such path."""
    if "?" in path or "#" in path or "\\" in path or leads_upwards(path):
        return None
    return "" if path == "/" else path


def leads_upwards(path: str) -> bool:
    """True for a path with a segment `..`, however it is spelt (RFC 3986 §3.3)."""
    return _DOT_SEGMENT.search(path) is not None
