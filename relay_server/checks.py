"""What the server's settings must be, beyond their types."""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import ip_address, ip_network
from typing import Any
from urllib.parse import SplitResult, urlsplit

from relay_http.addresses import Network, plain_address
from relay_server.channels import is_name
from relay_server.delivery.url.allow import Allowlist
from relay_server.errors import InvalidValue
from relay_server.files import PREFIX, absolute
from relay_server.store.rules import POSTGRES, SQLITE

BASE_PATH = re.compile(r"(?:/(?!\.)[\w.~-]+)*", re.ASCII)  # of a public URL below which all stands
EVERYWHERE = "::"  # to listen on: every address of this machine, of IPv4 as well


def _address(value: str) -> str:
    host = value[1:-1] if value.startswith("[") and value.endswith("]") else value
    if host == "*":
        return EVERYWHERE
    if plain_address(host) is None and not re.fullmatch(r"[\w.-]+", host):
        raise ValueError("must be an address or a name to listen on, and the port goes apart")
    return host


def _of_web(value: str) -> SplitResult:
    url = urlsplit(value)
    if url.scheme not in ("http", "https") or not url.hostname:
        raise ValueError("must begin with http:// or https:// and name a host")
    return url


def _url(value: str) -> str:
    if not value:
        return value
    url = _of_web(value)
    path = url.path.rstrip("/")
    if not BASE_PATH.fullmatch(path) or url.query or url.fragment or url.username:
        raise ValueError(
            "must be scheme, host, port and perhaps a plain path, such as"
            " https://relay.example.com or https://example.com/relay"
        )
    return f"{url.scheme}://{url.netloc}{path}"


def _origin(value: str) -> str:
    if urlsplit(_url(value)).path:
        raise ValueError("must be scheme, host and port alone: a path shares its host")
    return value.rstrip("/")


def _collector(value: str) -> str:
    if value:
        _of_web(value)
    return value


def _store(value: str) -> str:
    url = urlsplit(value)
    if value.lower() == SQLITE:
        return SQLITE
    if url.scheme != POSTGRES or not url.hostname or not url.path.strip("/"):
        raise ValueError(f"must be {SQLITE}, or {POSTGRES}://user@host/database")
    if url.password is not None:
        raise ValueError(
            f"must hold no password, which logs and lists of processes would show: put it"
            f" into a file, and name that in {PREFIX}STORE_PASSWORD_FILE"
        )
    return value


def _channel(value: str) -> str:
    if not is_name(value):
        raise ValueError(
            "must be 1 to 63 of a-z, 0-9, '.', '_' and '-', beginning with a letter or digit"
        )
    return value


def _reachable(entry: str) -> str:
    try:
        Allowlist.of((entry,))
    except InvalidValue as exc:
        raise ValueError(str(exc)) from exc
    return entry


def _network(text: str) -> Network:
    try:
        meant = ip_network(text, strict=False)
    except ValueError:
        raise ValueError("must be addresses and networks, such as 10.0.0.0/8") from None
    if ip_address(text.partition("/")[0]) != meant.network_address:
        raise ValueError(f"of a network the first address is given: {meant}")
    return meant


# Each makes a setting's value of one that is right by its type; of a list, of each entry.
CHECKS: dict[str, Callable[[Any], object]] = {
    "data_dir": absolute,
    "host": _address,
    "ops_host": _address,
    "public_url": _url,
    "replica_url": _url,
    "dashboard_url": _origin,
    "default_channel": _channel,
    "store_url": _store,
    "trusted_proxies": _network,
    "forward_allow": _reachable,
    "otlp_url": _collector,
}
