"""Links that log in to the dashboard: each works once, within a minute."""

from __future__ import annotations

import pytest

from relay_server.errors import LinkExpired, LinkUnknown, LinkUsed
from relay_server.links import LINK_MS, MAX_LINKS, REMEMBERED_MS, Links


def test_a_link_gives_the_rights_of_who_made_it() -> None:
    links = Links()
    assert links.take(links.make("ana", 0), "", LINK_MS) == "ana"
    assert links.take(links.make(None, 0), "", 0) is None


def test_a_link_that_was_used_says_by_whom() -> None:
    links = Links()
    secret = links.make("ana", 0)
    links.take(secret, "203.0.113.5", 10_000)
    with pytest.raises(LinkUsed, match=r"203\.0\.113\.5 50 s ago"):
        links.take(secret, "203.0.113.6", 60_000)
    with pytest.raises(LinkUnknown):
        links.take(secret, "203.0.113.6", REMEMBERED_MS + 1)


def test_a_link_that_came_late_says_so() -> None:
    links = Links()
    secret = links.make("ana", 0)
    with pytest.raises(LinkExpired, match="ran out 5 s ago"):
        links.take(secret, "", LINK_MS + 5_000)


@pytest.mark.parametrize("secret", ["", "rlk_guessed", "rlk_\udc80", "é" * 400])
def test_what_is_no_link_is_not_known(secret: str) -> None:
    with pytest.raises(LinkUnknown):
        Links().take(secret, "", 0)


def test_the_oldest_of_too_many_are_forgotten() -> None:
    links = Links()
    first, *_, last = [links.make(None, 0) for _ in range(MAX_LINKS + 1)]
    with pytest.raises(LinkUnknown):
        links.take(first, "", 0)
    assert links.take(last, "", 0) is None
