"""Which proxy is on the way to a relay: one answer, for the API and for the tunnel.

The variables are the usual ones, in either case: `HTTPS_PROXY` for a relay by https, `HTTP_PROXY`
for one by http, `ALL_PROXY` for both; `NO_PROXY` names what is reached without. Where none is set,
macOS and Windows are asked for the user's settings.
"""

from __future__ import annotations

import urllib.request
from contextlib import suppress
from ipaddress import ip_network
from urllib.parse import urlsplit

from relay_client.errors import UsageError
from relay_http.addresses import is_inside
from relay_terminal.words import _


def proxy_for(url: str) -> str | None:
    """The URL of the proxy that a relay's URL is reached by; None for none.

    Raises:
        UsageError: One is named that cannot be used; the message has the variable, and no secret.
    """
    relay, given = urlsplit(url), urllib.request.getproxies()
    if _goes_without(relay.netloc, relay.hostname or "", given.get("no", "")):
        return None
    for kind in (relay.scheme, "all", "socks"):
        if proxy := given.get(kind, "").strip():
            return _read(proxy, f"{kind.upper()}_PROXY", relay.hostname or "")
    return None


def _goes_without(place: str, host: str, no_proxy: str) -> bool:
    if not no_proxy:
        return bool(urllib.request.proxy_bypass(place))  # by the system's settings
    names = [name.strip().lower() for name in no_proxy.split(",")]
    return any(name and _is_meant(name, place, host) for name in names)


def _is_meant(name: str, place: str, host: str) -> bool:
    with suppress(ValueError):
        return is_inside(host, [ip_network(name.strip("[]"), strict=False)])
    name = name.removeprefix("*").removeprefix(".")
    return name in ("", place, host) or host.endswith(f".{name}")


def _read(text: str, variable: str, host: str) -> str:
    without = _("For none at all: NO_PROXY={host}").format(host=host)
    scheme, colon, _rest = text.partition("://")
    if colon and scheme.lower().startswith("socks"):
        problem = _("{variable} names a SOCKS proxy, which this client does not speak to")
        raise UsageError(problem.format(variable=variable), without)
    try:
        proxy = urlsplit(text if colon else f"http://{text}")
        if not proxy.hostname or proxy.port == 0 or proxy.scheme not in ("http", "https"):
            raise ValueError
        if any(not "!" <= char <= "~" for char in text):
            raise ValueError
    except ValueError:
        problem = _("{variable} is not the URL of a proxy, such as http://proxy.example.com:3128")
        raise UsageError(problem.format(variable=variable), without) from None
    user, at, place = proxy.netloc.rpartition("@")
    password = "" if ":" in user or not at else ":"  # an empty one; both libraries want one
    return f"{proxy.scheme}://{user}{password}{at}{place}"
