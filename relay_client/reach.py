"""Looking whether something listens on a target's port."""

from __future__ import annotations

import asyncio
import socket

from aiohappyeyeballs import AddrInfoType, start_connection

from relay_client.target import Target

_SECOND_ADDRESS_S = 0.25  # an address that is slow to refuse must not hold up the next
_PROBE_S = 2.0
FIRST_LOOK_S = 1.0
LONGEST_LOOK_S = 2.0  # all that waited shall have arrived 5 s after the target's return


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
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as exc:  # a part of the name is empty, or longer than 63 characters
        raise OSError(f"{host} is no name of a host") from exc
    return [(family, str(address[0])) for family, _, _, _, address in found]


async def open_socket(target: Target) -> socket.socket:
    """Connect to the target at whichever of its addresses takes it.

    Raises:
        OSError: None of them does.
    """
    found = await addresses(target.host, target.port)
    choices = [_choice(family, address, target.port) for family, address in found]
    try:
        opened = await start_connection(choices, happy_eyeballs_delay=_SECOND_ADDRESS_S)
    except RuntimeError as exc:  # uvloop's word for some of them
        raise OSError(str(exc)) from exc
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if _is_to_itself(opened.getsockname(), opened.getpeername()):
        opened.close()
        raise ConnectionRefusedError
    return opened


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
    """Return once the target takes connections, looking every second or two."""
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
    to_itself = _is_to_itself(writer.get_extra_info("sockname"), writer.get_extra_info("peername"))
    writer.transport.abort()
    return not to_itself


def _choice(family: int, address: str, port: int) -> AddrInfoType:
    # Windows wants all four of an IPv6 address.
    place = (address, port, 0, 0) if family == socket.AF_INET6 else (address, port)
    return (family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", place)


def _is_to_itself(here: object, there: object) -> bool:
    """A port in the range of outgoing connections can, very rarely, be connected to itself."""
    return here == there
