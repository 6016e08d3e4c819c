"""Finding a target's addresses, and connecting to one of them."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence

from aiohappyeyeballs import AddrInfoType, start_connection

from relay_http.target import Target

_SECOND_ADDRESS_S = 0.25  # an address that is slow to refuse must not hold up the next

Address = tuple[int, str]  # family, and the address as text


class Unreachable(OSError):
    """Nothing was opened, and the message says why."""


async def addresses(host: str, port: int) -> list[Address]:
    """Find the addresses of a host.

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
    """Connect to the target at whichever of its addresses takes it, or raise OSError."""
    return await connect_any(await addresses(target.host, target.port), target.port)


async def connect_any(found: Sequence[Address], port: int) -> socket.socket:
    """Connect to whichever of these addresses takes it and to no other, or raise OSError."""
    choices = [_choice(family, address, port) for family, address in found]
    try:
        opened = await start_connection(choices, happy_eyeballs_delay=_SECOND_ADDRESS_S)
    except RuntimeError as exc:  # uvloop's word for some of them
        raise OSError(str(exc)) from exc
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # A port in the range of outgoing connections can, very rarely, be connected to itself.
    if opened.getsockname() == opened.getpeername():
        opened.close()
        raise ConnectionRefusedError
    return opened


def _choice(family: int, address: str, port: int) -> AddrInfoType:
    # Windows wants all four of an IPv6 address.
    place = (address, port, 0, 0) if family == socket.AF_INET6 else (address, port)
    return (family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", place)
