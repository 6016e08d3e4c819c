"""The settings of channels, policies and forwards: their bounds, and where else they are known."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from relay_protocol.limits import MAX_BODY_BYTES
from relay_server.configs import (
    MAX_AWAY_S,
    MAX_CHANNEL_BYTES,
    MAX_RATE_PER_S,
    MAX_TIMEOUT_S,
    MAX_TRIES,
    MIN_AWAY_S,
    MIN_RATE_PER_S,
    ORDINARY,
    ChannelConfig,
    ForwardConfig,
    HmacAuth,
    Policy,
    PolicyChanges,
    SenderKind,
)
from relay_server.errors import InvalidValue
from relay_server.settables import check, settings_of
from relay_server.validity import (
    HMAC_SCHEMES,
    MAX_POINTER_CHARS,
    MAX_RETENTION_DAYS,
    MAX_RETRY_DELAY_S,
    MAX_RETRY_DELAYS,
    MAX_SECRET_CHARS,
    MIN_RETRY_DELAY_S,
)

DAYS = (0.0001, 0.01, 36_500), (0, -1, MAX_RETENTION_DAYS + 0.1, 1e300)
NUMBERS: list[tuple[Any, str, str, tuple[Any, ...], tuple[Any, ...]]] = [
    (ChannelConfig, "retention_days", "events are kept", *DAYS),
    (ChannelConfig, "dead_days", "dead deliveries are kept", *DAYS),
    (
        ChannelConfig,
        "rate_per_s",
        "0.001 to 1000000 webhooks",
        (None, MIN_RATE_PER_S, MAX_RATE_PER_S),
        (MIN_RATE_PER_S * 0.99, MAX_RATE_PER_S + 0.1),
    ),
    (
        ChannelConfig,
        "refuse_after_s",
        "refused after 1 s to 1 day",
        (None, MIN_AWAY_S, MAX_AWAY_S),
        (0, MIN_AWAY_S * 0.99, MAX_AWAY_S + 0.1),
    ),
    (
        ChannelConfig,
        "max_bytes",
        "bytes",
        (None, 1, MAX_CHANNEL_BYTES),
        (0, -1, MAX_CHANNEL_BYTES + 1),
    ),
    (
        ChannelConfig,
        "max_body_bytes",
        "a body is limited",
        (None, 1, MAX_BODY_BYTES),
        (0, -1, MAX_BODY_BYTES + 1),
    ),
    (Policy, "other_tries", "1 to 100 times", (1, MAX_TRIES), (0, MAX_TRIES + 1)),
    (Policy, "hold_failures", "0 to 100 failures", (0, MAX_TRIES), (-1, MAX_TRIES + 1)),
    (
        Policy,
        "hold_s",
        "0 s to 7 days",
        (0, MAX_RETRY_DELAY_S),
        (-0.1, MAX_RETRY_DELAY_S + 0.1),
    ),
    (ForwardConfig, "timeout_s", "above 0", (0.1, MAX_TIMEOUT_S), (0, MAX_TIMEOUT_S + 0.1)),
    (ForwardConfig, "concurrency", "1 to 32", (1, 32), (0, 33)),
]


@pytest.mark.parametrize(("config", "name", "says", "fit", "beyond"), NUMBERS)
def test_numbers_reach_to_their_bounds_and_no_further(
    config: Any, name: str, says: str, fit: tuple[Any, ...], beyond: tuple[Any, ...]
) -> None:
    for value in fit:
        check(config, {name: value})
    for value in (*beyond, float("nan"), float("inf"), -float("inf")):
        with pytest.raises(InvalidValue, match=says):
            check(config, {name: value})


@pytest.mark.parametrize(
    ("config", "values", "says"),
    [
        (ChannelConfig, {"allow_from": ("10.0.0.1/8",)}, "10.0.0.1/8"),
        (ChannelConfig, {"allow_from": ("10.0.0.0/8", "")}, "''"),
        (ChannelConfig, {"allow_from": ("example.com",)}, "example.com"),
        (ChannelConfig, {"key_pointer": "a/b"}, "a/b"),
        (ChannelConfig, {"key_pointer": "/".ljust(MAX_POINTER_CHARS + 1, "x")}, "/xxx"),
        (ChannelConfig, {"hmac_scheme": "md5"}, "chatwoot"),
        (ChannelConfig, {"hmac_secrets": ["good", " "]}, "empty"),
        (ChannelConfig, {"hmac_secrets": ["x" * (MAX_SECRET_CHARS + 1)]}, "1024 characters"),
        (Policy, {"retry_delays_s": (5.0, MIN_RETRY_DELAY_S * 0.9)}, "not 0.009"),
        (Policy, {"retry_delays_s": (MAX_RETRY_DELAY_S + 0.1,)}, "7 days"),
        (Policy, {"retry_delays_s": (float("nan"),)}, "0.01 s to 7 days: not nan"),
        (Policy, {"retry_delays_s": (float("inf"),)}, "0.01 s to 7 days"),
        (Policy, {"retry_delays_s": (1.0,) * (MAX_RETRY_DELAYS + 1)}, "at most 32"),
    ],
)
def test_what_is_impossible(config: Any, values: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidValue) as refused:
        check(config, values)
    assert says in str(refused.value)


@pytest.mark.parametrize(
    ("config", "values"),
    [
        (ChannelConfig, {"allow_from": ("10.0.0.0/8", "::/0", "203.0.113.9"), "key_pointer": "/"}),
        (ChannelConfig, {"allow_from": (), "key_pointer": "/".ljust(MAX_POINTER_CHARS, "x")}),
        (ChannelConfig, {"hmac_secrets": [f" {'x' * MAX_SECRET_CHARS} "], "hmac_scheme": ""}),
        (Policy, {"retry_delays_s": ()}),
        (Policy, {"retry_delays_s": (MIN_RETRY_DELAY_S,) * MAX_RETRY_DELAYS}),
        (Policy, {"retry_delays_s": (MAX_RETRY_DELAY_S,)}),
        (ChannelConfig, {"name": "…", "policy": 5, "owner": "", "retention_days": None}),
    ],
)
def test_what_is_possible(config: Any, values: dict[str, Any]) -> None:
    check(config, values)


@pytest.mark.parametrize("config", [ChannelConfig, Policy, ForwardConfig, HmacAuth])
def test_what_nobody_set_is_possible(config: Any) -> None:
    """As the defaults are, and as they are stored: sealed secrets are not checked."""
    required = {"url": "http://bot/", "scheme": "chatwoot", "secrets": ()}
    made = config(**{k: v for k, v in required.items() if k in config.__struct_fields__})
    check(config, msgspec.structs.asdict(made))


def test_what_nobody_set_is_the_ordinary() -> None:
    """As the reference says it; a change of these changes every channel that is there."""
    channel, forward = ChannelConfig(), ForwardConfig("http://bot:8000")

    assert (channel.sender, channel.token, channel.hmac) == (SenderKind.CHATWOOT, True, None)
    assert (channel.allow_from, channel.key_pointer, channel.owner) == ((), "", "")
    assert (channel.retention_days, channel.dead_days) == (7.0, 30.0)
    assert (channel.max_bytes, channel.max_body_bytes) == (1_073_741_824, None)
    assert (channel.drop_oldest, channel.rate_per_s) == (False, None)
    assert (forward.timeout_s, forward.concurrency, forward.headers) == (30.0, 8, ())
    assert not HmacAuth("chatwoot", ()).log_only
    assert not channel.policy.strict_order
    assert (ORDINARY.forward, ORDINARY.paused) == (None, "")
    kinds = {kind.value for kind in SenderKind}  # as stores keep them
    assert kinds == {"chatwoot", "other", *HMAC_SCHEMES}, "each signs as its name says"


def test_a_subscription_may_do_otherwise_whatever_a_policy_says() -> None:
    assert PolicyChanges.__struct_fields__ == Policy.__struct_fields__
    assert set(msgspec.structs.asdict(PolicyChanges()).values()) == {None}


def test_every_setting_that_commands_have_is_a_field() -> None:
    assert [one.name for one in settings_of(ForwardConfig)] == [
        *("url", "timeout_s", "concurrency", "headers")
    ]
    names = [one.name for one in settings_of(ChannelConfig)]
    parts = {name for name in names if name.startswith(("hmac_", "chatwoot_"))}
    assert {"hmac_scheme", "hmac_secrets", "hmac_log_only", "chatwoot_token"} < parts
    assert set(names) - set(ChannelConfig.__struct_fields__) == parts
