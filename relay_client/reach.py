"""Looking whether something listens on a target's port."""

from __future__ import annotations

import asyncio
import socket

from relay_client.target import Target

_PROBE_S = 2.0
FIRST_LOOK_S = 1.0
LONGEST_LOOK_S = 5.0


async def addresses(host: str, port: int) -> list[tuple[int, str]]:
    """Give (family, address) pairs of a host.

    `localhost` is always both loopbacks: resolvers leave `::1` out on a machine that is offline
    or knows no IPv6 beyond itself, and servers that listen there alone could not be found.

    Raises:
        OSError: The name is not known.
    """
    if host.lower() == "localhost":
        return [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")]
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [(family, str(address[0])) for family, _, _, _, address in found]


async def is_listening(target: Target) -> bool:
    """Say whether the target takes connections now."""
    try:
        found = await addresses(target.host, target.port)
    except OSError:
        return False
    for _, address in found:
        if await _accepts(address, target.port):
            return True
    return False


async def until_listening(target: Target) -> None:
    """Return once the target takes connections, looking every 1 to 5 seconds."""
    pause = FIRST_LOOK_S
    while not await is_listening(target):
        await asyncio.sleep(pause)
        pause = min(LONGEST_LOOK_S, pause * 1.25)


async def _accepts(address: str, port: int) -> bool:
    try:
        async with asyncio.timeout(_PROBE_S):
            _, writer = await asyncio.open_connection(address, port)
    except (OSError, TimeoutError):
        return False
    # A port in the range of outgoing connections can, very rarely, be connected to itself.
    to_itself = writer.get_extra_info("sockname") == writer.get_extra_info("peername")
    writer.transport.abort()
    return not to_itself
