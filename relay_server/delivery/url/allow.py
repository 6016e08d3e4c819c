"""Where forwards may go: what the operator allowed, and what a name alone never leads to. Pure."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TypeAlias

from relay_http.addresses import plain_address
from relay_http.target import HTTPS_PORT, Target, path_of_all
from relay_server.errors import InvalidValue

SETTING = "RELAY_SERVER_FORWARD_ALLOW"
MAX_ENTRIES = 256  # in `RELAY_SERVER_FORWARD_ALLOW`; more stop the start
MAX_URL_CHARS = 2_048  # of a forward's URL

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

LOOPBACK = "a loopback address"

# The first that holds an address gives its name. IANA's registries of special-purpose addresses,
# and where clouds hand out a machine's credentials or commands to it.
_SPECIAL: tuple[tuple[str, Network], ...] = tuple(
    (kind, ip_network(block))
    for kind, blocks in {
        "a cloud's metadata address": (
            "169.254.169.254",  # AWS, Google, Azure, Oracle, DigitalOcean, Hetzner, OpenStack …
            "169.254.170.2",  # AWS ECS
            "169.254.170.23",  # AWS EKS
            "169.254.42.42",  # Scaleway
            "169.254.0.23",  # Tencent
            "100.100.100.200",  # Alibaba
            "100.96.0.96",  # Volcengine
            "168.63.129.16",  # Azure
            "192.0.0.192",  # Oracle Classic
            "fd00:ec2::/32",  # AWS
            "fd20:ce::254",  # Google
            "fd00:c1::a9fe:a9fe",  # Oracle
            "fd00:42::42",  # Scaleway
            "fd00:a9fe:a9fe::1",  # Akamai
            "fe80::a9fe:a9fe",  # OpenStack
        ),
        "the unspecified address": ("0.0.0.0", "::"),  # noqa: S104
        "the broadcast address": ("255.255.255.255",),
        LOOPBACK: ("127.0.0.0/8", "::1"),
        "a link-local address": ("169.254.0.0/16", "fe80::/10"),
        "a multicast address": ("224.0.0.0/4", "ff00::/8"),
        "a reserved address": (
            *("0.0.0.0/8", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15"),
            *("198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4"),
            *("2001::/23", "2001:db8::/32", "3fff::/20"),
            # All of IPv6 beside 2000::/3 (global), fc00::/7 (unique local) and the above.
            *("::/3", "4000::/2", "8000::/2", "c000::/3", "e000::/4", "f000::/5", "f800::/6"),
            *("fe00::/9", "fec0::/10"),
        ),
    }.items()
    for block in blocks
)
_NAT64 = IPv6Network("64:ff9b::/96")
# IPv4 inside IPv6: mapped, NAT64, Teredo and 6to4.
_EMBEDDING = (*map(IPv6Network, ("::ffff:0:0/96", "2001::/32", "2002::/16")), _NAT64)
_ISATAP = (0x0000_5EFE, 0x0200_5EFE)  # the upper half of an interface's 64 bits (RFC 5214 §6.1)

_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*")  # Docker's names have underscores
# Resolvers read these as addresses, in ways of their own: 127.1, 0x7f.1, 2130706433.
_ENDS_IN_NUMBER = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)")
_VISIBLE = re.compile(rf"[!-~]{{1,{MAX_URL_CHARS}}}")
_URL = re.compile(r"(?P<scheme>https?)://(?P<place>[^/?#\\]*)(?P<path>.*)", re.IGNORECASE)
_PLACE = re.compile(
    r"(?:(?P<host>[A-Za-z0-9._-]+)|\[(?P<ipv6>[0-9A-Fa-f:.]+)\])(?::(?P<port>[0-9]{1,5}))?"
)


class ForwardNotAllowed(InvalidValue):
    """A forward may not go there."""

    code = "forward_not_allowed"
    hint = f"{SETTING} lists the hosts, addresses and networks that forwards may reach."

    def __init__(self, reason: str, entry: str) -> None:
        super().__init__(reason)
        self.hint = f"Add {entry} to {SETTING}, with commas between them, and restart the server."


@dataclass(frozen=True, slots=True)
class Allowlist:
    """What an operator allowed forwards to reach; nothing by default.

    Attributes:
        networks: Allow exactly their addresses, whatever name led there. A special address, such
            as loopback or a cloud's metadata, is allowed by a network that holds nothing but
            addresses of its kind: `0.0.0.0/0` names none of them.
        names: In lower case. Each allows whatever ordinary address it leads to.
    """

    networks: tuple[Network, ...] = ()
    names: frozenset[str] = frozenset()

    @classmethod
    def of(cls, entries: Iterable[str]) -> Allowlist:
        """Take hosts, addresses and networks.

        Raises:
            InvalidValue: One is none of these, and named, or there are too many.
        """
        read = [_entry(entry) for entry in entries]
        if len(read) > MAX_ENTRIES:
            raise InvalidValue(f"it has more than {MAX_ENTRIES} hosts, addresses and networks")
        names = frozenset(entry for entry in read if isinstance(entry, str))
        return cls(tuple(entry for entry in read if not isinstance(entry, str)), names)

    def refusal(self, host: str, address: str) -> str:
        """Say why nothing may connect to an address that a host led to; empty when it may."""
        name = _plain(host)
        if not (judged := _judged(address)):
            return f"{host} leads to something that is no address"
        for inside in judged:
            if not self._permits(name, inside):
                return _reason(host, address, inside)
        return ""

    def check_url(self, url: str) -> Target:
        """Read the URL of a forward. A name that might be allowed is judged when it is looked up.

        Raises:
            ForwardNotAllowed: It can never be allowed.
            InvalidValue: It is no URL that a forward can have.
        """
        target = read_url(url)
        known = _known_addresses(target.host)
        reasons = [self.refusal(target.host, address) for address in known]
        if known and all(reasons):
            raise ForwardNotAllowed(reasons[0], target.host)
        if not known and not self.networks and target.host not in self.names:
            reason = f"{SETTING} does not name {target.host}: forwards may not reach it"
            raise ForwardNotAllowed(reason, target.host)
        return target

    def _permits(self, name: str, address: Address) -> bool:
        holding = [network for network in self.networks if address in network]
        kinds = _kinds(address)
        if not kinds:
            return bool(holding) or name in self.names
        if name == "localhost" and name in self.names and kinds[0][0] == LOOPBACK:
            return True
        return any(_within(network, block) for network in holding for _, block in kinds)


def _entry(text: str) -> Network | str:
    try:
        network = ip_network(text)
    except ValueError:
        name = _plain(text)
        if _is_name(name):
            return name
    else:
        if any(_within(network, block) for block in _EMBEDDING):
            raise InvalidValue(f"{text!r} stands for IPv4 addresses: name these")
        if "%" not in text:
            return network
    raise InvalidValue(
        f"{text!r} is no host name, address or network such as bot, 10.0.0.5 or 10.0.0.0/24"
    )


def _plain(host: str) -> str:
    return host.lower().removesuffix(".")


def _is_name(text: str) -> bool:
    return _NAME.fullmatch(text) is not None and _ENDS_IN_NUMBER.fullmatch(text) is None


def read_url(url: str) -> Target:
    """Read the URL of a forward, wherever it leads.

    Raises:
        InvalidValue: It is no URL that a forward can have.
    """
    whole = _URL.fullmatch(url) if _VISIBLE.fullmatch(url) else None
    if whole is None:
        raise InvalidValue(
            "a forward's URL begins with http:// or https:// and has visible ASCII alone,"
            f" {MAX_URL_CHARS} characters at most"
        )
    if "@" in whole["place"]:
        raise InvalidValue("a forward's URL has no user and password in it: send them in a header")
    place = _PLACE.fullmatch(whole["place"])
    if place is None:
        raise InvalidValue(f"{whole['place']!r} in a forward's URL is no host, nor host and port")
    secure = whole["scheme"].lower() == "https"
    port = int(place["port"] or (HTTPS_PORT if secure else 80))
    path = path_of_all(whole["path"])
    if not 1 <= port <= 65_535:
        raise InvalidValue("the port of a forward's URL is a number from 1 to 65535")
    if path is None:
        raise InvalidValue("the path of a forward's URL goes without ?, #, \\ and /../")
    return Target(_host(place), port, path, secure)


def _host(place: re.Match[str]) -> str:
    """The one spelling of a host."""
    text = place["ipv6"] or _plain(place["host"])
    try:
        address = ip_address(text)
    except ValueError:
        if place["ipv6"] is None and _is_name(text):
            return text
    else:
        if (address.version == 6) == (place["ipv6"] is not None):
            return str(address)
    raise InvalidValue(f"{place[0]!r} in a forward's URL is neither a host name nor an address")


def _known_addresses(host: str) -> tuple[str, ...]:
    """Where a host leads without looking it up."""
    if host == "localhost":
        return ("127.0.0.1", "::1")
    return () if plain_address(host) is None else (host,)  # `read_url` spelled it


def _within(network: Network, block: Network) -> bool:
    return network.version == block.version and network.subnet_of(block)  # type: ignore[arg-type]


@functools.lru_cache(maxsize=1024)
def _judged(text: str) -> tuple[Address, ...]:
    """The addresses that one stands for: itself, or the IPv4 addresses inside.

    Empty for what is no address.
    """
    match plain_address(text):
        case None:
            return ()
        case IPv4Address() as address:
            return (address,)
        case address:
            return tuple(_inside(address))


def _inside(address: IPv6Address) -> Iterator[Address]:
    lower = int(address) & 0xFFFF_FFFF
    if address in _NAT64:
        yield IPv4Address(lower)
    elif address.sixtofour is not None:
        yield address.sixtofour
    elif address.teredo is not None:
        yield from address.teredo
    else:
        yield address
        if int(address) >> 32 & 0xFFFF_FFFF in _ISATAP:
            yield IPv4Address(lower)


@functools.lru_cache(maxsize=1024)
def _kinds(address: Address) -> tuple[tuple[str, Network], ...]:
    """What is special about an address, with the blocks that say so; empty for an ordinary one."""
    return tuple((kind, block) for kind, block in _SPECIAL if address in block)


def _reason(host: str, address: str, inside: Address) -> str:
    shown = address if str(inside) == address else f"{address} (that is {inside})"
    kinds = _kinds(inside)
    usual = "a public address" if inside.is_global else "a private address"
    kind = kinds[0][0] if kinds else usual
    if _plain(host) == address:
        return f"{shown} is {kind} that {SETTING} does not name"
    return f"{host} leads to {shown}, {kind} that {SETTING} does not name"
