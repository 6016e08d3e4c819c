"""Who is logged in to the dashboard, and links that log somebody in."""

from __future__ import annotations

import msgspec

from relay_server.errors import SessionNotFound
from relay_server.links import LINK_MS
from relay_server.operations import Caller
from relay_server.operations.audit import audited
from relay_server.people import Session

ID_CHARS = 16  # of a session's digest, by which it is called


class LoginLink(msgspec.Struct, frozen=True):
    """A link that logs in to the dashboard, once.

    Attributes:
        url: Its secret stands in the fragment, which no browser sends and no proxy logs.
    """

    url: str
    expires_at: int


class SessionView(msgspec.Struct, frozen=True):
    """Somebody who is logged in to the dashboard, in one browser.

    Attributes:
        token: Whose rights it has; null for somebody on the host.
        address: Where it was used last.
        agent: What the browser calls itself.
    """

    id: str
    token: str | None
    made_at: int
    used_at: int
    address: str
    agent: str


class Sessions(msgspec.Struct, frozen=True):
    """Sessions, that used last first."""

    sessions: list[SessionView]


@audited("session.link")
async def create_login_link(who: Caller) -> LoginLink:
    """Make a link that logs its reader in to the dashboard as whoever asks."""
    now = who.now()
    secret = who.parts.links.make(who.token.name if who.token else None, now)
    return LoginLink(f"{who.parts.settings.dashboard}/login#k={secret}", now + LINK_MS)


async def list_sessions(who: Caller) -> Sessions:
    """The caller's sessions; for administrators everybody's."""
    return Sessions([_view(session) for session in await _seen(who)])


@audited("session.end")
async def end_session(who: Caller, id_: str) -> None:
    """Log a browser out."""
    for session in await _seen(who):
        if session_id(session.digest) == id_ and await who.store.end_session(session.digest):
            return
    raise SessionNotFound(id_)


def session_id(digest: bytes) -> str:
    """What a session is called: nobody logs in with it."""
    return digest.hex()[:ID_CHARS]


async def _seen(who: Caller) -> list[Session]:
    found = await who.store.sessions(who.now())
    return [session for session in found if who.admin or session.token == who.name]


def _view(session: Session) -> SessionView:
    fields = msgspec.structs.asdict(session)
    return SessionView(id=session_id(fields.pop("digest")), **fields)
