"""Rates, wrong tokens, connections and waiting, on times that are made up."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay_server.errors import MAX_RETRY_AFTER_S, RateLimited
from relay_server.web import limits
from relay_server.web.limits import (
    BURST_S,
    FAILURE_WINDOW_S,
    FAILURES,
    MAX_ADDRESS_CHARS,
    Connections,
    Failures,
    Limit,
    Rates,
    group_of,
)

GAPS = st.lists(st.floats(0, 30), max_size=120)


# Rates.


@given(st.floats(0.01, 50), GAPS)
def test_a_rate_holds_over_any_time(rate: float, gaps: list[float]) -> None:
    """From any webhook on: never more than the burst and what the time since then brought."""
    rates, now, taken = Rates(), 0.0, list[float]()
    for gap in gaps:
        now += gap / rate
        if not rates.take(1, rate, now):
            taken.append(now)
    room = max(1.0, rate * BURST_S)
    for first, began in enumerate(taken):
        for last in range(first, len(taken)):
            assert last - first + 1 <= room + (taken[last] - began) * rate + 1e-6


@given(st.floats(0.01, 50), GAPS)
def test_what_is_refused_is_taken_after_the_wait(rate: float, gaps: list[float]) -> None:
    rates, now = Rates(), 0.0
    for gap in gaps:
        now += gap / rate
        if wait_s := rates.take(1, rate, now):
            now += wait_s + 1e-6
            assert rates.take(1, rate, now) == 0.0


def test_a_burst_is_two_seconds_worth_and_at_least_one() -> None:
    rates = Rates()
    assert [rates.take(1, 3.0, 0.0) > 0 for _ in range(8)] == [False] * 6 + [True] * 2
    assert rates.take(2, 0.1, 0.0) == 0.0
    assert rates.take(2, 0.1, 0.0) == pytest.approx(10.0)


def test_channels_have_a_rate_each_and_are_forgotten() -> None:
    rates = Rates()
    assert [rates.take(number, 0.5, 0.0) for number in (1, 2, 1)] == [0.0, 0.0, 2.0]
    rates.forget(1)
    rates.forget(3)
    assert len(rates._buckets) == 1
    assert rates.take(1, 0.5, 0.0) == 0.0


# Wrong tokens.


def test_the_twenty_first_failure_within_a_minute_is_one_too_many() -> None:
    failures = Failures()
    assert [failures.wrong("203.0.113.9", 0.5 * n) for n in range(FAILURES)] == [0.0] * FAILURES
    assert failures.wrong("203.0.113.9", 10.0) == FAILURE_WINDOW_S - 10.0
    assert failures.wrong("203.0.113.10", 10.0) == 0.0, "another address"
    assert failures.wrong("203.0.113.9", FAILURE_WINDOW_S) == 0.0, "the first is forgotten"
    assert failures.wrong("203.0.113.9", FAILURE_WINDOW_S) == 0.5


@given(GAPS)
def test_failures_are_those_of_the_last_minute(gaps: list[float]) -> None:
    """Against a plain list of what was let pass."""
    failures, now, passed = Failures(), 0.0, list[float]()
    for gap in gaps:
        now += gap / 4
        recent = [at for at in passed if at > now - FAILURE_WINDOW_S]
        wait_s = failures.wrong("203.0.113.9", now)
        assert (wait_s > 0) == (len(recent) >= FAILURES)
        if wait_s:
            assert wait_s == pytest.approx(recent[-FAILURES] + FAILURE_WINDOW_S - now)
        else:
            passed.append(now)


def test_the_oldest_addresses_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_ADDRESSES", 3)
    failures = Failures()
    for _ in range(FAILURES):
        failures.wrong("192.0.2.0", 0.0)
    for n in range(1, 3):
        failures.wrong(f"192.0.2.{n}", 0.0)
    assert failures.wrong("192.0.2.0", 1.0) > 0, "it was used last"
    for n in range(3, 100):
        failures.wrong(f"192.0.2.{n}", 2.0)
        assert len(failures._failed_at) == 3
    assert failures.wrong("192.0.2.0", 3.0) == 0.0


@pytest.mark.parametrize(
    ("address", "group"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("unknown", "unknown"),
        ("", ""),
        ("x" * 9_000, "x" * MAX_ADDRESS_CHARS),
    ],
)
def test_who_counts_as_one(address: str, group: str) -> None:
    assert group_of(address) == group


# Connections.


def test_connections_of_an_address_and_of_all() -> None:
    connections = Connections(4, 2)
    assert [connections.enter("192.0.2.1") for _ in range(3)] == [
        None,
        None,
        Limit.CONNECTIONS_PER_ADDRESS,
    ]
    assert [connections.enter(f"192.0.2.{n}") for n in (2, 3, 4)] == [
        None,
        None,
        Limit.CONNECTIONS,
    ]
    connections.leave("192.0.2.1")
    assert connections.enter("192.0.2.1") is None


def test_a_trusted_proxy_may_have_all_that_there_are() -> None:
    connections = Connections(5, 1, exempt=[ip_network("10.0.0.0/8")])
    assert [connections.enter("::ffff:10.1.2.3") for _ in range(5)] == [None] * 5
    assert connections.enter("10.1.2.3") is Limit.CONNECTIONS


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 3)), max_size=200))
def test_what_is_counted_is_what_is_open(steps: list[tuple[bool, int]]) -> None:
    connections, is_open = Connections(6, 3), list[str]()
    for enters, n in steps:
        address = f"192.0.2.{n}"
        if enters and connections.enter(address) is None:
            is_open.append(address)
        elif not enters and address in is_open:
            is_open.remove(address)
            connections.leave(address)
        assert connections.open == len(is_open) <= 6
        assert len(connections._by_group) == len(set(is_open)), "who is gone is forgotten"
        assert all(is_open.count(one) <= 3 for one in is_open)


# Waiting.


@pytest.mark.parametrize(("wait_s", "said"), [(MAX_RETRY_AFTER_S * 9, 3_600), (61.2, 62)])
def test_nobody_is_told_to_stay_away_for_more_than_an_hour(wait_s: float, said: int) -> None:
    assert RateLimited(wait_s).retry_after_s == said
