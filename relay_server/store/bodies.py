"""Bodies at rest: sealed with AES-256-GCM by keys that lie elsewhere than the store.

A stored body is `nonce | ciphertext | tag`, and beside it stands the *fingerprint* of the key that
opens it; without one it is as it came. The event's id is authenticated with it, so that no body
opens as another event's. Nonces are random: a key is good for some four billion bodies.

    keys given     fingerprints in the store      what the server does
    none           CLEAR                          stores as it comes
    K              CLEAR                          seals new bodies, then those that are there
    K              K                              seals new ones
    L K            K                              seals by L, opens by K, seals anew those of K
    L              K                              does not start: K is missing

What a webhook is found again by when its sender repeats it, a digest made of its body, is made with
a key, too: a plain one would tell who guesses a body that the guess is right.
"""

from __future__ import annotations

import base64
import binascii
import secrets
import zlib
from collections.abc import Iterable, Sequence
from hashlib import blake2b, sha256
from typing import TYPE_CHECKING, NamedTuple

from relay_server.errors import BodyKeyMissing, InvalidValue

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

UNKEPT = -1  # stands for one where the body was dropped
CLEAR = 0  # stands for a fingerprint where nothing is sealed
_KEY_BYTES = 32
_NONCE_BYTES = 12
LONG_BYTES = 16  # of a digest that needs no look at the body itself
MAX_KEYS = 16  # given at once: the one that seals, and those that still open; more are refused
_PIECE = 4_096  # bytes


class Damaged(Exception):
    """A sealed body does not open: its bytes were changed."""


class _Key(NamedTuple):
    fingerprint: int
    cipher: AESGCM
    digest_key: bytes


class BodyKeys:
    """Seals bodies by the first key, if it is to, and opens by any.

    Args:
        text: Keys of 32 bytes in base64, one or more, with white space between them.
        sealing: Whether new bodies are sealed; otherwise they are only opened.

    Attributes:
        current: The fingerprint under which new bodies are stored; `CLEAR` where none is sealed.

    Raises:
        InvalidValue: It holds what is no key.
    """

    def __init__(self, text: str = "", *, sealing: bool = True) -> None:
        keys = list(map(_key, _decode(text)))
        self._keys = {key.fingerprint: key for key in keys}
        self._sealing = keys[0] if keys and sealing else None
        self.current = self._sealing.fingerprint if self._sealing else CLEAR

    @property
    def known(self) -> frozenset[int]:
        """Fingerprints of what can be opened."""
        return frozenset((CLEAR, *self._keys))

    def need(self, fingerprints: Iterable[int]) -> None:
        """See that all of some can be opened.

        Raises:
            BodyKeyMissing: A key was not given.
        """
        if missing := sorted(set(fingerprints) - self.known):
            given = [name_of(one) for one in sorted(self._keys)]
            raise BodyKeyMissing(", ".join(map(name_of, missing)), ", ".join(given) or "-")

    def seal(self, event: str, body: bytes) -> tuple[bytes, int | None]:
        """What is stored of an event's body, and the fingerprint of the key that opens it."""
        if self._sealing is None:
            return body, None
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = self._sealing.cipher.encrypt(nonce, body, event.encode())
        return nonce + sealed, self._sealing.fingerprint

    def open(self, event: str, stored: bytes, fingerprint: int | None) -> bytes:
        """An event's body, from what `seal` gave.

        Raises:
            Damaged: It is not what was sealed.
        """
        if fingerprint is None:
            return stored
        from cryptography.exceptions import InvalidTag

        try:
            cipher = self._keys[fingerprint].cipher
            return cipher.decrypt(stored[:_NONCE_BYTES], stored[_NONCE_BYTES:], event.encode())
        except (InvalidTag, KeyError, ValueError) as exc:
            raise Damaged from exc

    def digest(self, body: bytes) -> int:
        """A number of 32 bits by which a body that is stored now is found again."""
        return crc(body) if self._sealing is None else _keyed_number(self._sealing, body)

    def digests(self, body: bytes) -> Sequence[int]:
        """The same for each key by which it may have been stored, the current one first."""
        keyed = [_keyed_number(key, body) for key in self._keys.values()]
        return list(dict.fromkeys([self.digest(body), crc(body), *keyed]))

    def long_digest(self, body: bytes) -> bytes:
        """`LONG_BYTES` that prove which body is stored now."""
        return _clear(body) if self._sealing is None else _keyed(self._sealing, body, LONG_BYTES)

    def long_digests(self, body: bytes) -> Sequence[bytes]:
        """The same for each key by which it may have been stored."""
        keyed = [_keyed(key, body, LONG_BYTES) for key in self._keys.values()]
        return [_clear(body), *keyed]


def crc(data: bytes, start: int = 0) -> int:
    """CRC-32, going on from that of what comes before.

    Taken in pieces, because for larger ones zlib lets go of the interpreter, and the writer's
    thread would wait for its turn again for each webhook.
    """
    if len(data) <= _PIECE:
        return zlib.crc32(data, start)
    view, value = memoryview(data), start
    for at in range(0, len(view), _PIECE):
        value = zlib.crc32(view[at : at + _PIECE], value)
    return value


def name_of(fingerprint: int) -> str:
    """How people see which key is meant."""
    return f"{fingerprint:016x}"


def _decode(text: str) -> list[bytes]:
    found = [_decoded(word) for word in text.split()]
    if len(found) > MAX_KEYS:
        raise InvalidValue(f"there are at most {MAX_KEYS} keys of bodies, not {len(found)}")
    return found


def _decoded(word: str) -> bytes:
    try:
        key = base64.b64decode(word.replace("-", "+").replace("_", "/"), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != _KEY_BYTES:
        raise InvalidValue(
            f"a key of bodies is {_KEY_BYTES} bytes in base64, such as"
            f" `head -c {_KEY_BYTES} /dev/urandom | base64` prints"
        )
    return key


def _key(raw: bytes) -> _Key:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # memory few servers need

    digest = blake2b(raw, digest_size=8, person=b"relay body key").digest()
    # Positive, and never `CLEAR`.
    fingerprint = int.from_bytes(digest, "big") >> 1 | 1
    return _Key(fingerprint, AESGCM(raw), blake2b(raw, person=b"relay digests").digest())


def _keyed_number(key: _Key, body: bytes) -> int:
    return int.from_bytes(_keyed(key, body, 4), "big")


def _keyed(key: _Key, body: bytes, size: int) -> bytes:
    return blake2b(body, digest_size=size, key=key.digest_key).digest()


def _clear(body: bytes) -> bytes:
    return sha256(body).digest()[:LONG_BYTES]


IN_THE_CLEAR = BodyKeys()
