"""What schemes of signatures have in common: what one is asked, and what it answers. Pure."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple

from relay_protocol.values import HeaderList
from relay_server.errors import Unauthorized

MAX_SIGNATURE_BYTES = 4_096  # of a header that proves who sent it; a longer one: 401
MAX_SIGNATURES = 16  # in one header, as while secrets are rotated; more: 401


class Request(NamedTuple):
    """A request as far as signatures cover it.

    Attributes:
        url: As its sender asked for it, from the scheme to the end of the query.
        value: Gives the value of a header by its name in lower case; empty for none.
        body: Raw bytes.
    """

    url: str
    value: Callable[[bytes], bytes]
    body: bytes


class Claim(NamedTuple):
    """What a request says of its signature.

    Attributes:
        signatures: As they are written there; any that is right will do.
        stamp: When they were made, as it is written there; empty where a scheme does not say.
        id: Of one that is to be signed: the message's, where its headers name none.
    """

    signatures: tuple[bytes, ...] = ()
    stamp: bytes = b""
    id: bytes = b""


class Scheme(ABC):
    """How one provider's webhooks prove who sent them.

    Attributes:
        header: Where the proof is, as the provider writes it.
    """

    header: bytes

    @property
    def timed(self) -> bool:
        """True if a claim has the time at which it was made, which must be near."""
        return False

    @property
    def bare(self) -> bool:
        """True if the secret itself is sent, and no signature."""
        return False

    @property
    def covers_url(self) -> bool:
        """True if the URL is signed, and not the body alone."""
        return False

    @property
    def fields(self) -> tuple[bytes, ...]:
        """Names of the headers that are its own, as the provider writes them."""
        return self.proofs

    @property
    def proofs(self) -> tuple[bytes, ...]:
        """Those of them whose values no screen shows."""
        return (self.header,)

    def key(self, secret: bytes) -> bytes:
        """The key that a secret stands for; raise `InvalidValue` for one that is none."""
        return secret

    @abstractmethod
    def read(self, request: Request) -> Claim:
        """What a request claims; raise `Unauthorized` for none, with what is missing."""

    @abstractmethod
    def make(self, key: bytes, claim: Claim, request: Request) -> tuple[bytes, ...]:
        """The right signature, and others that are as good; `Unauthorized` where none can be."""

    def write(self, signature: bytes, claim: Claim, request: Request) -> HeaderList:
        """The headers that say it."""
        return ((self.header, signature),)


def needed(request: Request, name: bytes) -> bytes:
    """The value of a header that must be there; raise `Unauthorized` where it is not."""
    value = request.value(name.lower())
    if not value:
        raise Unauthorized(f"no {name.decode()}")
    if len(value) > MAX_SIGNATURE_BYTES:
        raise Unauthorized(f"{name.decode()} is too long")
    return value


def several(found: list[bytes], name: bytes, version: bytes) -> tuple[bytes, ...]:
    """The signatures of a header that may have many; raise `Unauthorized` for none, or too many."""
    if not found:
        raise Unauthorized(f"no {version.decode()} signature in {name.decode()}")
    if len(found) > MAX_SIGNATURES:
        raise Unauthorized(f"too many signatures in {name.decode()}")
    return tuple(found)
