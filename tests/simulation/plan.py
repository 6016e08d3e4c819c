"""What a seed stands for: who takes part, what goes wrong, and for how long."""

from __future__ import annotations

import random
from dataclasses import dataclass

from relay_protocol.limits import CHUNK_BYTES, WINDOW_BYTES
from relay_server.configs import ChannelConfig, Policy, SenderKind

LONG_S = 55.0  # more than a lease

FAULTS = (
    "cut",
    "cut_later",
    "half_open",
    "swallow",
    "stall",
    "slow_network",
    "unreachable",
    "slow_disk",
    "failing_disk",
    "full_disk",
    "crash",
    "stop",
    "client_crash",
    "client_stop",
    "take_over",
    "sleep",
    "date_jump",
    "target_down",
    "target_fails",
    "target_slow",
    "target_silent",
    "target_gone",
    "replay",
    "stop_replay",
    "pause",
    "policy",
    "lost_answers",
    "filter",
)

# What subscriptions may be set to get, by a number that each event has; nothing stands for all.
FILTERS = ("", "json.pick:0", "json.pick:0,1", "json.pick:2", "-json.pick:1")
PICKS = 3


@dataclass(frozen=True, slots=True)
class Talk:
    """Events of one conversation, sent one after another.

    Attributes:
        poison: The one that the target never takes, and what it answers; 0 for none.
        long: The one that the target thinks about for longer than a lease, if it may; 0 for none.
    """

    channel: str
    key: str
    count: int
    gap_s: float
    first_at: float
    poison: int = 0
    poison_status: int = 500
    long: int = 0


@dataclass(frozen=True, slots=True)
class Group:
    """Clients of one name.

    Attributes:
        machines: How many; those that do not share take over from each other.
        filter: That their hello carries; None to leave the subscription as it is set.
    """

    name: str
    channels: tuple[str, ...]
    machines: int
    share: bool
    concurrency: int
    window: int
    since: int | None
    filter: str | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """All that is drawn before a run begins."""

    channels: dict[str, ChannelConfig]
    groups: tuple[Group, ...]
    forwards: tuple[str, ...]  # channels that the server itself posts elsewhere
    talks: tuple[Talk, ...]
    faults: tuple[str, ...]
    fault_gap_s: float
    duration_s: float
    delay_s: tuple[float, float]
    sizes: tuple[int, ...]
    upkeep_s: float
    timeout_s: float  # of targets
    replicas: int  # of the server, over one store


def draw(rng: random.Random) -> Plan:
    """Most are small: they cost little, and what they find is easy to read."""
    large = rng.random() < 0.06
    names = ["chatwoot", "other", "third"][
        : rng.choice([1, 1, 1, 2, 2, 3] if large else [1, 1, 1, 2])
    ]
    policy = _policy(rng)
    channels = {name: _channel(rng, name, policy) for name in names}
    faults = tuple(f for f in FAULTS if rng.random() < 0.35) or ("crash",)
    duration = rng.uniform(50, 120) if large else rng.uniform(8, 35)
    timeout = rng.choice([30.0, 120.0])
    return Plan(
        channels=channels,
        groups=_groups(rng, names, large=large),
        forwards=tuple(n for n in names if rng.random() < 0.12),
        talks=_talks(rng, names, duration, large=large, long=timeout > LONG_S),
        faults=faults,
        fault_gap_s=rng.choice([1.5, 4.0, 8.0]),
        duration_s=duration,
        delay_s=rng.choice([(0.001, 0.02), (0.001, 0.02), (0.02, 0.3), (0.1, 1.5)]),
        sizes=_sizes(rng),
        upkeep_s=rng.choice([7.0, 20.0]),
        timeout_s=timeout,
        replicas=2 if rng.random() < 0.3 else 1,
    )


def _policy(rng: random.Random) -> Policy:
    if rng.random() < 0.03:
        return Policy()  # the usual one: hours of waiting
    return Policy(
        retry_delays_s=rng.choice([(0.5, 2.0), (1.0, 3.0, 8.0), (0.2, 0.2, 5.0, 12.0)]),
        other_tries=rng.choice([1, 2, 3]),
        hold_failures=rng.choice([0, 1, 2, 3]),
        hold_s=rng.choice([3.0, 10.0, 30.0]),
        strict_order=rng.random() < 0.15,
    )


def _channel(rng: random.Random, name: str, policy: Policy) -> ChannelConfig:
    tight = rng.random() < 0.15
    return ChannelConfig(
        sender=SenderKind.CHATWOOT if name == "chatwoot" else SenderKind.OTHER,
        token=False,
        key_pointer="" if name == "chatwoot" else "/who",
        max_bytes=rng.choice([2_500, 6_000, 20_000]) if tight else 1_073_741_824,
        drop_oldest=tight and rng.random() < 0.7,
        retention_days=rng.choice([7.0, 0.0002]),
        policy=policy,
        ttl=(lifetime := rng.choice([(), (), (), (), (("*", 4.0),), (("*", 30.0),)])),
        expires=bool(lifetime),
    )


def _groups(rng: random.Random, channels: list[str], *, large: bool) -> tuple[Group, ...]:
    groups = []
    for name in ["ana", "bia", "caio"][: rng.choice([1, 2, 3] if large else [1, 1, 1, 2])]:
        share = rng.random() < 0.35
        groups.append(
            Group(
                name=name,
                channels=tuple(rng.sample(channels, rng.randint(1, len(channels)))),
                machines=rng.choice([2, 2, 3] if share else [1, 1, 2]),
                share=share,
                concurrency=rng.choice([1, 2, 8]),
                window=rng.choice([1, 2, 4, 32, 32]),
                since=rng.choice([None, 0]),
                filter=rng.choice([None, None, *FILTERS]),
            )
        )
    return tuple(groups)


def _talks(
    rng: random.Random, channels: list[str], duration: float, *, large: bool, long: bool
) -> tuple[Talk, ...]:
    talks = []
    for number in range(rng.randint(5, 12) if large else rng.randint(1, 5)):
        count = rng.randint(5, 40) if large else rng.randint(1, 8)
        talks.append(
            Talk(
                channel=rng.choice(channels),
                key=rng.choice(["", f"k{number}", f"k{number}", f"k{number}", "shared"]),
                count=count,
                gap_s=rng.choice([0.0, 0.05, duration / count / 2, duration / count]),
                first_at=rng.uniform(0, duration / 2),
                poison=rng.randint(1, count) if rng.random() < 0.25 else 0,
                poison_status=rng.choice([500, 500, 404, 429]),
                long=rng.randint(1, count) if long and rng.random() < 0.15 else 0,
            )
        )
    return tuple(talks)


def _sizes(rng: random.Random) -> tuple[int, ...]:
    small = (0, 0, 0, 100, 300)
    draw = rng.random()
    if draw < 0.01:
        return (*small, WINDOW_BYTES + 1)
    return (*small, 2 * CHUNK_BYTES + 5) if draw < 0.15 else small
