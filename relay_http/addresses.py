"""IP addresses as they are judged: by what they stand for, not by how they are written. Pure."""

from __future__ import annotations

import functools
from collections.abc import Collection
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from urllib.parse import urlsplit

Network = IPv4Network | IPv6Network

MAX_TEXT_CHARS = 64  # more of a text is not looked at: no address is longer
MAX_REMEMBERED = 1_024  # addresses that were read last: each takes some 300 bytes


def plain_address(text: str) -> IPv4Address | IPv6Address | None:
    """Read an address; None if it is none.

    An IPv4 peer of a socket that speaks IPv6 is `::ffff:203.0.113.9`: it is given as the IPv4
    address that it is, so that rules for IPv4 hold for it. A zone (`fe80::1%eth0`) only says where
    an address is valid, and is left away.
    """
    return _plain_address(text[:MAX_TEXT_CHARS])


@functools.lru_cache(MAX_REMEMBERED)  # a proxy is the peer of all that it hands on
def _plain_address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def address_of(hop: str) -> str:
    """What a proxy names a peer by, without what is no part of the address.

    That is a port, the brackets of IPv6, and quotes (RFC 7239 §6). What is no address, such as
    `unknown` or a made-up name (`_hidden`), stays as it is.
    """
    hop = hop.strip().strip('"')
    if hop.startswith("["):
        return hop[1:].partition("]")[0]
    host, colon, port = hop.rpartition(":")
    is_port = colon and port.isdecimal() and ":" not in host
    return host if is_port and plain_address(host) is not None else hop


def is_inside(address: str, networks: Collection[Network]) -> bool:
    parsed = plain_address(address) if networks else None
    return parsed is not None and any(parsed in network for network in networks)


def is_loopback(address: str) -> bool:
    """True if it is this machine's own."""
    parsed = plain_address(address)
    return parsed is not None and parsed.is_loopback


def is_loopback_host(host: str) -> bool:
    """True for a name or address of this machine alone."""
    return host == "localhost" or host.endswith(".localhost") or is_loopback(host)


def is_in_clear(url: str) -> bool:
    """True if somebody on the way can read what goes to a URL."""
    parts = urlsplit(url)
    return parts.scheme == "http" and not is_loopback_host(parts.hostname or "")
