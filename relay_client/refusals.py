"""What a failed handshake or a close of the tunnel means, in words and in what follows."""

from __future__ import annotations

import ssl
from dataclasses import dataclass

from websockets.exceptions import (
    ConnectionClosed,
    InvalidHandshake,
    InvalidStatus,
    NegotiationError,
    ProxyError,
)

from relay_client.errors import ChannelRefused, ClientError, TakenOver, TokenRefused
from relay_protocol.client_session import Refused
from relay_protocol.messages import CloseCode
from relay_protocol.text import harmless

TOKEN_HINT = "Ask for a new token, then run: relay-client login URL"  # noqa: S105
TOO_MANY_FAILURES = "too_many_failures"  # the relay's code, of who shows wrong tokens
VERSIONS_HINT = "Client and relay may be of versions that do not fit: update the older one."


@dataclass(frozen=True, slots=True)
class Reason:
    """Why there is no connection at the moment, to be tried again."""

    text: str
    hint: str = ""


def of_failed_handshake(exc: BaseException) -> Reason | ClientError:
    """Explain why the tunnel could not be opened; an error is final."""
    match exc:
        case InvalidStatus(response=response):
            return of_status(response.status_code, bytes(response.body or b""))
        case ssl.SSLCertVerificationError():
            return Reason(
                f"the relay's certificate is not trusted: {exc.verify_message}",
                "For a private certificate give --ca-file.",
            )
        case NegotiationError():
            return Reason("what answers there speaks no relay.v1", "Check the URL.")
        case ProxyError():
            return Reason(f"the proxy refused: {exc}", "Check HTTPS_PROXY and NO_PROXY.")
        case InvalidHandshake():
            return Reason(f"what answers there is no relay: {exc}", "Check the URL.")
        case TimeoutError():
            return Reason("the relay did not answer in time")
        case _:
            return Reason(f"the relay cannot be reached: {_system_text(exc)}")


def of_close(exc: ConnectionClosed, refused: Refused | None) -> Reason | ClientError:
    """Explain why the tunnel was closed; an error is final.

    Args:
        exc: How it ended.
        refused: What the relay said before, if it did.
    """
    code = exc.rcvd.code if exc.rcvd is not None else None
    said = harmless(refused.text) if refused is not None else ""
    match code:
        case CloseCode.TOKEN_REFUSED:
            return TokenRefused(said or "the relay no longer accepts the token", TOKEN_HINT)
        case CloseCode.CHANNEL_REFUSED:
            return ChannelRefused(
                said or "the token may not read one of the channels",
                "relay-client channels lists those it may; --as NAME names another subscription.",
            )
        case CloseCode.TAKEN_OVER:
            return TakenOver(
                said or "another client connected under the same name and took over",
                "To run both, give one of them a name of its own: --as NAME. To share the work of "
                "one name, give --share to each.",
            )
        case CloseCode.RESTART:
            return Reason("the relay is restarting")
        case CloseCode.PROTOCOL_ERROR:
            return Reason(f"the relay did not understand this client: {said}", VERSIONS_HINT)
        case None:
            return Reason("the connection broke")
        case _:
            return Reason(said or f"the relay closed the connection ({code})")


def of_status(status: int, body: bytes) -> Reason | ClientError:
    """Explain an answer to the handshake; an error is final."""
    match status:
        case 401:
            return TokenRefused("the relay does not accept the token (401)", TOKEN_HINT)
        case 403:
            return TokenRefused("the relay refuses this client (403)", TOKEN_HINT)
        case 404:
            return Reason("what answers there has no /connect (404)", "Check the URL.")
        case 429 if TOO_MANY_FAILURES.encode() in body:  # a good token is let in all the same
            return TokenRefused(
                "the relay does not accept the token, like many before (429)", TOKEN_HINT
            )
        case 301 | 302 | 303 | 307 | 308:
            return Reason(
                f"what answers there points elsewhere ({status})",
                "Redirects are not followed: log in with the final URL, often https://.",
            )
        case _:
            return Reason(f"the relay is not ready ({status})")


def _system_text(exc: BaseException) -> str:
    if isinstance(exc, OSError) and exc.strerror:
        return exc.strerror
    return str(exc) or type(exc).__name__
