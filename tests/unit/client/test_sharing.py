"""A relay that is too old to share is noticed."""

from __future__ import annotations

import pytest

from relay_client.notices import Connected, Notice, Slept, Warned
from relay_client.sharing import SharingWatch, can_share
from relay_protocol.messages import Welcome


@pytest.mark.parametrize(
    ("version", "shares"),
    [
        ("0.0.9", False),
        ("0.1.0", True),
        ("0.1", True),
        ("0.10.0", True),
        ("1.0", True),
        ("2.0.0rc1", True),
        ("0+unknown", True),
        ("", True),
    ],
)
def test_versions_that_share(version: str, shares: bool) -> None:
    assert can_share(version) is shares


def test_an_old_relay_is_warned_of_once_after_the_welcome() -> None:
    told: list[Notice] = []
    watch = SharingWatch(told.append)
    notices: list[Notice] = [
        Slept(),
        Connected(Welcome("0.0.1", 1, ())),
        Connected(Welcome("0.0.1", 2, ())),
    ]

    for notice in notices:
        watch(notice)

    assert told[:2] == notices[:2]
    assert isinstance(told[2], Warned)
    assert "0.0.1" in told[2].text
    assert told[3:] == notices[2:]


def test_a_relay_that_shares_is_not_warned_of() -> None:
    told: list[Notice] = []

    SharingWatch(told.append)(Connected(Welcome("0.1.0", 1, ())))

    assert told == [Connected(Welcome("0.1.0", 1, ()))]
