"""Where the relay is."""

from __future__ import annotations

from pathlib import Path

import pytest

from relay_client.errors import UsageError
from relay_client.relay import Relay, parse_url


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("https://relay.example.com", "https://relay.example.com"),
        (" https://relay.example.com:8443/ ", "https://relay.example.com:8443"),
        ("http://[::1]:8802", "http://[::1]:8802"),
    ],
)
def test_a_url_is_read(text: str, url: str) -> None:
    """Without its trailing slash."""
    assert parse_url(text) == url


@pytest.mark.parametrize(
    "text",
    [
        "relay.example.com",
        "ftp://relay.example.com",
        "wss://relay.example.com",
        "https://",
        "https://relay.example.com/path",
        "https://relay.example.com?token=x",
        "https://user:pass@relay.example.com",
        "https://relay.example.com:99999",
        "https://relay.example.com:0",
        "https://relay .example.com",
        "https://relay.exämple.com",
        "https://[::1",
    ],
)
def test_what_is_no_url_of_a_relay_is_refused(text: str) -> None:
    """Each with a reason."""
    with pytest.raises(ValueError, match=r"\w"):
        parse_url(text)


@pytest.mark.parametrize(
    ("url", "clear"),
    [
        ("https://relay.example.com", False),
        ("http://relay.example.com", True),
        ("http://10.0.0.1:8802", True),
        ("http://localhost:8802", False),
        ("http://127.0.0.2:8802", False),
        ("http://[::1]:8802", False),
    ],
)
def test_a_token_in_clear_is_noticed(url: str, clear: bool) -> None:
    """On the way out of this machine, without TLS."""
    assert Relay(url, "t").sends_token_in_clear is clear


def test_the_socket_has_the_same_place() -> None:
    """With the scheme of WebSockets."""
    assert Relay("https://a.example:1", "t").socket_url == "wss://a.example:1/connect"
    assert Relay("http://a.example", "t").socket_url == "ws://a.example/connect"


def test_a_certificate_file_that_is_none_is_named(tmp_path: Path) -> None:
    """Without TLS it is not looked at."""
    broken = tmp_path / "ca.pem"
    broken.write_text("no certificate")

    for file in (broken, tmp_path / "missing.pem"):
        with pytest.raises(UsageError, match="--ca-file"):
            _ = Relay("https://a.example", "t", file).tls
    assert Relay("http://localhost", "t", broken).tls is None
