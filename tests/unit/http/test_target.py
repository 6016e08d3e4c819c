"""What a target is called."""

from __future__ import annotations

import pytest

from relay_http.target import Target, path_of_all


def test_a_target_is_shown_as_a_url() -> None:
    """IPv6 addresses in brackets; HTTPS's own port goes without saying."""
    assert Target("::1", 8000).url == "http://[::1]:8000"
    assert Target("localhost", 8000, "/bot").url == "http://localhost:8000/bot"
    assert Target("bot.example.com", 443, "/in", secure=True).url == "https://bot.example.com/in"
    assert Target("bot.example.com", 8443, secure=True).authority == "bot.example.com:8443"
    assert Target("bot.example.com", 443).authority == "bot.example.com:443"


@pytest.mark.parametrize(
    ("path", "kept"),
    [("", ""), ("/", ""), ("/a", "/a"), ("/a/", "/a/"), ("/a%2Fb/./c..d", "/a%2Fb/./c..d")],
)
def test_a_path_is_kept(path: str, kept: str) -> None:
    """But for the one that says nothing."""
    assert path_of_all(path) == kept


@pytest.mark.parametrize(
    "path", ["/a?b", "/a#b", "/a\\b", "/../b", "/a/..", "/%2e./b", "/.%2E/", "/..;x/b"]
)
def test_a_path_that_leads_elsewhere_is_none(path: str) -> None:
    """Or that is more than a path."""
    assert path_of_all(path) is None
