"""The address of the relay, and what every request to it carries."""

from __future__ import annotations

import contextlib
import functools
import re
import ssl
import urllib.parse
from dataclasses import dataclass
from pathlib import Path

from relay_client import __version__
from relay_client.errors import UsageError
from relay_client.proxies import proxy_for
from relay_http.addresses import is_in_clear, is_loopback_host
from relay_http.tls import make_context, trust
from relay_terminal.words import _

_CODE = re.compile(r"[A-Za-z0-9_-]{16,128}")  # the end of an invitation's URL
_PATH = re.compile(r"(?:/(?!\.)[\w.~-]+)*", re.ASCII)  # below which a relay may stand
_OF_RELAYS = ("/webhook", "/c/", "/connect", "/api/", "/login")  # what is copied by mistake
USER_AGENT = f"relay-client/{__version__}"


@dataclass(frozen=True)
class Relay:
    """A relay and the token to speak to it with.

    Attributes:
        url: Scheme, host, port and perhaps a path, e.g. `"https://relay.example.com"`.
        ca_file: More certificates to trust, in PEM.
    """

    url: str
    token: str
    ca_file: Path | None = None

    @property
    def socket_url(self) -> str:
        """The URL of the tunnel's WebSocket."""
        return "ws" + self.url.removeprefix("http") + "/connect"

    @property
    def authorization(self) -> dict[str, str]:
        """The header that carries the token."""
        return {"Authorization": f"Bearer {self.token}"}

    @functools.cached_property
    def is_loopback(self) -> bool:
        """True for a relay on this machine, where no proxy can help."""
        return is_loopback_host(urllib.parse.urlsplit(self.url).hostname or "")

    @functools.cached_property
    def proxy(self) -> str | None:
        """The URL of the proxy on the way; None for none.

        Raises:
            UsageError: One is named that cannot be used.
        """
        return None if self.is_loopback else proxy_for(self.url)

    @property
    def sends_token_in_clear(self) -> bool:
        """True if somebody on the way can read the token."""
        return is_in_clear(self.url)

    @functools.cached_property
    def tls(self) -> ssl.SSLContext | None:
        """The certificates to trust; None without TLS.

        Raises:
            UsageError: `ca_file` cannot be read.
        """
        return self._trusting() if self.url.startswith("https:") else None

    def read_ca_again(self) -> None:
        """Trust what `ca_file` holds by now; one that cannot be read changes nothing."""
        with contextlib.suppress(UsageError):
            self.__dict__["tls"] = self._trusting()

    def _trusting(self) -> ssl.SSLContext:
        context = make_context()
        if self.ca_file is not None:
            try:
                trust(context, self.ca_file)
            except (OSError, ValueError) as exc:
                raise UsageError(
                    f"--ca-file {exc}", _("It must be a readable file of certificates in PEM.")
                ) from exc
        return context


def parse_invitation(text: str) -> tuple[str, str]:
    """Split the URL of an invitation into the relay's and its code; of any other that is empty."""
    url, found, code = text.strip().rpartition("/i/")
    return (url, code) if found and _CODE.fullmatch(code) else (text, "")


def parse_url(text: str) -> str:
    """Read the address of a relay, and give it without a trailing slash.

    Raises:
        ValueError: It is no address that a relay can have; the message says why.
    """
    try:
        parts = urllib.parse.urlsplit(text.strip())
        port = parts.port
    except ValueError as exc:
        raise ValueError(_("{text!r} is not a URL: {exc}").format(text=text, exc=exc)) from exc
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(_("{text!r} is not like https://relay.example.com").format(text=text))
    if parts.username is not None or parts.password is not None:
        raise ValueError(_("a relay's URL carries no user and password; give the token by itself"))
    path = parts.path.rstrip("/")
    if path.startswith(_OF_RELAYS) or not _PATH.fullmatch(path) or parts.query or parts.fragment:
        raise ValueError(
            _("{text!r} has more than the relay's own URL; leave the rest away").format(text=text)
        )
    if any(not "!" <= char <= "~" for char in parts.netloc) or port == 0:
        raise ValueError(_("{text!r} has a host or port that cannot be").format(text=text))
    return f"{parts.scheme}://{parts.netloc}{path}"
