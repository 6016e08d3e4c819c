"""The conversation of both sessions, opened and ready, and messages for it."""

from __future__ import annotations

from relay_protocol import client_session, server_session
from relay_protocol.client_session import ClientSession
from relay_protocol.messages import Deliver, Granted, Hello, Wanted, Welcome
from relay_protocol.server_session import ServerSession
from relay_protocol.values import Delivery


def hello(*channels: str, window: int = 32) -> Hello:
    """A client's greeting that asks for some channels."""
    wanted = tuple(Wanted(c) for c in channels or ("chatwoot",))
    return Hello("1.0", "laptop", wanted, window, batches=True)


def welcome(*channels: str) -> Welcome:
    """An answer that grants channels, numbered from 1."""
    names = enumerate(channels or ("chatwoot",), 1)
    granted = tuple(Granted(n, c, "ana", False, 0) for n, c in names)
    return Welcome("1.0", 1, granted, batches=True)


def deliver(delivery: Delivery, *, whole: bool = True, size: int | None = None) -> Deliver:
    """A delivery's message, with its body or to be followed by chunks."""
    return Deliver(
        delivery.id,
        delivery.subscription,
        delivery.attempt,
        delivery.replay,
        delivery.event,
        len(delivery.body) if size is None else size,
        delivery.body if whole else None,
    )


def open_server(*channels: str, window: int = 32, window_bytes: int = 4_194_304) -> ServerSession:
    """A server's session that has welcomed its client, at time 0."""
    session = ServerSession(0.0, window_bytes=window_bytes)
    session.receive(hello(*channels, window=window), 0.0)
    session.welcome(welcome(*channels))
    assert session.state is server_session.State.OPEN
    return session


def open_client(*channels: str, window: int = 32, concurrency: int = 8) -> ClientSession:
    """A client's session that was welcomed, at time 0."""
    session = ClientSession(hello(*channels, window=window), concurrency)
    reopen(session, *channels)
    return session


def reopen(session: ClientSession, *channels: str, now: float = 0.0) -> None:
    """Connect a client's session (again)."""
    session.disconnected()
    session.connected(now)
    session.receive(welcome(*channels), now)
    assert session.state is client_session.State.OPEN
