"""Chatwoot's webhook signature: `sha256=hex(HMAC-SHA256(secret, timestamp + "." + body))`.

>>> body, signed_at = b'{"event": "message_created"}', 1783000810
>>> signature = sign("SECRET", str(signed_at), body)
>>> headers = {"X-Chatwoot-Timestamp": str(signed_at), "X-Chatwoot-Signature": signature}
>>> signatures = Signatures(secrets=("SECRET", "that of another webhook"))
>>> signatures.refusal(headers, body, now=signed_at + 2) is None
True
>>> signatures.refusal(headers, body + b" ", now=signed_at + 2)
'its signature was made with another secret, or for another body'
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

SIGNATURE = "X-Chatwoot-Signature"
TIMESTAMP = "X-Chatwoot-Timestamp"  # of the signing, in Unix seconds
PREFIX = "sha256="


def sign(secret: str, timestamp: str, body: bytes) -> str:
    """The value of `X-Chatwoot-Signature` for these bytes, e.g. `"sha256=136aa3…"`."""
    message = _raw(timestamp) + b"." + body
    return PREFIX + hmac.new(secret.encode(), message, hashlib.sha256).hexdigest()


@dataclass(frozen=True, slots=True)
class Signatures:
    """Tells which webhooks are signed by Chatwoot.

    Attributes:
        secrets: One for each webhook, API inbox or agent bot of Chatwoot. None: all is accepted.
        tolerance_s: How many seconds may lie between signing and arrival; 0 for any number.
    """

    secrets: tuple[str, ...] = field(repr=False)
    tolerance_s: int = 300

    def refusal(self, headers: Mapping[str, str], body: bytes, now: float) -> str | None:
        """Why this webhook is refused, or None if it is good; `now` is in Unix seconds.

        Headers are looked up in any case, as aiohttp's are.
        """
        if not self.secrets:
            return None
        signature = headers.get(SIGNATURE)
        timestamp = headers.get(TIMESTAMP)
        if signature is None or timestamp is None:
            return "it is not signed (Chatwoot's automation rules and macros never are)"
        if not self._is_ours(signature, timestamp, body):
            return "its signature was made with another secret, or for another body"
        return self._too_old(timestamp, headers, now)

    def _is_ours(self, signature: str, timestamp: str, body: bytes) -> bool:
        given = _raw(signature)
        # bytes, because compare_digest raises on text that is not ASCII
        return any(
            hmac.compare_digest(given, sign(secret, timestamp, body).encode())
            for secret in self.secrets
        )

    def _too_old(self, timestamp: str, headers: Mapping[str, str], now: float) -> str | None:
        """Judge the time of signing by when Relay took the webhook in, if Relay says so.

        A webhook that waited for this machine was signed hours ago and is still good: what
        the tolerance guards against, an old webhook sent again, happens on the way to Relay.
        Relay removes a `Relay-Received-At` that a sender made up.
        """
        if self.tolerance_s == 0:
            return None
        try:
            signed_at = int(timestamp)
        except ValueError:
            return "its X-Chatwoot-Timestamp is not a number of seconds"
        arrived_at = _unix_seconds(headers.get("Relay-Received-At", ""))
        apart_s = abs((now if arrived_at is None else arrived_at) - signed_at)
        if apart_s <= self.tolerance_s:
            return None
        return f"signing and arrival are {apart_s:.0f} s apart, {self.tolerance_s} s are allowed"


def _unix_seconds(text: str) -> float | None:
    """`"2026-07-02T14:00:10Z"` or `"1783000810.5"` in Unix seconds; None for what is neither."""
    try:
        return float(text)
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _raw(header: str) -> bytes:
    """The bytes of a header's value, which aiohttp decodes with surrogates for what is no UTF-8."""
    return header.encode("utf-8", "surrogateescape")
