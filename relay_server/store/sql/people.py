"""Whoever is let in: the audit log, invitations, sessions, and when secrets were used last."""

from __future__ import annotations

import json
from collections.abc import Sequence

import msgspec

from relay_protocol.times import rfc3339
from relay_server.errors import (
    InvitationExpired,
    InvitationNotFound,
    InvitationUnknown,
    InvitationUsed,
    TokenExists,
    TooManyInvitations,
)
from relay_server.people import Invitation, LastUses, Noted, Session
from relay_server.store.feed import SessionEnded
from relay_server.store.rules import (
    ACCEPT_AGAIN_MS,
    AUDIT_MS,
    INVITATION_KEPT_MS,
    MAX_AUDITED,
    MAX_INVITATIONS,
    MAX_SESSIONS,
    MAX_USED_SECRETS,
    SESSION_MS,
    UNUSED_SESSION_MS,
)
from relay_server.store.sql.catalogue import keep_token
from relay_server.store.sql.database import Database
from relay_server.store.sql.part import Part, asks, reports, writes
from relay_server.store.sql.rows import decode_invitation, decode_noted, decode_token
from relay_server.values import MAX_SEQUENCE, Scope, Token


class SqlPeople(Part):
    """`AuditLog`, `Invitations`, `Sessions` and `Uses`."""

    @writes
    def note(self, database: Database, noted: Noted) -> None:
        its = msgspec.structs.asdict(noted) | {"asked": msgspec.json.encode(noted.asked).decode()}
        del its["number"]
        number = database.value("note", **its)
        database.run("forget_noted", up_to=number - MAX_AUDITED, before=noted.at - AUDIT_MS)

    @reports
    def noted(
        self, database: Database, before: int | None, limit: int, now: int
    ) -> Sequence[Noted]:
        end = MAX_SEQUENCE if before is None else before
        rows = database.all("noted", before=end, since=now - AUDIT_MS, limit=limit)
        return list(map(decode_noted, rows))

    @writes
    def invite(self, database: Database, invitation: Invitation) -> None:
        now = invitation.created_at
        database.run("forget_invitations", before=now - INVITATION_KEPT_MS)
        still_open = {one.name for one in _invitations(database) if one.is_open(now)}
        if invitation.name in still_open or _tokens(database, invitation.name):
            raise TokenExists(invitation.name)
        if len(still_open) >= MAX_INVITATIONS:
            raise TooManyInvitations(len(still_open))
        its = msgspec.structs.asdict(invitation)
        del its["used_at"]
        database.run("invite", **its | {"channels": json.dumps(sorted(invitation.channels))})

    @reports
    def invitations(self, database: Database) -> Sequence[Invitation]:
        return _invitations(database)

    @writes
    def withdraw(self, database: Database, name: str, now: int) -> None:
        if not database.all("withdraw", name=name, now=now):
            raise InvitationNotFound(name)

    @writes
    def accept(self, database: Database, secret: bytes, token: bytes, now: int) -> Token:
        found = _invitations(database, secret)
        if not found:
            raise InvitationUnknown
        [invitation] = found
        if invitation.used_at:
            return _made_before(database, invitation, token, now)
        if not invitation.is_open(now):
            raise InvitationExpired(rfc3339(invitation.expires_at))
        made = Token(invitation.name, token, frozenset({Scope.SUBSCRIBE}), invitation.channels, now)
        keep_token(database, made)
        database.run("use_invitation", digest=secret, now=now)
        return made

    @writes
    def begin_session(self, database: Database, session: Session) -> None:
        database.run("end_late_sessions", **_young(session.used_at))
        database.run("begin_session", **msgspec.structs.asdict(session))
        database.run("end_surplus_sessions", token=session.token, most=MAX_SESSIONS)

    @asks
    def session(self, database: Database, digest: bytes, now: int) -> Session | None:
        found = database.all("session", digest=digest, **_young(now))
        return Session(*found[0]) if found else None

    @writes
    def use_session(self, database: Database, digest: bytes, address: str, now: int) -> None:
        database.run("use_session", digest=digest, address=address, now=now)

    @writes
    def end_session(self, database: Database, digest: bytes) -> bool:
        database.changes.append(SessionEnded(digest))
        return bool(database.all("end_session", digest=digest))

    @asks
    def sessions(self, database: Database, now: int) -> Sequence[Session]:
        return [Session(*row) for row in database.all("sessions", **_young(now))]

    @writes
    def note_uses(self, database: Database, uses: LastUses) -> None:
        names = {name for name, *_ in database.all("load_tokens")}
        channels = {number for number, *_ in database.all("channels", name=None)}
        tokens = [(name, at) for name, at in uses.tokens.items() if name in names]
        secrets = [(*of, at) for of, at in uses.secrets.items() if of[0] in channels]
        # Each in one order, as rows are locked in it.
        if tokens:
            database.run_rows("note_token_uses", sorted(tokens))
        if secrets:
            database.run_rows("note_secret_uses", sorted(secrets))
        for channel in sorted({channel for channel, *_ in secrets}):
            database.run("forget_secret_uses", channel=channel, most=MAX_USED_SECRETS)

    @reports
    def last_uses(self, database: Database) -> LastUses:
        secrets = {(of, id_): at for of, id_, at in database.all("secret_uses")}
        return LastUses(dict(database.all("token_uses")), secrets)


def _made_before(database: Database, invitation: Invitation, token: bytes, now: int) -> Token:
    """The token of an invitation that was used, for the client that used it just now."""
    for known in _tokens(database, invitation.name):
        if known.digest == token and now - invitation.used_at < ACCEPT_AGAIN_MS:
            return known
    raise InvitationUsed(rfc3339(invitation.used_at))


def _invitations(database: Database, digest: bytes | None = None) -> list[Invitation]:
    return list(map(decode_invitation, database.all("invitations", digest=digest)))


def _tokens(database: Database, name: str) -> list[Token]:
    return list(map(decode_token, database.all("token_of", name=name)))


def _young(now: int) -> dict[str, int]:
    """Since when a session must have been used, and made."""
    return {"unused": now - UNUSED_SESSION_MS, "old": now - SESSION_MS}
