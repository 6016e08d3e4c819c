"""Invitations: a line to send to somebody, of which their client makes a token of its own, once.

The secret of an invitation is in the URL that is sent, `/i/CODE`; its digest is all that is kept.
To look at that URL does nothing. A client accepts it by a request of its own, with a nonce, and the
token is derived from both: a client that lost the answer asks again, with the same nonce, and gets
the same token. Nobody else does, and the server keeps neither code, nonce nor token.
"""

from __future__ import annotations

import base64
import hmac
import re
import secrets

import msgspec

from relay_protocol.tokens import TOKEN_PREFIX
from relay_server.auth import digest
from relay_server.channels import check_name
from relay_server.errors import ChannelNotFound, InvalidValue
from relay_server.operations import Caller, ForAdmins
from relay_server.operations.audit import audited
from relay_server.operations.channels import MadeToken, token_view
from relay_server.people import Invitation

LIFETIME_MS = 86_400_000  # of an invitation: 24 hours
CODE = re.compile(r"[0-9a-f]{32}")  # 128 bits of randomness
PATH = "/i"  # where an invitation's URL leads to, on the public port
MAX_NONCE_CHARS = 128  # of what a client brings to accept an invitation


class NewInvitation(msgspec.Struct, forbid_unknown_fields=True):
    """An invitation to be made: the token's name, and where it is good."""

    name: str
    channels: list[str]


class InvitationView(msgspec.Struct, frozen=True):
    """An invitation, without its secret.

    Attributes:
        name: Of the token that is made of it, with the scope subscribe.
        channels: Where that is good.
        state: `open`, `used` or `expired`.
        made_by: Name of a token; empty for somebody on the host.
        used_at: Null while it is not.
    """

    name: str
    channels: list[str]
    state: str
    made_by: str
    created_at: int
    expires_at: int
    used_at: int | None


class MadeInvitation(InvitationView, frozen=True):
    """An invitation that was just made; `url` has its secret, which nothing keeps."""

    url: str


class Invitations(msgspec.Struct):
    """Invitations, newest first; those that ended are listed for 7 days."""

    invitations: list[InvitationView]


class Acceptance(msgspec.Struct, forbid_unknown_fields=True):
    """What makes a token of an invitation.

    Attributes:
        code: The secret of the invitation: the end of its URL.
        nonce: Made at random by the client. Who asks again with the same one, within ten minutes,
            gets the same token.
    """

    code: str
    nonce: str = ""


@ForAdmins
@audited("invitation.create")
async def create_invitation(who: Caller, new: NewInvitation) -> MadeInvitation:
    """Invite somebody; the URL to send is in this answer and nowhere else."""
    if not new.channels:
        raise InvalidValue("an invitation needs at least one channel")
    for channel in new.channels:
        if channel not in who.store.catalog.channels:
            raise ChannelNotFound(channel)
    code, now = secrets.token_hex(16), who.now()
    name, channels = check_name(new.name), frozenset(new.channels)
    made = Invitation(name, digest(code.encode()), channels, who.name, now, now + LIFETIME_MS)
    await who.store.invite(made)
    url = f"{who.parts.settings.url}{PATH}/{code}"
    return MadeInvitation(**msgspec.structs.asdict(_view(made, now)), url=url)


@ForAdmins
async def list_invitations(who: Caller) -> Invitations:
    """The invitations that are open, and those that ended within 7 days."""
    return Invitations([_view(one, who.now()) for one in await who.store.invitations()])


@ForAdmins
@audited("invitation.revoke")
async def revoke_invitation(who: Caller, name: str) -> None:
    """Withdraw an open invitation."""
    await who.store.withdraw(name, who.now())


@audited("invitation.accept")
async def accept_invitation(who: Caller, asked: Acceptance) -> MadeToken:
    """Make a token of an invitation, once; it takes no token."""
    if len(asked.nonce) > MAX_NONCE_CHARS or not asked.nonce.isascii():
        raise InvalidValue(f"a nonce is up to {MAX_NONCE_CHARS} characters of ASCII")
    code = asked.code.encode("utf-8", "surrogatepass")
    # Without a nonce nobody can ask for the same token again.
    secret = _token_of(code, asked.nonce.encode() or secrets.token_bytes(32))
    token = await who.store.accept(digest(code), digest(secret.encode()), who.now())
    return MadeToken(**msgspec.structs.asdict(token_view(token)), token=secret)


def _token_of(code: bytes, nonce: bytes) -> str:
    """A token's secret, as only who has both can make it."""
    made = hmac.digest(code, nonce, "sha256")
    return TOKEN_PREFIX + base64.urlsafe_b64encode(made).rstrip(b"=").decode()


def _view(one: Invitation, now: int) -> InvitationView:
    state = "used" if one.used_at else "open" if one.is_open(now) else "expired"
    times = one.created_at, one.expires_at, one.used_at or None
    return InvitationView(one.name, sorted(one.channels), state, one.made_by, *times)
