"""Channels and tokens; and canaries, which are channels for a moment."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from relay_server.auth import digest, new_secret
from relay_server.channels import CANARY_PREFIX, check_name
from relay_server.configs import (
    HMAC_SCHEMES,
    Changes,
    ChannelConfig,
    ForwardConfig,
    HmacAuth,
    Policy,
    changes_of,
    check,
    settings_of,
)
from relay_server.errors import (
    ChannelNotFound,
    Forbidden,
    InvalidValue,
    TokenNotFound,
    Unauthorized,
)
from relay_server.operations import Caller, ForAdmins, JsonObject, Parts
from relay_server.values import Channel, Scope, Token

CANARY_LIFETIME_MS = 600_000  # of a canary channel that its owner forgot

ChannelFields = changes_of(ChannelConfig, name=str, policy=changes_of(Policy))


async def list_channels(who: Caller) -> JsonObject:
    """The channels that the caller may read."""
    return {"channels": [channel_view(who.parts, channel) for channel in who.channels()]}


async def show_channel(who: Caller, name: str) -> JsonObject:
    """One channel."""
    return channel_view(who.parts, who.channel(name))


@ForAdmins
async def create_channel(who: Caller, fields: Changes) -> JsonObject:
    """Make a channel."""
    rules = fields.given()
    if "name" not in rules:
        raise InvalidValue("a channel needs a name")
    name = rules.pop("name")
    config = _change(who.parts, rules)(ChannelConfig())
    made = await who.store.create_channel(check_name(name), config, who.now())
    return channel_view(who.parts, made)


@ForAdmins
async def change_channel(who: Caller, name: str, fields: Changes) -> JsonObject:
    """Change a channel's rules; what is not named stays."""
    channel, rules = who.channel(name), fields.given()
    if rules.pop("name", name) != name:
        raise InvalidValue("a channel keeps its name: its URL would change")
    changed = await who.store.change_channel(channel.name, _change(who.parts, rules))
    return channel_view(who.parts, changed)


@ForAdmins
async def delete_channel(who: Caller, name: str) -> None:
    """Delete a channel with all that is in it, and a canary's token."""
    await _delete(who.parts, who.channel(name))


async def create_canary(who: Caller) -> JsonObject:
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
    return {"channel": name, "send_token": secret, "webhook_path": f"/c/{name}/webhook"}


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
        if channel.config.owner and channel.created_at < born_before:
            await _delete(parts, channel)


def channel_view(parts: Parts, channel: Channel) -> JsonObject:
    """A channel and its rules, without its secrets."""
    config = channel.config
    default = channel.name == parts.settings.default_channel
    rules = plain_settings(config)
    return {
        "name": channel.name,
        "webhook_path": "/webhook" if default else f"/c/{channel.name}/webhook",
        "sender": rules.pop("sender"),
        "sender_auth": _sender_auth(config, token=rules.pop("token")),
        **rules,
        "max_body_bytes": config.max_body_bytes or parts.settings.max_body_bytes,
        "created_at": channel.created_at,
    }


def plain_settings(config: ChannelConfig | ForwardConfig) -> JsonObject:
    """The settings of a config, but for its parts: those hold secrets."""
    parts = [one.name for one in settings_of(type(config)) if one.setting.parts]
    # An owner is no setting: canaries have one, and nobody else sees those.
    whole = msgspec.to_builtins(config)
    return {n: v for n, v in whole.items() if n not in (*parts, "owner")}


def _sender_auth(config: ChannelConfig, *, token: bool) -> list[str]:
    auth = ["token"] if token else []
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
    hmac = {n.removeprefix("hmac_"): rest.pop(n) for n in rules if n.startswith("hmac_")}
    if "secrets" in hmac:
        given = [secret.strip().encode() for secret in hmac["secrets"]]
        hmac["secrets"] = tuple(map(parts.sealer.seal, given))

    def apply(config: ChannelConfig) -> ChannelConfig:
        rest["policy"] = msgspec.structs.replace(config.policy, **policy)
        rest["hmac"] = _signed(config.hmac, hmac)
        return msgspec.structs.replace(config, **rest)

    return apply


def _signed(current: HmacAuth | None, changes: Mapping[str, Any]) -> HmacAuth | None:
    """Without a secret no signature is asked for."""
    auth = msgspec.structs.replace(current or HmacAuth(HMAC_SCHEMES[0], ()), **changes)
    return auth if auth.secrets else None


class NewToken(msgspec.Struct, forbid_unknown_fields=True):
    """A token to be made; good for every channel where none is named."""

    name: str
    scopes: list[Scope]
    channels: list[str] | None = None


@ForAdmins
async def list_tokens(who: Caller) -> JsonObject:
    """The tokens that somebody made, by name; those of canaries are nobody's business."""
    found = sorted(who.store.catalog.tokens.values(), key=lambda token: token.name)
    return {"tokens": [token_view(one) for one in found if not one.name.startswith(CANARY_PREFIX)]}


@ForAdmins
async def create_token(who: Caller, new: NewToken) -> JsonObject:
    """Make a token; its secret is in this answer and nowhere else."""
    if not new.scopes:
        raise InvalidValue("a token needs at least one scope: send, subscribe or admin")
    if Scope.ADMIN in new.scopes and new.channels is not None:
        raise InvalidValue("the scope admin is good for every channel: name none with it")
    for channel in new.channels or ():
        if channel not in who.store.catalog.channels:
            raise ChannelNotFound(channel)
    token, secret = await keep_token(who, check_name(new.name), new.scopes, new.channels)
    return token_view(token) | {"token": secret}


@ForAdmins
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


def token_view(token: Token) -> JsonObject:
    """A token, without its secret."""
    return {
        "name": token.name,
        "scopes": sorted(token.scopes),
        "channels": None if token.channels is None else sorted(token.channels),
        "created_at": token.created_at,
    }
