"""Channels and their rules: names, what orders a body, what a body says of itself."""

from __future__ import annotations

import re
from ipaddress import ip_network

import msgspec

from relay_protocol.text import harmless
from relay_server.configs import ChannelConfig, Policy, SenderKind
from relay_server.errors import InvalidValue
from relay_server.pointers import follow

NAME_PATTERN = r"^[a-z0-9][a-z0-9._-]{0,62}$"
SUBSCRIPTION_PATTERN = r"^[^\s/\x00-\x1f\x7f][^/\x00-\x1f\x7f]{0,62}$"  # people's names: "João"
CANARY_PREFIX = "canary-"  # of channels and tokens that the server makes itself, for a moment
MAX_KEY_CHARS = 256
MAX_KIND_CHARS = 128
MAX_POINTER_CHARS = 256
MIN_RATE_PER_S = 0.001
MAX_RATE_PER_S = 1_000_000
MAX_RETENTION_DAYS = 36_500  # what is reckoned from more no longer fits into the store
MAX_CHANNEL_BYTES = 1_125_899_906_842_624  # 1 PiB
MAX_RETRY_DELAYS = 32
MIN_RETRY_DELAY_S = 0.01
MAX_RETRY_DELAY_S = 604_800.0  # 7 days
MAX_TRIES = 100

# Chatwoot bodies in which the conversation is the body itself (its serializers, 4.15).
CONVERSATION_EVENTS = ("conversation_", "automation_event.", "macro.")


class _Account(msgspec.Struct):
    id: int | str | None = None


class _Conversation(msgspec.Struct):
    id: int | str | None = None
    account: _Account | None = None


class _ChatwootBody(msgspec.Struct):
    event: str = ""
    id: int | str | None = None
    account: _Account | None = None  # "is typing" alone has it in its conversation only
    conversation: _Conversation | None = None
    current_conversation: _Conversation | None = None  # of `webwidget_triggered`


_chatwoot = msgspec.json.Decoder(_ChatwootBody)


def check_name(name: str) -> str:
    """Return a channel's or token's name if it can be one.

    Raises:
        InvalidValue: It cannot.
    """
    if not re.fullmatch(NAME_PATTERN, name):
        raise InvalidValue(
            f"{name!r} is no name: it takes 1 to 63 of a-z, 0-9, '.', '_' and '-',"
            " beginning with a letter or digit"
        )
    return name


def check_new_name(name: str) -> str:
    """Return the name of a channel or token that is to be made, if it can be one.

    Raises:
        InvalidValue: It cannot, or is kept for the server's own.
    """
    if name.startswith(CANARY_PREFIX):
        raise InvalidValue(f"names that begin with {CANARY_PREFIX!r} are the server's own")
    return check_name(name)


def check_subscription_name(name: str) -> str:
    """Return a subscription's name if it can be one.

    Raises:
        InvalidValue: It cannot.
    """
    if not re.fullmatch(SUBSCRIPTION_PATTERN, name):
        raise InvalidValue("a subscription's name takes 1 to 63 characters, none of them '/'")
    if name in (".", ".."):
        raise InvalidValue(f"no subscription can be named {name!r}: no URL leads to it")
    if harmless(name) != name:
        raise InvalidValue("a subscription's name takes characters that can be seen")
    return name


def check_config(config: ChannelConfig) -> ChannelConfig:
    """Return a channel's configuration if it is possible.

    Raises:
        InvalidValue: It is not.
    """
    for network in config.allow_from:
        try:
            ip_network(network)
        except ValueError as exc:
            raise InvalidValue(f"{network!r} is no network such as 203.0.113.0/24") from exc
    pointer = config.key_pointer
    if pointer and (not pointer.startswith("/") or len(pointer) > MAX_POINTER_CHARS):
        raise InvalidValue(f"{pointer!r} is no JSON pointer such as /conversation/id")
    rate = config.rate_per_s
    if rate is not None and not MIN_RATE_PER_S <= rate <= MAX_RATE_PER_S:
        raise InvalidValue(f"a rate is {MIN_RATE_PER_S:g} to {MAX_RATE_PER_S} webhooks a second")
    for what, days in (
        ("events", config.retention_days),
        ("dead deliveries", config.dead_days),
    ):
        if not 0 < days <= MAX_RETENTION_DAYS:
            raise InvalidValue(f"{what} are kept for more than 0, up to {MAX_RETENTION_DAYS} days")
    if config.max_bytes is not None and not 0 < config.max_bytes <= MAX_CHANNEL_BYTES:
        raise InvalidValue(f"a channel's events may take 1 to {MAX_CHANNEL_BYTES} bytes")
    check_policy(config.policy)
    return config


def check_policy(policy: Policy) -> Policy:
    """Return a policy if it is possible.

    Raises:
        InvalidValue: It is not.
    """
    delays = policy.retry_delays_s
    if len(delays) > MAX_RETRY_DELAYS:
        raise InvalidValue(f"there are at most {MAX_RETRY_DELAYS} retry delays, not {len(delays)}")
    for delay in delays:
        if not MIN_RETRY_DELAY_S <= delay <= MAX_RETRY_DELAY_S:
            raise InvalidValue(f"a retry delay is {MIN_RETRY_DELAY_S:g} s to 7 days: not {delay:g}")
    if not 1 <= policy.other_tries <= MAX_TRIES:
        raise InvalidValue(f"an answer such as 404 is tried 1 to {MAX_TRIES} times")
    if not 0 <= policy.hold_failures <= MAX_TRIES:
        raise InvalidValue(f"a failing event holds its key for 0 to {MAX_TRIES} failures")
    if not 0 <= policy.hold_s <= MAX_RETRY_DELAY_S:
        raise InvalidValue("a failing event holds its key for 0 s to 7 days")
    return policy


def identify(config: ChannelConfig, body: bytes) -> tuple[str, str]:
    """Find what a body is ordered by, and its sender's name for what happened.

    Nothing that a sender writes makes this fail: a body that cannot be read is ordered with its
    whole channel.

    Returns:
        Key and kind, either empty when the body does not say.
    """
    try:
        if config.sender is SenderKind.CHATWOOT:
            key, kind = _identify_chatwoot(body)
        else:
            key, kind = "", ""
        if config.key_pointer:
            key = follow(body, config.key_pointer)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return "", ""
    return key[:MAX_KEY_CHARS], kind[:MAX_KIND_CHARS]


def _identify_chatwoot(body: bytes) -> tuple[str, str]:
    """Key by account and conversation, such as `2/318`: each account counts its own from 1."""
    message = _chatwoot.decode(body)
    talk = message.conversation or message.current_conversation or _Conversation()
    id_ = talk.id
    if id_ is None and message.event.startswith(CONVERSATION_EVENTS):
        id_ = message.id
    if id_ is None:
        return "", message.event
    account = message.account or talk.account or _Account()
    return str(id_) if account.id is None else f"{account.id}/{id_}", message.event
