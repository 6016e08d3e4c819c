"""Invitations."""

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
from relay_server.store.rules import ACCEPT_AGAIN_MS, INVITATION_KEPT_MS, MAX_INVITATIONS
from relay_server.store.sql.catalogue import keep_token
from relay_server.store.sql.database import Database
from relay_server.store.sql.part import Part, reports, writes
from relay_server.store.sql.rows import decode_invitation, decode_token
from relay_server.values import Invitation, Scope, Token


class SqlInvitations(Part):
    """`Invitations`."""

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
