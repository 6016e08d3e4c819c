"""The secrets that a channel's sender signs with: one more, and later one less, to rotate them.

One is called by the beginning of a digest of what is kept of it, which says nothing of it. Which of
them signed an event is not stored: it is found by asking its signature once more.
"""

from __future__ import annotations

import asyncio
import base64
import secrets
from collections.abc import Callable

import msgspec

from relay_server.configs import ChannelConfig, HmacAuth
from relay_server.errors import InvalidValue, SecretNotFound, Unauthorized
from relay_server.operations import Caller, ForAdmins
from relay_server.operations.audit import audited
from relay_server.operations.events import look_up
from relay_server.sealing import OpenSealed
from relay_server.settables import check
from relay_server.signing import request_of, scheme_named, verify
from relay_server.uses import secret_id
from relay_server.validity import MAX_SECRETS
from relay_server.values import Channel, Event

SECRET_BYTES = 32  # of randomness in a secret that is made here


class SecretView(msgspec.Struct, frozen=True):
    """A secret of a channel, which is not shown.

    Attributes:
        verified_at: When it signed something last that came, as far as is known; null for not.
    """

    id: str
    verified_at: int | None


def secrets_of(who: Caller, name: str) -> list[SecretView]:
    """Those of a channel, the first to sign with before the others; none where none sign."""
    channel, uses = who.channel(name), who.parts.uses
    return [
        SecretView(secret_id(sealed), uses.last_verified(channel.number, sealed))
        for sealed in _sealed(channel)
    ]


class SignedBy(msgspec.Struct, frozen=True):
    """Which of a channel's secrets an event is signed with.

    Attributes:
        place: Among those that there are now, from 1; 0 where it is none of them.
        among: How many there are.
        id: Of the secret; empty where it is none, and for who may not set them.
    """

    place: int
    among: int
    id: str = ""


async def signed_by(who: Caller, id_: str) -> SignedBy | None:
    """Which secret signed an event; None where its channel asks for none, or nobody can tell."""
    channel, event = await look_up(who, id_)
    sealed = _sealed(channel)
    if not sealed or not event.kept or event.damaged:
        return None
    # In a thread: a body of 25 MiB takes tens of milliseconds.
    place = await asyncio.to_thread(_place, channel, event, who.parts.sealer.open)
    if place is None or (event.edited and not place):  # which its editor need not have signed
        return None
    return SignedBy(place, len(sealed), secret_id(sealed[place - 1]) if place and who.admin else "")


class SigningSecrets(msgspec.Struct, frozen=True):
    """The secrets that a channel takes, the first to sign with before the others."""

    secrets: list[SecretView]


@ForAdmins
async def list_secrets(who: Caller, name: str) -> SigningSecrets:
    """Those of a channel, none of them itself; none where nobody signs."""
    await who.parts.uses.learn()
    return SigningSecrets(secrets_of(who, name))


class NewSecret(msgspec.Struct, forbid_unknown_fields=True):
    """A secret to be taken; one is made where none is given."""

    secret: str = ""


class MadeSecret(msgspec.Struct, frozen=True):
    """A secret that a channel takes from now on; it is in this answer and nowhere else.

    Attributes:
        id: By which it is called from now on.
    """

    channel: str
    id: str
    secret: str


@ForAdmins
@audited("channel.secret_add")
async def add_secret(who: Caller, name: str, new: NewSecret) -> MadeSecret:
    """Have a channel take one more; it signs with the ones before as long as they are there."""
    channel = who.channel(name)
    if channel.config.hmac is None:
        raise InvalidValue(f"nobody signs what comes to {name!r}: set a first secret on the host")
    scheme = channel.config.hmac.scheme
    added = new.secret.strip() or _made(scheme)
    scheme_named(scheme).key(added.encode())
    if any(who.parts.sealer.open(one) == added.encode() for one in _sealed(channel)):
        raise InvalidValue(f"{name!r} takes this secret already: a second one would be the same")
    sealed = who.parts.sealer.seal(added.encode())
    check(HmacAuth, {"secrets": [added, *["kept"] * len(_sealed(channel))]})
    await who.store.change_channel(channel.name, _taking(lambda kept: (*kept, sealed)))
    return MadeSecret(channel.name, secret_id(sealed), added)


@ForAdmins
@audited("channel.secret_remove")
async def remove_secret(who: Caller, name: str, id_: str) -> None:
    """Have a channel take one of its secrets no more; the only one stays."""
    channel = who.channel(name)
    if id_ not in map(secret_id, _sealed(channel)):
        raise SecretNotFound(id_)
    if len(_sealed(channel)) < 2:
        raise InvalidValue("it is the only secret: without it whoever posts would be let in")
    await who.store.change_channel(channel.name, _taking(lambda kept: _without(kept, id_)))


def _place(channel: Channel, event: Event, open_sealed: OpenSealed) -> int | None:
    """Where the secret stands, from 1; 0 for none of them, None where that cannot be told."""
    if (hmac := channel.config.hmac) is None:
        return None
    head = event.head
    target = head.request.request_target
    try:
        scheme = scheme_named(hmac.scheme)
        opened = [open_sealed(one) for one in hmac.secrets]
    except InvalidValue:
        return None
    # Its sender may have asked below the channel's path, which its target does not see.
    for asked in (target, f"/c/{channel.name}{target}") if scheme.covers_url else (target,):
        sent = msgspec.structs.replace(head.request, request_target=asked)
        try:
            request = request_of(sent, event.body)
            return 1 + verify(scheme, opened, request, head.received_at / 1_000)
        except Unauthorized:
            continue
        except InvalidValue:
            return None
    # A token that was in the URL is not kept: one that covers it may be right all the same.
    return None if scheme.covers_url else 0


def secret_called(channel: Channel, id_: str) -> bytes:
    """A secret of a channel, sealed: by its id, or without one the first."""
    for sealed in _sealed(channel):
        if id_ in ("", secret_id(sealed)):
            return sealed
    raise SecretNotFound(id_)


def _taking(
    change: Callable[[tuple[bytes, ...]], tuple[bytes, ...]],
) -> Callable[[ChannelConfig], ChannelConfig]:
    """Change which secrets there are, whatever else is changed meanwhile."""

    def apply(config: ChannelConfig) -> ChannelConfig:
        if (hmac := config.hmac) is None:
            return config
        left = change(hmac.secrets)[:MAX_SECRETS]
        return msgspec.structs.replace(config, hmac=msgspec.structs.replace(hmac, secrets=left))

    return apply


def _without(kept: tuple[bytes, ...], id_: str) -> tuple[bytes, ...]:
    """All but one; also where two are taken away at once, one stays."""
    return tuple(one for one in kept if secret_id(one) != id_) or kept


def _sealed(channel: Channel) -> tuple[bytes, ...]:
    return channel.config.hmac.secrets if channel.config.hmac else ()


def _made(scheme: str) -> str:
    if scheme == "standard-webhooks":
        return "whsec_" + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()
    return secrets.token_urlsafe(SECRET_BYTES)
