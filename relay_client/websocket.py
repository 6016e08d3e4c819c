"""The client's WebSocket: opening it, bounds that its library lacks, and what its end means.

`dial` gives a connection or raises; `of_failed_handshake` and `of_close` turn what was raised, then
or later, into words and into what follows: a `Reason` is tried again, a `ClientError` is final.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import struct
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from socket import gaierror
from typing import Any, Protocol

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import (
    ConnectionClosed,
    InvalidHandshake,
    InvalidProxyStatus,
    InvalidStatus,
    NegotiationError,
    ProxyError,
)
from websockets.frames import DATA_OPCODES, Frame, Opcode
from websockets.frames import CloseCode as WebSocketCode
from websockets.protocol import Event, State
from websockets.typing import Subprotocol

try:
    from websockets.speedups import apply_mask
except ImportError:  # no compiler was there
    from websockets.utils import apply_mask

from relay_client import reasons
from relay_client.errors import (
    INVALID_FILTER,
    INVALID_NAME,
    TOO_MANY_FAILURES,
    ChannelRefused,
    ClientError,
    TakenOver,
    TokenRefused,
    UsageError,
)
from relay_client.relay import USER_AGENT, Relay
from relay_http.tls import make_context
from relay_protocol.limits import MAX_FRAME_BYTES, SUBPROTOCOL
from relay_protocol.messages import CloseCode, Error
from relay_protocol.text import harmless
from relay_terminal.words import N_, _

# A WebSocket that does not open by then is tried again.
OPEN_TIMEOUT_S = 10.0
# Time for the last results at a stop, and for the other end to close.
CLOSE_TIMEOUT_S = 2.0
# A relay that pings and does not read the answers is cut. What the tunnel sends waits for room
# above 32 KiB, so little more than that is ever here.
MAX_UNSENT_BYTES = 1_048_576
# Of one message: a relay sends it whole, and what stands between may cut it up.
_MAX_FRAGMENTS = 1_024

# A frame's head (RFC 6455 §5.2): one whole binary message, and its length if that fits there.
_BINARY, _MASKED = 0x80 | Opcode.BINARY, 0x80
_TWO_BYTES = 126  # says that the length is in the next two; so does 127 of the next eight
_DRAWN_BYTES = 1_024  # of randomness, at once

TOKEN_HINT = N_("Ask for a new token, then run: relay-client login URL")
UPGRADE_HINT = N_(
    "Have it pass WebSockets on to the relay; in nginx that is proxy_http_version "
    "1.1, and the headers Upgrade and Connection set."
)
HELD_BACK_HINT = N_(
    "A proxy in between may hold the stream back: have it pass WebSockets on, and "
    "buffer nothing (in nginx proxy_buffering off)."
)
VERSIONS_HINT = N_("Client and relay may be of versions that do not fit: update the older one.")


@dataclass(frozen=True, slots=True)
class Reason:
    """A cause that passes: the connection is tried again.

    Attributes:
        cut: It ended without a word of either end, as one does that something in between cuts.
    """

    text: str
    hint: str = ""
    cut: bool = False


class Listener(Protocol):
    """Whoever is told at once what comes over a socket; nothing may be raised."""

    def received(self, message: bytes) -> None:
        """A message came, whole."""

    def ponged(self) -> None:
        """A ping was answered."""

    def has_room(self) -> None:
        """What was sent is gone, after `Socket.paused` was true: more may be sent."""

    def lost(self) -> None:
        """The connection ended; `Socket.close_exc` says how."""


class Socket(ClientConnection):
    """The library's connection, used by calls instead of coroutines: a webhook needs no task here.

    Nothing is read between the handshake and `listen`. Messages, pongs and the end go straight to
    the listener; what is sent goes straight to the transport, several messages in one write, and
    whoever sends stops while `paused` says that too much waits there.

    A binary message that comes whole, as nearly all do, is handed over as it is read, and one that
    is sent is framed here: the library takes a hundred steps for either. It reads all else, and
    knows alone how the connection stands.

    It cuts a relay that pings and reads no pong, and one that is told to go and stays: the library
    keeps each pong until it is read, and after a frame that is none it waits for the other end to
    close for as long as nothing is to be sent.
    """

    _goodbye: asyncio.TimerHandle | None = None
    _listener: Listener | None = None
    _reads = False

    def listen(self, listener: Listener) -> None:
        """Hand over what came already, and from now on all that comes."""
        self._listener = listener
        self.read(go_on=True)

    def read(self, *, go_on: bool) -> None:
        """Hand over what comes, or leave it to the system until later."""
        self._reads = go_on
        while self._reads and self._held:
            self._take(self._held.popleft())
        if self.transport.is_closing():
            return  # uvloop's would raise
        if self._reads:
            self.transport.resume_reading()
        else:
            self.transport.pause_reading()

    def send_all(self, messages: Sequence[bytes]) -> None:
        """Write messages, all at once; nobody gets them if the end is already on its way."""
        if self._is_open():
            self.transport.write(b"".join(map(_framed, messages)))

    def send_ping(self) -> None:
        if self._is_open():
            self.protocol.send_ping(b"")
            self.send_data()

    def data_received(self, data: bytes) -> None:
        """Part of asyncio.Protocol; answers pings, and closes when something is wrong."""
        if self._reads and not self._parts and self._is_between_frames():
            data = self._hand_over(data)
            if not data:
                return
        super().data_received(data)
        if self.transport.get_write_buffer_size() > MAX_UNSENT_BYTES:
            self.transport.abort()
        elif self._goodbye is None and self.protocol.close_expected():
            assert self.close_timeout is not None
            self._goodbye = self.loop.call_later(self.close_timeout, self.transport.abort)

    def process_event(self, event: Event) -> None:
        """Part of the library's connection."""
        if not isinstance(event, Frame):  # the answer to the handshake
            super().process_event(event)
            self._held: deque[Frame] = deque()
            self._parts: list[bytes] = []  # of a message that comes in several frames
            if self.protocol.state is State.OPEN:
                self.read(go_on=False)
        elif self._reads:
            self._take(event)
        else:
            self._held.append(event)  # it came together with what ended the reading

    def resume_writing(self) -> None:
        """Part of asyncio.Protocol."""
        super().resume_writing()
        if self._listener is not None:
            self._listener.has_room()

    def connection_lost(self, exc: Exception | None) -> None:
        """Part of asyncio.Protocol."""
        super().connection_lost(exc)
        if self._listener is not None:
            self._listener.lost()

    def _is_open(self) -> bool:
        return self.protocol.state is State.OPEN and not self.transport.is_closing()

    def _is_between_frames(self) -> bool:
        """Whether the library waits for a frame's first byte.

        That its buffer is empty does not say so: it may have taken a frame's head out of it.
        """
        waits_in = getattr(self.protocol.parser, "gi_yieldfrom", None)
        return waits_in is not None and waits_in.__name__ == "at_eof"

    def _hand_over(self, data: bytes) -> bytes:
        """Hand over the whole messages at the beginning; the rest is given back."""
        assert self._listener is not None
        at, size = 0, len(data)
        while self._reads and size - at >= 4 and data[at] == _BINARY:
            if self.protocol.state is not State.OPEN:
                break
            begin, length = at + 2, data[at + 1]
            if length == _TWO_BYTES:
                begin, length = at + 4, data[at + 2] << 8 | data[at + 3]
            elif length > _TWO_BYTES:
                break  # longer than a relay's are, or masked
            end = begin + length
            if size < end:
                break
            self._listener.received(data[begin:end])
            at = end
        return data[at:]

    def _take(self, frame: Frame) -> None:
        assert self._listener is not None
        if frame.opcode is Opcode.PONG:
            self._listener.ponged()
        elif frame.opcode in DATA_OPCODES:
            if frame.fin and not self._parts:
                self._listener.received(bytes(frame.data))
                return
            self._parts.append(bytes(frame.data))  # the library bounds their size together
            if frame.fin:
                whole = b"".join(self._parts)
                self._parts.clear()
                self._listener.received(whole)
            elif len(self._parts) > _MAX_FRAGMENTS:
                self.protocol.fail(WebSocketCode.MESSAGE_TOO_BIG, "too many fragments")
                self.send_data()


class _connect(connect):  # noqa: N801 - named like the function-like class that it changes
    """Follows no redirect: the token goes to the configured relay and nowhere else."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


def _framed(message: bytes) -> bytes:
    """A message as one frame, masked as what a client sends must be."""
    mask, size = next(_masks), len(message)
    if size < _TWO_BYTES:
        head = struct.pack("!BB", _BINARY, _MASKED | size)
    elif size < 65_536:
        head = struct.pack("!BBH", _BINARY, _MASKED | _TWO_BYTES, size)
    else:
        head = struct.pack("!BBQ", _BINARY, _MASKED | _TWO_BYTES + 1, size)
    return head + mask + apply_mask(message, mask)


def _drawn_masks() -> Iterator[bytes]:
    """Masks that nobody can foresee (RFC 6455 §10.3), drawn many at once."""
    while True:
        drawn = os.urandom(_DRAWN_BYTES)
        for start in range(0, _DRAWN_BYTES, 4):
            yield drawn[start : start + 4]


_masks = _drawn_masks()


async def dial(relay: Relay) -> Socket:
    """Open a WebSocket to a relay; it may still speak another subprotocol, or none.

    Raises:
        OSError, WebSocketException: It does not open.
    """
    # A proxy may be spoken to by TLS where the relay is not.
    to_proxy: dict[str, Any] = {}
    if relay.proxy is not None and relay.proxy.startswith("https:"):
        to_proxy["proxy_ssl"] = relay.tls or make_context()
    try:
        return await _dialled(relay, to_proxy)
    except OSError as exc:
        # What comes from behind the proxy is of TLS, or comes too late.
        if relay.proxy is None or isinstance(exc, ssl.SSLError | TimeoutError):
            raise
        raise ProxyError(relay.proxy.rpartition("@")[2].rpartition("/")[2]) from exc


async def _dialled(relay: Relay, to_proxy: dict[str, Any]) -> Socket:
    socket = await _connect(
        relay.socket_url,
        create_connection=Socket,
        subprotocols=[Subprotocol(SUBPROTOCOL)],
        additional_headers=relay.authorization,
        user_agent_header=USER_AGENT,
        proxy=relay.proxy,
        ssl=relay.tls,
        **to_proxy,
        compression=None,  # bodies are small, and it would halve what goes through
        open_timeout=OPEN_TIMEOUT_S,
        close_timeout=CLOSE_TIMEOUT_S,
        ping_interval=None,  # the session decides when to ping
        max_size=MAX_FRAME_BYTES,
    )
    assert isinstance(socket, Socket)
    return socket


def of_failed_handshake(exc: BaseException) -> Reason | ClientError:
    """Explain why it could not be opened; an error is final."""
    match exc:
        case InvalidStatus(response=response):
            return of_status(response.status_code, bytes(response.body or b""))
        case ssl.SSLCertVerificationError():
            text, hint = reasons.certificate(exc)
            return Reason(_("the relay cannot be reached: {text}").format(text=text), hint)
        case ssl.SSLError():
            text, hint = reasons.no_tls(exc)
            return Reason(_("the relay cannot be reached: {text}").format(text=text), hint)
        case NegotiationError():
            return Reason(_("what answers there speaks no relay.v1"), _("Check the URL."))
        case ProxyError():
            match exc:
                case InvalidProxyStatus(response=response):
                    text, hint = reasons.proxy_refused(response.status_code)
                case _:
                    text, hint = reasons.no_proxy(str(exc))
            return Reason(_("the relay cannot be reached: {text}").format(text=text), hint)
        case gaierror():
            text = _("the relay cannot be reached: {text}")
            text = text.format(text=_("its name is not known"))
            return Reason(text, _("Check the URL and the network."))
        case InvalidHandshake():
            return Reason(
                _("what answers there is no relay: {exc}").format(exc=exc), _("Check the URL.")
            )
        case TimeoutError():
            return Reason(_("the relay did not answer in time"), HELD_BACK_HINT)
        case _:
            return Reason(_("the relay cannot be reached: {why}").format(why=_system_text(exc)))


def of_close(exc: ConnectionClosed, refused: Error | None) -> Reason | ClientError:
    """Explain why it was closed; an error is final."""
    code = exc.rcvd.code if exc.rcvd is not None else None
    said = harmless(refused.text) if refused is not None else ""
    match code:
        case CloseCode.TOKEN_REFUSED:
            return TokenRefused(said or _("the relay no longer accepts the token"), TOKEN_HINT)
        case CloseCode.CHANNEL_REFUSED if refused is not None and refused.code == INVALID_FILTER:
            return UsageError(f"--filter: {said}")
        case CloseCode.CHANNEL_REFUSED if refused is not None and refused.code == INVALID_NAME:
            return UsageError(f"--as: {said}")
        case CloseCode.CHANNEL_REFUSED:
            return ChannelRefused(
                said or _("the token may not read one of the channels"),
                _(
                    "relay-client channels lists those it may; --as NAME names another "
                    "subscription."
                ),
            )
        case CloseCode.TAKEN_OVER:
            return TakenOver(
                said or _("another client connected under the same name and took over"),
                _(
                    "To run both, give one of them a name of its own: --as NAME. To share the work "
                    "of one name, give --share to each."
                ),
            )
        case CloseCode.RESTART:
            return Reason(said or _("the relay is restarting"))
        case CloseCode.PROTOCOL_ERROR:
            return Reason(
                _("the relay did not understand this client: {said}").format(said=said),
                VERSIONS_HINT,
            )
        case None:
            return Reason(_("the connection broke"), cut=True)
        case _:
            return Reason(said or _("the relay closed the connection ({code})").format(code=code))


def of_status(status: int, body: bytes) -> Reason | ClientError:
    """Explain an answer to the handshake; an error is final."""
    match status:
        case 401:
            return TokenRefused(_("the relay does not accept the token (401)"), TOKEN_HINT)
        case 403:
            return TokenRefused(_("the relay refuses this client (403)"), TOKEN_HINT)
        case 404:
            return Reason(_("what answers there has no /connect (404)"), _("Check the URL."))
        case 429 if TOO_MANY_FAILURES.encode() in body:  # a good token is let in all the same
            return TokenRefused(
                _("the relay does not accept the token, like many before (429)"), TOKEN_HINT
            )
        case 301 | 302 | 303 | 307 | 308:
            return Reason(
                _("what answers there points elsewhere ({status})").format(status=status),
                _("Redirects are not followed: log in with the final URL, often https://."),
            )
        case 200 | 400 | 426 | 501:
            return Reason(
                _("a proxy in between passes no WebSockets on ({status})").format(status=status),
                UPGRADE_HINT,
            )
        case 502 | 504:
            text = _(
                "a proxy answers that the relay is not there for WebSockets ({status})"
            ).format(status=status)
            return Reason(text, UPGRADE_HINT)
        case _:
            return Reason(_("the relay is not ready ({status})").format(status=status))


def _system_text(exc: BaseException) -> str:
    if isinstance(exc, OSError) and exc.strerror:
        return exc.strerror
    return str(exc) or type(exc).__name__
