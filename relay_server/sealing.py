"""Secrets that must be read again, kept so that a stolen database file does not give them away."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from relay_http.files import read_text
from relay_server.errors import InvalidValue
from relay_server.files import size_of, write_whole

if TYPE_CHECKING:
    from cryptography.fernet import Fernet

FILE_NAME = "secret.key"
MAX_OPENED = 1_024  # secrets remembered in the clear; headers change, and leave theirs

OpenSealed = Callable[[bytes], bytes]  # as `Sealer.open`


def opens_nothing(_sealed: bytes) -> bytes:
    raise InvalidValue("there is no key here that opens secrets")


def fingerprint(secret: bytes) -> str:
    """By which long random secrets are compared without being shown."""
    return hashlib.sha256(b"relay:" + secret).hexdigest()[:16]


class Sealer:
    """Seals with a key that lies beside the database, or comes from the settings.

    The key is made when it is first needed.
    """

    def __init__(self, data_dir: Path, key: str | None = None) -> None:
        self._path = data_dir / FILE_NAME
        self._key = key
        self._fernet: Fernet | None = None
        self._opened = functools.lru_cache(MAX_OPENED)(self._open)

    def seal(self, secret: bytes) -> bytes:
        """Turn a secret into what may be stored."""
        return self._cipher(make=True).encrypt(secret)

    def open(self, sealed: bytes) -> bytes:
        """Turn it back; raise `InvalidValue` if it was sealed with another key."""
        return self._opened(sealed)

    def _open(self, sealed: bytes) -> bytes:
        from cryptography.fernet import InvalidToken

        try:
            return self._cipher(make=False).decrypt(sealed)
        except InvalidToken as exc:
            raise InvalidValue(
                f"a secret was sealed with another key than {self._path} holds"
            ) from exc

    def _cipher(self, *, make: bool) -> Fernet:
        from cryptography.fernet import Fernet  # 10 MiB that most servers never need

        if self._fernet is None:
            try:
                self._fernet = Fernet(self._key or self._read(make=make))
            except ValueError as exc:
                raise InvalidValue("the sealing key is not 32 bytes in URL-safe base64") from exc
        return self._fernet

    def _read(self, *, make: bool) -> str:
        from cryptography.fernet import Fernet

        if make and not size_of(self._path):  # an empty one is what a crash left: it sealed nothing
            write_whole(self._path, Fernet.generate_key())
        try:
            return read_text(self._path).strip()
        except OSError as exc:
            raise InvalidValue(
                f"the sealing key {self._path} cannot be read: {exc.strerror}"
            ) from exc
