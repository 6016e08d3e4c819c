"""TLS as both programs speak it, whatever this Python was built with."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Iterator
from pathlib import Path

from relay_http.files import read_text, why_not

LOWEST = ssl.TLSVersion.TLSv1_2


def make_context(purpose: ssl.Purpose = ssl.Purpose.SERVER_AUTH) -> ssl.SSLContext:
    """Python's defaults, and no TLS below 1.2.

    Debian builds Python with `--with-ssl-default-suites=openssl`, which leaves the lowest version
    to OpenSSL's settings. Where those ask for more than 1.2, that stays.
    """
    context = ssl.create_default_context(purpose)
    context.minimum_version = max(context.minimum_version, LOWEST)
    return context


def target_context(ca_file: Path | None = None, *, verify: bool = True) -> ssl.SSLContext:
    """What a target is spoken to with by TLS; it trusts the certificates of a file, too.

    Raises:
        OSError, ValueError: The file cannot be used; the message names it.
    """
    context = make_context()
    context.set_alpn_protocols(["http/1.1"])
    if ca_file is not None:
        trust(context, ca_file)
    if not verify:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def trust(context: ssl.SSLContext, ca_file: Path) -> None:
    """Have a context trust the certificates of a file, too.

    Raises:
        OSError, ValueError: It cannot be used; the message names it.
    """
    try:
        context.load_verify_locations(cadata=read_pem(ca_file))
    except ssl.SSLError as exc:
        raise ValueError(f"{ca_file}: it holds no certificate ({exc.reason or exc})") from exc


def read_pem(path: Path) -> str:
    """Read certificates or a key, as text.

    Raises:
        ValueError: It is none that can be read; the message names the file.
    """
    try:
        text = read_text(path)
    except (OSError, ValueError) as exc:
        raise ValueError(f"{path}: {why_not(exc)}") from exc
    if "-----BEGIN " not in text:
        raise ValueError(f"{path}: it is no file in PEM, which has a line -----BEGIN …-----")
    return text


@contextlib.contextmanager
def trusting_nobody() -> Iterator[None]:
    """Import a library without the certificates that it loads for contexts nobody uses.

    aiohttp does so twice, 1 MiB each. A context that is made meanwhile trusts no server.
    """
    load = ssl.SSLContext.set_default_verify_paths
    ssl.SSLContext.set_default_verify_paths = lambda self: None  # type: ignore[method-assign]
    try:
        yield
    finally:
        ssl.SSLContext.set_default_verify_paths = load  # type: ignore[method-assign]
