"""Channels made, changed and deleted; and canaries, which are channels for a moment."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from relay_server.channels import CANARY_PREFIX, check_name
from relay_server.configs import HMAC_SCHEMES, ChannelConfig, HmacAuth, Policy, check
from relay_server.errors import Forbidden, InvalidValue, TokenNotFound
from relay_server.operations import Parts, tokens
from relay_server.values import Channel, Scope, Token

CANARY_LIFETIME_MS = 600_000  # of a canary channel that its owner forgot


async def create(parts: Parts, name: str | None, rules: Mapping[str, Any]) -> Channel:
    """Make a channel.

    Args:
        parts: The server's.
        name: Its name.
        rules: What is set, by the settings' names; policy is a mapping in it, too.
    """
    if name is None:
        raise InvalidValue("a channel needs a name")
    config = _change(parts, rules)(ChannelConfig())
    return await parts.store.create_channel(check_name(name), config, parts.clock.unix_ms())


async def change(
    parts: Parts, channel: Channel, name: str | None, rules: Mapping[str, Any]
) -> Channel:
    """Change a channel's rules; what is not named stays."""
    if name not in (None, channel.name):
        raise InvalidValue("a channel keeps its name: its URL would change")
    return await parts.store.change_channel(channel.name, _change(parts, rules))


async def delete(parts: Parts, channel: Channel) -> None:
    """Delete a channel with all that is in it, and a canary's token."""
    if channel.name == parts.settings.default_channel:
        raise InvalidValue("the default channel stays: /webhook leads to it")
    # The token first: without its channel nobody would find it any more.
    if channel.config.owner:
        with contextlib.suppress(TokenNotFound):  # somebody else deletes it at the same time
            await parts.store.revoke_token(channel.name)
    await parts.store.delete_channel(channel.name)


async def create_canary(parts: Parts, owner: Token) -> tuple[Channel, str]:
    """Make a private channel, so that its owner can try the whole way and disturb nobody.

    Returns:
        It, and the secret of the token that posts to it.
    """
    name = CANARY_PREFIX + secrets.token_hex(8)
    async with parts.making_canary:
        for channel in list(parts.store.catalog.channels.values()):
            if channel.config.owner == owner.name:  # one at a time
                await delete(parts, channel)
        config, now = ChannelConfig(owner=owner.name), parts.clock.unix_ms()
        made = await parts.store.create_channel(name, config, now)
    _, secret = await tokens.keep(parts, name, [Scope.SEND], [name])
    return made, secret


async def delete_canary(parts: Parts, channel: Channel) -> None:
    """Delete a canary, and no other channel."""
    if not channel.config.owner:
        raise Forbidden("this is no canary channel")
    await delete(parts, channel)


async def delete_forgotten_canaries(parts: Parts) -> None:
    """Delete the canaries that nobody deleted."""
    born_before = parts.clock.unix_ms() - CANARY_LIFETIME_MS
    for channel in list(parts.store.catalog.channels.values()):
        if channel.config.owner and channel.created_at < born_before:
            await delete(parts, channel)


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
