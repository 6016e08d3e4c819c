"""What operators set: of channels, subscriptions, forwards and how they deliver."""

from __future__ import annotations

import enum

import msgspec


class SenderKind(enum.StrEnum):
    """Who posts to a channel: decides how a refusal is said and where the key is."""

    CHATWOOT = "chatwoot"
    OTHER = "other"


class HmacAuth(msgspec.Struct, frozen=True):
    """Signatures that a channel's sender must make.

    Attributes:
        scheme: How they are made: `"chatwoot"`.
        secrets: Sealed; any one of them will do, so that they can be rotated.
        log_only: A wrong signature is logged and let through.
    """

    scheme: str
    secrets: tuple[bytes, ...]
    log_only: bool = False


class Policy(msgspec.Struct, frozen=True):
    """What follows from failed attempts, and how strictly order is kept.

    Attributes:
        retry_delays_s: Seconds after each counted failure; the one after the last is the end.
        other_tries: Tries of an answer that another one will hardly change: 3xx and most 4xx.
        hold_failures: A failing event holds its key this often …
        hold_s: … or for so many seconds, whichever ends first.
        strict_order: It holds its key until it is settled, however long that takes.
    """

    retry_delays_s: tuple[float, ...] = (
        5.0,
        30.0,
        120.0,
        600.0,
        1_800.0,
        7_200.0,
        18_000.0,
        36_000.0,
        36_000.0,
    )
    other_tries: int = 3
    hold_failures: int = 3
    hold_s: float = 30.0
    strict_order: bool = False


class PolicyChanges(msgspec.Struct, frozen=True):
    """What a subscription does otherwise than its channel; None is as the channel has it."""

    retry_delays_s: tuple[float, ...] | None = None
    other_tries: int | None = None
    hold_failures: int | None = None
    hold_s: float | None = None
    strict_order: bool | None = None

    def applied_to(self, policy: Policy) -> Policy:
        """The policy that holds in the end."""
        changes = {name: v for name, v in msgspec.structs.asdict(self).items() if v is not None}
        return msgspec.structs.replace(policy, **changes)


class ChannelConfig(msgspec.Struct, frozen=True):
    """What an operator sets of a channel.

    Attributes:
        sender: Who posts to it.
        token: Its sender must show a token with the scope `send`.
        hmac: Its sender must sign, if set.
        allow_from: Networks its sender must be in, e.g. `"203.0.113.0/24"`; empty for any.
        key_pointer: JSON pointer (RFC 6901) to the key in a body; empty for the sender's usual.
        max_body_bytes: Above it the answer is 413; None for the server's setting.
        retention_days: How long events are kept once every subscription has them.
        dead_days: How long dead deliveries are kept, and their events with them.
        max_bytes: What its events may take, bodies and heads together; None for no limit.
        drop_oldest: When it is full the oldest events go, delivered or not; otherwise new ones
            are refused.
        rate_per_s: Webhooks a second that are taken; None for any number.
        policy: How its subscriptions deliver, unless one says otherwise.
        owner: Name of the only token that may subscribe; empty for any that is allowed here.
    """

    sender: SenderKind = SenderKind.CHATWOOT
    token: bool = True
    hmac: HmacAuth | None = None
    allow_from: tuple[str, ...] = ()
    key_pointer: str = ""
    max_body_bytes: int | None = None
    retention_days: float = 7.0
    dead_days: float = 30.0
    max_bytes: int | None = 1_073_741_824
    drop_oldest: bool = False
    rate_per_s: float | None = None
    policy: Policy = Policy()
    owner: str = ""


class ForwardConfig(msgspec.Struct, frozen=True):
    """A subscription that the server itself reads, and posts to a URL.

    Attributes:
        url: `http://` or `https://`, host, perhaps port and path; a path gets everything.
        timeout_s: For the whole answer.
        concurrency: How many requests are open at once.
        headers: (name, sealed value) pairs that are added to each request.
    """

    url: str
    timeout_s: float = 30.0
    concurrency: int = 8
    headers: tuple[tuple[str, bytes], ...] = ()


class SubscriptionConfig(msgspec.Struct, frozen=True):
    """What an operator, or a target, sets of a subscription.

    Attributes:
        policy: What it does otherwise than its channel.
        forward: Set when the server itself reads it.
        paused: Why nothing is delivered until somebody resumes it; empty when it is not paused.
    """

    policy: PolicyChanges = PolicyChanges()
    forward: ForwardConfig | None = None
    paused: str = ""


ORDINARY = SubscriptionConfig()
