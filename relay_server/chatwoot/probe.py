"""Whether the relay's public address leads to it: each of its addresses is asked, from here."""

from __future__ import annotations

import asyncio
import socket
import time
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from relay_http.tls import make_context
from relay_server.chatwoot.checks import ANSWER_S, Reached

HEALTH = "/health/live"
LIVE = b"live"
RESOLVE_S = 10.0  # until the relay's name leads somewhere
MAX_ADDRESSES = 8  # of the relay's name that a doctor asks


class _Only(AbstractResolver):
    """Leads every name to one address."""

    def __init__(self, address: str) -> None:
        self._address = address

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = socket.AF_INET6 if ":" in self._address else socket.AF_INET
        return [
            ResolveResult(
                hostname=host, host=self._address, port=port, family=found, proto=0, flags=0
            )
        ]

    async def close(self) -> None:
        """Nothing is open."""


async def addresses_of(url: str) -> tuple[list[str], str]:
    """Where the name of a URL leads, as far as this host knows; or why nowhere."""
    parts = urlsplit(url)
    try:
        async with asyncio.timeout(RESOLVE_S):
            found = await asyncio.get_running_loop().getaddrinfo(
                parts.hostname or "", parts.port or 443, type=socket.SOCK_STREAM
            )
    except TimeoutError:
        return [], f"no answer within {RESOLVE_S:g} s"
    except (OSError, ValueError) as exc:  # also what can be no name, or no port
        return [], str(exc)
    return list(dict.fromkeys(str(one[4][0]) for one in found))[:MAX_ADDRESSES], ""


async def reach(url: str, address: str) -> Reached:
    """Ask one address for the relay's health, as Chatwoot would post to it."""
    began = time.monotonic()
    connector = aiohttp.TCPConnector(ssl=make_context(), resolver=_Only(address))
    timeout = aiohttp.ClientTimeout(total=ANSWER_S)
    try:
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
            session.get(url + HEALTH, allow_redirects=False) as answer,
        ):
            body = await answer.content.read(64)
    except TimeoutError:
        return Reached(address, failure=f"no answer within {ANSWER_S:g} s")
    except (aiohttp.ClientError, OSError, ValueError) as exc:
        return Reached(address, failure=str(exc) or type(exc).__name__)
    if answer.status != 200 or LIVE not in body:
        return Reached(address, failure=f"something else answers there ({answer.status})")
    return Reached(address, time.monotonic() - began)
