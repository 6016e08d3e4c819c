"""TLS at the server itself, where no proxy ends it."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import structlog

from relay_http.tls import make_context
from relay_server.errors import InvalidValue
from relay_server.settings import ServerSettings

log = structlog.get_logger()

LOOK_S = 60.0  # how often a renewed certificate is looked for


def load(settings: ServerSettings) -> ssl.SSLContext | None:
    """The certificate of the settings, ready to serve; None where there is none.

    Raises:
        InvalidValue: It cannot be used.
    """
    if settings.tls_cert_file is None or settings.tls_key_file is None:
        return None
    context = make_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(settings.tls_cert_file, settings.tls_key_file)
    except (OSError, ssl.SSLError) as exc:
        raise InvalidValue(
            f"RELAY_SERVER_TLS_CERT_FILE and RELAY_SERVER_TLS_KEY_FILE cannot be used: {exc}"
        ) from exc
    return context


async def renew(settings: ServerSettings, context: ssl.SSLContext) -> None:
    """Read the certificate again when its file changed; new connections get the new one."""
    cert, key = settings.tls_cert_file, settings.tls_key_file
    assert cert is not None
    seen = _mtime(cert)
    while True:
        await asyncio.sleep(LOOK_S)
        if (now := _mtime(cert)) == seen:
            continue
        try:
            context.load_cert_chain(cert, key)
        except (OSError, ssl.SSLError) as exc:
            log.error("renewed certificate cannot be used; the old one stays", error=str(exc))
        else:
            seen = now
            log.info("certificate renewed")


def _mtime(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0  # between two files of a renewal
