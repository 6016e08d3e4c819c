"""The schemes, Twilio's apart. Each says which of its provider's pages it follows."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Callable
from dataclasses import dataclass

from relay_protocol.values import HeaderList
from relay_server.errors import InvalidValue
from relay_server.signing.scheme import Claim, Request, Scheme, needed, several


def hexadecimal(digest: bytes) -> bytes:
    """A digest in lower-case hexadecimal."""
    return digest.hex().encode()


@dataclass(frozen=True, slots=True)
class Digest(Scheme):
    """HMAC-SHA256 over the body, perhaps with a time before it, in a header of its own.

    Attributes:
        header: Where the signature is.
        prefix: Before the signature there; one without it is as good.
        encode: Of the digest.
        time: The header with the time, in Unix seconds; empty without one.
        before: What stands before the body, with the time in it.
        older: Headers with what the provider signs by weaker means, too: not looked at.
    """

    header: bytes
    prefix: bytes = b""
    encode: Callable[[bytes], bytes] = hexadecimal
    time: bytes = b""
    before: bytes = b"%b."
    older: tuple[bytes, ...] = ()

    @property
    def timed(self) -> bool:
        return bool(self.time)

    @property
    def fields(self) -> tuple[bytes, ...]:
        return (*filter(None, (self.time,)), self.header, *self.older)

    @property
    def proofs(self) -> tuple[bytes, ...]:
        return (self.header, *self.older)

    def read(self, request: Request) -> Claim:
        given = needed(request, self.header).removeprefix(self.prefix)
        return Claim((given,), needed(request, self.time) if self.time else b"")

    def make(self, key: bytes, claim: Claim, request: Request) -> tuple[bytes, ...]:
        before = self.before % claim.stamp if self.time else b""
        return (self.encode(hmac.digest(key, before + request.body, "sha256")),)

    def write(self, signature: bytes, claim: Claim, request: Request) -> HeaderList:
        field = (self.header, self.prefix + signature)
        return ((self.time, claim.stamp), field) if self.time else (field,)


@dataclass(frozen=True, slots=True)
class Bare(Scheme):
    """The secret itself, in a header of its own: it proves the sender, and nothing of the body."""

    header: bytes

    bare = True

    def read(self, request: Request) -> Claim:
        return Claim((needed(request, self.header),))

    def make(self, key: bytes, claim: Claim, request: Request) -> tuple[bytes, ...]:
        return (key,)


class StandardWebhooks(Scheme):
    """Standard Webhooks' symmetric `v1`, under its own headers or Svix's, which mean the same."""

    fields = tuple(
        b"%b-%b" % (family, what)
        for family in (b"webhook", b"svix")
        for what in (b"id", b"timestamp", b"signature")
    )
    proofs = (b"webhook-signature", b"svix-signature")
    timed = True

    def key(self, secret: bytes) -> bytes:
        """What base64 says behind `whsec_`; both the specification's."""
        text = secret.removeprefix(b"whsec_")
        try:
            key = base64.b64decode(text + b"=" * (-len(text) % 4), validate=True)
        except binascii.Error:
            key = b""
        if not key:  # anybody signs with an empty one
            raise InvalidValue("a secret of standard-webhooks is base64, behind whsec_")
        return key

    def read(self, request: Request) -> Claim:
        family = self._family(request)
        needed(request, family + b"-id")
        stamp, name = needed(request, family + b"-timestamp"), family + b"-signature"
        given = [part.partition(b",") for part in needed(request, name).split()]
        found = [signature for version, _, signature in given if version == b"v1"]
        return Claim(several(found, name, b"v1"), stamp)

    def make(self, key: bytes, claim: Claim, request: Request) -> tuple[bytes, ...]:
        message = b"%b.%b.%b" % (self._id(claim, request), claim.stamp, request.body)
        return (base64.b64encode(hmac.digest(key, message, "sha256")),)

    def write(self, signature: bytes, claim: Claim, request: Request) -> HeaderList:
        family = self._family(request)
        return (
            (family + b"-id", self._id(claim, request)),
            (family + b"-timestamp", claim.stamp),
            (family + b"-signature", b"v1," + signature),
        )

    @staticmethod
    def _family(request: Request) -> bytes:
        is_svix = request.value(b"svix-id") and not request.value(b"webhook-id")
        return b"svix" if is_svix else b"webhook"

    def _id(self, claim: Claim, request: Request) -> bytes:
        return request.value(self._family(request) + b"-id") or claim.id


class Stripe(Scheme):
    """Stripe's `v1`, with the time in the same header; several while a secret is rolled.

    The key is the secret as it is, `whsec_` and all.
    """

    header = b"Stripe-Signature"
    timed = True

    def read(self, request: Request) -> Claim:
        given = [part.partition(b"=") for part in needed(request, self.header).split(b",")]
        stamps = [value for name, _, value in given if name.strip() == b"t"]
        found = [value for name, _, value in given if name.strip() == b"v1"]
        return Claim(several(found, self.header, b"v1"), stamps[0] if stamps else b"")

    def make(self, key: bytes, claim: Claim, request: Request) -> tuple[bytes, ...]:
        return (hexadecimal(hmac.digest(key, claim.stamp + b"." + request.body, "sha256")),)

    def write(self, signature: bytes, claim: Claim, request: Request) -> HeaderList:
        return ((self.header, b"t=%b,v1=%b" % (claim.stamp, signature)),)
