"""TLS at the server itself, where no proxy ends it.

A renewed certificate is loaded into a context of its own, and takes the place of the one before as
a whole: what OpenSSL has loaded half, such as a certificate whose key is still the old one, serves
nobody. The port keeps its first context, which gives each handshake the newest.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from pathlib import Path

import structlog

from relay_http.tls import make_context, read_pem
from relay_server.errors import InvalidValue
from relay_server.settings import ServerSettings

log = structlog.get_logger()

LOOK_S = 60.0  # how often a renewed certificate is looked for


class Certificate:
    """What is served at the port, and what is read again when its files change.

    Raises:
        InvalidValue: It cannot be used.

    Attributes:
        context: For the port.
    """

    def __init__(self, cert: Path, key: Path) -> None:
        self._cert, self._key = cert, key
        self._seen = self._stamp()
        self.context = self._newest = self._loaded()
        self.context.sni_callback = self._give  # called without a name as well (OpenSSL 1.1.1)

    async def renew(self, stale: Callable[[bool], None]) -> None:
        """Read the files again when they changed; new connections get what they hold then.

        `stale` is told whether there is a renewed certificate that cannot be used.
        """
        while True:
            await asyncio.sleep(LOOK_S)
            if (now := self._stamp()) == self._seen:
                continue
            try:
                self._newest = self._loaded()
            except InvalidValue as exc:
                log.error("renewed certificate cannot be used; the old one stays", error=str(exc))
                stale(True)
            else:
                self._seen = now
                log.info("certificate renewed")
                stale(False)

    def _give(self, handshake: ssl.SSLObject, _name: str | None, _: ssl.SSLContext) -> None:
        handshake.context = self._newest

    def _loaded(self) -> ssl.SSLContext:
        context = make_context(ssl.Purpose.CLIENT_AUTH)
        try:
            for path in (self._cert, self._key):
                read_pem(path)
            context.load_cert_chain(self._cert, self._key, _no_password)
        except (OSError, ValueError) as exc:
            raise InvalidValue(
                "RELAY_SERVER_TLS_CERT_FILE and RELAY_SERVER_TLS_KEY_FILE cannot be used: "
                + _words(exc)
            ) from exc
        return context

    def _stamp(self) -> tuple[tuple[int, ...], ...]:
        """What changes with the files, and with what they link to."""
        return _stamp(self._cert), _stamp(self._key)


def load(settings: ServerSettings) -> Certificate | None:
    """The certificate of the settings, ready to serve; None where there is none.

    Raises:
        InvalidValue: It cannot be used.
    """
    if settings.tls_cert_file is None or settings.tls_key_file is None:
        return None
    return Certificate(settings.tls_cert_file, settings.tls_key_file)


def _stamp(path: Path) -> tuple[int, ...]:
    try:
        found = path.stat()
    except OSError:
        return ()  # between two files of a renewal
    return found.st_mtime_ns, found.st_size, found.st_ino


def _no_password() -> str:
    # OpenSSL would ask for it on the terminal, and hold up the server meanwhile.
    raise ValueError("the key is sealed with a password: give it without one")


def _words(exc: OSError | ValueError) -> str:
    if isinstance(exc, ssl.SSLError):
        if exc.reason == "KEY_VALUES_MISMATCH":
            return "the key is not that of the certificate"
        return f"they are no certificate and key in PEM ({exc.reason or exc})"
    return str(exc)
