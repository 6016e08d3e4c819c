"""What a channel's rules may say: each bound itself, and what lies just beyond it."""

from __future__ import annotations

import pytest

from relay_server.channels import (
    MAX_CHANNEL_BYTES,
    MAX_POINTER_CHARS,
    MAX_RATE_PER_S,
    MAX_RETENTION_DAYS,
    MAX_RETRY_DELAY_S,
    MAX_RETRY_DELAYS,
    MAX_TRIES,
    MIN_RATE_PER_S,
    MIN_RETRY_DELAY_S,
    check_config,
)
from relay_server.configs import ChannelConfig, Policy
from relay_server.errors import InvalidValue
from relay_server.replays import check_selection
from relay_server.values import MAX_SEQUENCE, Selection


def rules(**policy: object) -> ChannelConfig:
    return ChannelConfig(policy=Policy(**policy))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fits", "beyond"),
    [
        (
            ChannelConfig(rate_per_s=MAX_RATE_PER_S),
            ChannelConfig(rate_per_s=MAX_RATE_PER_S + 1),
        ),
        (
            ChannelConfig(rate_per_s=MIN_RATE_PER_S),
            ChannelConfig(rate_per_s=MIN_RATE_PER_S * 0.99),
        ),
        (
            ChannelConfig(retention_days=MAX_RETENTION_DAYS),
            ChannelConfig(retention_days=MAX_RETENTION_DAYS + 1),
        ),
        (
            ChannelConfig(dead_days=MAX_RETENTION_DAYS),
            ChannelConfig(dead_days=MAX_RETENTION_DAYS + 1),
        ),
        (
            ChannelConfig(max_bytes=MAX_CHANNEL_BYTES),
            ChannelConfig(max_bytes=MAX_CHANNEL_BYTES + 1),
        ),
        (
            ChannelConfig(key_pointer="/".ljust(MAX_POINTER_CHARS, "x")),
            ChannelConfig(key_pointer="/".ljust(MAX_POINTER_CHARS + 1, "x")),
        ),
        (
            rules(retry_delays_s=(1.0,) * MAX_RETRY_DELAYS),
            rules(retry_delays_s=(1.0,) * (MAX_RETRY_DELAYS + 1)),
        ),
        (
            rules(retry_delays_s=(MAX_RETRY_DELAY_S,)),
            rules(retry_delays_s=(MAX_RETRY_DELAY_S + 1,)),
        ),
        (
            rules(retry_delays_s=(MIN_RETRY_DELAY_S,)),
            rules(retry_delays_s=(MIN_RETRY_DELAY_S * 0.99,)),
        ),
        (rules(other_tries=MAX_TRIES), rules(other_tries=MAX_TRIES + 1)),
        (rules(hold_failures=MAX_TRIES), rules(hold_failures=MAX_TRIES + 1)),
        (rules(hold_s=MAX_RETRY_DELAY_S), rules(hold_s=MAX_RETRY_DELAY_S + 1)),
    ],
)
def test_rules_reach_to_their_bounds_and_no_further(
    fits: ChannelConfig, beyond: ChannelConfig
) -> None:
    assert check_config(fits) is fits
    with pytest.raises(InvalidValue):
        check_config(beyond)


def test_a_replay_reaches_to_the_last_sequence_there_can_be_and_no_further() -> None:
    fits = Selection(first=MAX_SEQUENCE)

    assert check_selection(fits, everything=False) is fits
    with pytest.raises(InvalidValue):
        check_selection(Selection(first=MAX_SEQUENCE + 1), everything=False)
