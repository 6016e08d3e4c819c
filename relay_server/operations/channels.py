"""Channels and tokens; and canaries, which are channels for a moment."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from relay_server import canary
from relay_server.auth import digest, new_secret
from relay_server.channels import CANARY_PREFIX, check_name
from relay_server.chatwoot.seen import ChatwootView
from relay_server.configs import (
    ChannelConfig,
    ChannelRules,
    ChatwootLink,
    HmacAuth,
    Policy,
    SenderKind,
)
from relay_server.errors import (
    ChannelNotFound,
    Forbidden,
    InvalidValue,
    TokenNotFound,
    Unauthorized,
)
from relay_server.operations import Caller, ForAdmins, Parts
from relay_server.operations.audit import audited
from relay_server.sealing import fingerprint
from relay_server.settables import Changes, changes_of, check
from relay_server.signing import SCHEMES, scheme_named
from relay_server.validity import HMAC_SCHEMES
from relay_server.values import Channel, Scope, Token

CANARY_LIFETIME_MS = 600_000  # of a canary channel that its owner forgot

PolicyFields = changes_of("PolicyFields", Policy)
ChannelFields = changes_of("ChannelFields", ChannelConfig, name=str, policy=PolicyFields)


class ChannelView(ChannelRules, frozen=True, kw_only=True):
    """A channel and its rules, without its secrets.

    Attributes:
        webhook_path: Where its sender posts to, on the public port.
        sender_auth: What its sender must show: `token`, `hmac:SCHEME`, `ip`.
        max_body_bytes: Its own limit, or else the server's.
    """

    name: str
    webhook_path: str
    sender_auth: list[str]
    max_body_bytes: int
    created_at: int


class Channels(msgspec.Struct):
    """Channels, by name."""

    channels: list[ChannelView]


class Canary(msgspec.Struct):
    """A private channel for a moment, and the secret of the token that posts to it."""

    channel: str
    send_token: str
    webhook_path: str


async def list_channels(who: Caller) -> Channels:
    """The channels that the caller may read."""
    return Channels([channel_view(who.parts, channel) for channel in who.channels()])


async def show_channel(who: Caller, name: str) -> ChannelView:
    """One channel."""
    return channel_view(who.parts, who.channel(name))


@ForAdmins
async def show_chatwoot(who: Caller, name: str) -> ChatwootView:
    """The Chatwoot of a channel."""
    channel, opened = who.channel(name), who.parts.sealer.open
    config = channel.config
    link, secrets = config.chatwoot or ChatwootLink(""), config.hmac.secrets if config.hmac else ()
    return ChatwootView(
        webhook_path(who.parts, channel),
        config.token,
        [fingerprint(opened(secret)) for secret in secrets],
        config.hmac is not None and config.hmac.log_only,
        link.url,
        link.account,
        link.inbox,
        link.bot,
        fingerprint(opened(link.token)) if link.token else "",
    )


@ForAdmins
@audited("channel.create")
async def create_channel(who: Caller, fields: Changes) -> ChannelView:
    """Make a channel."""
    rules = fields.given()
    if "name" not in rules:
        raise InvalidValue("a channel needs a name")
    name = rules.pop("name")
    config = _change(who.parts, rules)(ChannelConfig())
    _check_secrets(who.parts, config)
    made = await who.store.create_channel(check_name(name), config, who.now())
    return channel_view(who.parts, made)


@ForAdmins
@audited("channel.change")
async def change_channel(who: Caller, name: str, fields: Changes) -> ChannelView:
    """Change a channel's rules; what is not named stays."""
    channel, rules = who.channel(name), fields.given()
    if rules.pop("name", name) != name:
        raise InvalidValue("a channel keeps its name: its URL would change")
    change = _change(who.parts, rules)
    if "sender" in rules or any(name.startswith("hmac_") for name in rules):
        _check_secrets(who.parts, change(channel.config))
    changed = await who.store.change_channel(channel.name, change)
    return channel_view(who.parts, changed)


@ForAdmins
@audited("channel.delete")
async def delete_channel(who: Caller, name: str) -> None:
    """Delete a channel with all that is in it, and a canary's token."""
    await _delete(who.parts, who.channel(name))


async def create_canary(who: Caller) -> Canary:
    """Make a private channel, so that its owner can try the whole way and disturb nobody.

    Its answer has the secret of the token that posts to it.
    """
    owner, name = who.token, CANARY_PREFIX + secrets.token_hex(8)
    if owner is None or not owner.scopes & {Scope.SUBSCRIBE, Scope.ADMIN}:
        raise Unauthorized(f"the token has not the scope {Scope.SUBSCRIBE}")
    async with who.parts.making_canary:
        for channel in list(who.store.catalog.channels.values()):
            if channel.config.owner == owner.name:  # one at a time
                await _delete(who.parts, channel)
        await who.store.create_channel(name, ChannelConfig(owner=owner.name), who.now())
    _, secret = await keep_token(who, name, [Scope.SEND], [name])
    return Canary(name, secret, f"/c/{name}/webhook")


async def delete_canary(who: Caller, name: str) -> None:
    """Delete a canary, and no other channel."""
    channel = who.channel(name)
    if not channel.config.owner:
        raise Forbidden("this is no canary channel")
    await _delete(who.parts, channel)


async def delete_forgotten_canaries(parts: Parts) -> None:
    """Delete the canaries that nobody deleted."""
    born_before = parts.clock.unix_ms() - CANARY_LIFETIME_MS
    for channel in list(parts.store.catalog.channels.values()):
        if (
            channel.config.owner
            and channel.created_at < born_before
            and not _is_in_use(parts, channel)
        ):
            await _delete(parts, channel)


def _is_in_use(parts: Parts, channel: Channel) -> bool:
    """True for the server's own, while it sends canaries."""
    return channel.name == canary.NAME and parts.canary is not None


def channel_view(parts: Parts, channel: Channel) -> ChannelView:
    config = channel.config
    rules = {name: getattr(config, name) for name in ChannelRules.__struct_fields__}
    rules["max_body_bytes"] = config.max_body_bytes or parts.settings.max_body_bytes
    return ChannelView(
        name=channel.name,
        webhook_path=webhook_path(parts, channel),
        sender_auth=_sender_auth(config),
        created_at=channel.created_at,
        **rules,
    )


def webhook_path(parts: Parts, channel: Channel) -> str:
    """Where a channel's sender posts to, on the public port."""
    is_default = channel.name == parts.settings.default_channel
    return "/webhook" if is_default else f"/c/{channel.name}/webhook"


def _sender_auth(config: ChannelConfig) -> list[str]:
    auth = ["token"] if config.token else []
    if config.hmac is not None:
        auth.append(f"hmac:{config.hmac.scheme}{' (log only)' if config.hmac.log_only else ''}")
    return [*auth, "ip"] if config.allow_from else auth


async def _delete(parts: Parts, channel: Channel) -> None:
    if channel.name == parts.settings.default_channel:
        raise InvalidValue("the default channel stays: /webhook leads to it")
    # The token first: without its channel nobody would find it any more.
    if channel.config.owner:
        with contextlib.suppress(TokenNotFound):  # somebody else deletes it at the same time
            await parts.store.revoke_token(channel.name)
    await parts.store.delete_channel(channel.name)


def _change(parts: Parts, rules: Mapping[str, Any]) -> Callable[[ChannelConfig], ChannelConfig]:
    """A function that applies what is set to whatever a channel is set to by then."""
    policy, rest = rules.get("policy", {}), dict(rules)
    # Checked here, and not where it is applied: that is in the store's thread, perhaps twice.
    check(ChannelConfig, rules)
    check(Policy, policy)
    hmac, chatwoot = _taken("hmac_", rest), _taken("chatwoot_", rest)
    if "secrets" in hmac:
        given = [secret.strip().encode() for secret in hmac["secrets"]]
        hmac["secrets"] = tuple(map(parts.sealer.seal, given))
    if chatwoot.get("token"):
        chatwoot["token"] = parts.sealer.seal(chatwoot["token"].encode())

    def apply(config: ChannelConfig) -> ChannelConfig:
        rest["policy"] = msgspec.structs.replace(config.policy, **policy)
        rest["hmac"] = _signed(config, rules.get("sender", config.sender), hmac)
        rest["chatwoot"] = _linked(config.chatwoot, chatwoot)
        rest["expires"] = config.expires or bool(rest.get("ttl"))
        return msgspec.structs.replace(config, **rest)

    return apply


def _taken(prefix: str, rules: dict[str, Any]) -> dict[str, Any]:
    """Take the parts of a setting out of what is set."""
    names = [name for name in rules if name.startswith(prefix)]
    return {name.removeprefix(prefix): rules.pop(name) for name in names}


def _linked(current: ChatwootLink | None, changes: dict[str, Any]) -> ChatwootLink | None:
    """Without an address there is no Chatwoot, and nothing is kept of it."""
    if changes.get("token") == "":
        changes["token"] = b""
    link = msgspec.structs.replace(current or ChatwootLink(""), **changes)
    return link if link.url else None


def _signed(
    config: ChannelConfig, sender: SenderKind, changes: Mapping[str, Any]
) -> HmacAuth | None:
    """Without a secret no signature is asked for; one is as its sender makes it, unless named."""
    usual = sender.value if sender.value in SCHEMES else ""
    before = config.hmac.scheme if config.hmac else usual
    another = usual if sender is not config.sender else ""
    scheme = changes.get("scheme") or another or before or HMAC_SCHEMES[0]
    auth = config.hmac or HmacAuth(scheme, ())
    auth = msgspec.structs.replace(auth, **{**changes, "scheme": scheme})
    return auth if auth.secrets else None


def _check_secrets(parts: Parts, config: ChannelConfig) -> None:
    """Raise `InvalidValue` where a secret is none of the channel's scheme."""
    if config.hmac is not None:
        for sealed in config.hmac.secrets:
            scheme_named(config.hmac.scheme).key(parts.sealer.open(sealed))


class NewToken(msgspec.Struct, forbid_unknown_fields=True):
    """A token to be made; good for every channel where none is named."""

    name: str
    scopes: list[Scope]
    channels: list[str] | None = None


class TokenView(msgspec.Struct, frozen=True):
    """A token, without its secret; `channels` is null where it is good for every one."""

    name: str
    scopes: list[str]
    channels: list[str] | None
    created_at: int


class MadeToken(TokenView, frozen=True):
    """A token that was just made; `token` is its secret, which nothing keeps."""

    token: str


class Tokens(msgspec.Struct):
    """Tokens, by name."""

    tokens: list[TokenView]


@ForAdmins
async def list_tokens(who: Caller) -> Tokens:
    """The tokens that somebody made, by name; those of canaries are nobody's business."""
    found = sorted(who.store.catalog.tokens.values(), key=lambda token: token.name)
    return Tokens([token_view(one) for one in found if not one.name.startswith(CANARY_PREFIX)])


@ForAdmins
@audited("token.create")
async def create_token(who: Caller, new: NewToken) -> MadeToken:
    """Make a token; its secret is in this answer and nowhere else."""
    if not new.scopes:
        raise InvalidValue("a token needs at least one scope: send, subscribe or admin")
    if Scope.ADMIN in new.scopes and new.channels is not None:
        raise InvalidValue("the scope admin is good for every channel: name none with it")
    for channel in new.channels or ():
        if channel not in who.store.catalog.channels:
            raise ChannelNotFound(channel)
    token, secret = await keep_token(who, check_name(new.name), new.scopes, new.channels)
    return MadeToken(**msgspec.structs.asdict(token_view(token)), token=secret)


@ForAdmins
@audited("token.revoke")
async def revoke_token(who: Caller, name: str) -> None:
    """Revoke a token; its connections are closed."""
    await who.store.revoke_token(name)


async def keep_token(
    who: Caller, name: str, scopes: Iterable[Scope], channels: Iterable[str] | None
) -> tuple[Token, str]:
    """Keep a new token's digest, whatever its name; give it and its secret, which nothing keeps."""
    secret = new_secret()
    allowed = None if channels is None else frozenset(channels)
    token = Token(name, digest(secret.encode()), frozenset(scopes), allowed, who.now())
    await who.store.create_token(token)
    return token, secret


def token_view(token: Token) -> TokenView:
    channels = None if token.channels is None else sorted(token.channels)
    return TokenView(token.name, sorted(token.scopes), channels, token.created_at)
