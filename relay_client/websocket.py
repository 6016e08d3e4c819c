"""The client's WebSocket: opening it, bounds that its library lacks, and what its end means.

`dial` gives a connection or raises; `of_failed_handshake` and `of_close` turn what was raised, then
or later, into words and into what follows: a `Reason` is tried again, a `ClientError` is final.
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import (
    ConnectionClosed,
    InvalidHandshake,
    InvalidStatus,
    NegotiationError,
    ProxyError,
)
from websockets.typing import Subprotocol

from relay_client.errors import (
    TOO_MANY_FAILURES,
    ChannelRefused,
    ClientError,
    TakenOver,
    TokenRefused,
)
from relay_client.relay import USER_AGENT, Relay
from relay_protocol.limits import MAX_FRAME_BYTES, SUBPROTOCOL
from relay_protocol.messages import CloseCode, Error
from relay_protocol.text import harmless

# A WebSocket that does not open by then is tried again.
OPEN_TIMEOUT_S = 10.0
# Time for the last results at a stop, and for the other end to close.
CLOSE_TIMEOUT_S = 2.0
# A relay that pings and does not read the answers is cut. What the writer sends waits for room
# above 64 KiB, so a frame more is all that is ever here.
MAX_UNSENT_BYTES = 1_048_576

TOKEN_HINT = "Ask for a new token, then run: relay-client login URL"  # noqa: S105
VERSIONS_HINT = "Client and relay may be of versions that do not fit: update the older one."


@dataclass(frozen=True, slots=True)
class Reason:
    """A cause that passes: the connection is tried again."""

    text: str
    hint: str = ""


class BoundedConnection(ClientConnection):
    """Cuts a relay that pings and reads no pong, and one that is told to go and stays.

    The library keeps each pong until it is read, and after a frame that is none it waits for the
    other end to close for as long as nothing is to be sent.
    """

    _goodbye: asyncio.TimerHandle | None = None

    def data_received(self, data: bytes) -> None:
        """Part of asyncio.Protocol; answers pings, and closes when something is wrong."""
        super().data_received(data)
        if self.transport.get_write_buffer_size() > MAX_UNSENT_BYTES:
            self.transport.abort()
        elif self._goodbye is None and self.protocol.close_expected():
            assert self.close_timeout is not None
            self._goodbye = self.loop.call_later(self.close_timeout, self.transport.abort)


class _connect(connect):  # noqa: N801 - named like the function-like class that it changes
    """Follows no redirect: the token goes to the configured relay and nowhere else."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


async def dial(relay: Relay) -> ClientConnection:
    """Open a WebSocket to a relay; it may still speak another subprotocol, or none.

    Raises:
        OSError, WebSocketException, ImportError: It does not open; the last: no SOCKS library.
    """
    return await _connect(
        relay.socket_url,
        create_connection=BoundedConnection,
        subprotocols=[Subprotocol(SUBPROTOCOL)],
        additional_headers=relay.authorization,
        user_agent_header=USER_AGENT,
        proxy=None if relay.is_loopback else True,
        ssl=relay.tls,
        compression=None,  # bodies are small, and it would halve what goes through
        open_timeout=OPEN_TIMEOUT_S,
        close_timeout=CLOSE_TIMEOUT_S,
        ping_interval=None,  # the session decides when to ping
        max_size=MAX_FRAME_BYTES,
    )


def of_failed_handshake(exc: BaseException) -> Reason | ClientError:
    """Explain why it could not be opened; an error is final."""
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


def of_close(exc: ConnectionClosed, refused: Error | None) -> Reason | ClientError:
    """Explain why it was closed; an error is final.

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
