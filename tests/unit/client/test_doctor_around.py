"""What keeps webhooks from coming beside the way itself, told from what is known."""

from __future__ import annotations

from email.utils import formatdate
from typing import Any

import pytest

from relay_client.answers import ChannelStatus, Status, StoreState, SubscriptionStatus
from relay_client.doctor import around
from relay_client.doctor.around import Care, Found
from relay_client.errors import ClientError

NOW = 1_783_000_810.0


def text(found: Found | None) -> str:
    """What is found, in words."""
    return found.text if isinstance(found, Care) else str(found)


@pytest.mark.parametrize(
    ("ahead_s", "kind", "said"),
    [
        (0, str, "agree"),
        (20, str, "agree"),
        (-20, str, "agree"),
        (90, Care, "2 min ahead of the relay's"),
        (-90, Care, "2 min behind the relay's"),
        (3_600, ClientError, "1 h ahead of the relay's"),
        (-3_600, ClientError, "1 h behind the relay's"),
    ],
)
def test_clocks_that_are_apart(ahead_s: float, kind: type, said: str) -> None:
    found = around.clocks(formatdate(NOW, usegmt=True), NOW + ahead_s)
    assert isinstance(found, kind)
    assert said in text(found)


@pytest.mark.parametrize("date", ["", "now", "Thu, 99 Jul 2026 14:00:10 GMT", "\x00"])
def test_a_relay_that_does_not_say_the_time(date: str) -> None:
    assert "does not say" in text(around.clocks(date, NOW))


def held(*, shares: bool = False, **state: Any) -> list[Found]:
    """What is found of ana's subscription."""
    one = SubscriptionStatus("chatwoot", "ana", **state)
    return list(around.subscription([one], "chatwoot", "ana", "laptop", shares=shares))


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ({"paused": "by hand"}, "ana of chatwoot is paused: by hand"),
        (
            {"paused": "by hand", "paused_by": "boss", "paused_at": 1_783_000_810_000},
            "ana of chatwoot is paused: by hand, by boss since 2026-07-02",
        ),
        ({"connected": True, "hosts": ("desk",)}, "another client holds ana of chatwoot"),
        ({"forward": "http://bot"}, "ana of chatwoot is a forward"),
    ],
)
def test_a_subscription_that_gets_nothing_here(state: dict[str, Any], said: str) -> None:
    failed = [one for one in held(**state) if isinstance(one, ClientError)]
    assert text(failed[0]).startswith(said)
    assert failed[0].hint


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ({"backlog": 1_200}, "ana of chatwoot is away; 1,200 webhooks wait"),
        ({"connected": True, "backlog": 1}, "ana of chatwoot is connected; 1 webhook waits"),
        (
            {"connected": True, "hosts": ("laptop",)},
            "ana of chatwoot is connected; 0 webhooks wait",
        ),
        ({"connected": True, "hosts": ("desk",), "shares": True}, "is connected; 0 webhooks wait"),
    ],
)
def test_a_subscription_that_is_well(state: dict[str, Any], said: str) -> None:
    [found] = held(**state)
    assert isinstance(found, str)
    assert found.endswith(said)


def test_what_failed_and_what_died_is_told() -> None:
    found = held(backlog=3, retrying=2, next_attempt_at=1_783_000_810_123, dead=5)
    told = [one for one in found if isinstance(one, Care)]
    assert "2 webhooks of ana of chatwoot failed and wait for their next attempt" in told[0].text
    assert ", the first at " in told[0].text
    assert told[1].text == "5 deliveries of ana of chatwoot are dead"
    assert "relay-client replay --dead" in told[1].hint


def test_times_that_cannot_be_are_a_dash() -> None:
    [told, *_] = [one for one in held(retrying=1, next_attempt_at=10**18) if isinstance(one, Care)]
    assert told.text.endswith(", the first at -")


def test_a_subscription_that_is_new() -> None:
    [found] = around.subscription([], "chatwoot", "ana", "laptop", shares=False)
    assert "begins with its first connection" in text(found)


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (Status("1", store=StoreState(taking=False)), "the relay takes no webhooks now"),
        (Status("1", channels=(ChannelStatus("chatwoot", full_percent=100.0),)), "is full"),
        (
            Status("1", channels=(ChannelStatus("chatwoot", full_percent=101, drop_oldest=True),)),
            "None",
        ),
        (Status("1", channels=(ChannelStatus("chatwoot", full_percent=99.0),)), "None"),
    ],
)
def test_whether_webhooks_are_taken(status: Status, said: str) -> None:
    assert said in text(around.intake(status, "chatwoot"))
