"""Where the relay is."""

from __future__ import annotations

import asyncio
import codecs
import ssl
from pathlib import Path

import pytest

from relay_client.errors import UsageError
from relay_client.relay import Relay, parse_url
from relay_http.tls import make_context
from tests.support.certificates import Certificate, make_certificate


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("https://relay.example.com", "https://relay.example.com"),
        (" https://relay.example.com:8443/ ", "https://relay.example.com:8443"),
        ("http://[::1]:8802", "http://[::1]:8802"),
        ("https://example.com/dev/relay/", "https://example.com/dev/relay"),
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
        "https://relay.example.com/webhook",
        "https://relay.example.com/a%20path",
        "https://relay.example.com/../path",
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


async def is_trusted(relay: Relay, served: Certificate) -> bool:
    context = make_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(served.cert, served.key)
    server = await asyncio.start_server(lambda _, w: w.close(), "127.0.0.1", 0, ssl=context)
    async with server:
        port = server.sockets[0].getsockname()[1]
        try:
            _, writer = await asyncio.open_connection("localhost", port, ssl=relay.tls)
        except ssl.SSLCertVerificationError:
            return False
        writer.transport.abort()
        return True


@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8])
async def test_certificates_to_trust_are_read_again(tmp_path: Path, mark: bytes) -> None:
    """As when the relay's was renewed; a file that is broken by then changes nothing."""
    (tmp_path / "renewed").mkdir()
    first, second = make_certificate(tmp_path), make_certificate(tmp_path / "renewed")
    trusted = tmp_path / "ca.pem"
    trusted.write_bytes(mark + first.cert.read_bytes())
    relay = Relay("https://localhost", "t", trusted)
    assert await is_trusted(relay, first)
    assert not await is_trusted(relay, second)

    for content in (second.cert.read_bytes(), b"half"):
        trusted.write_bytes(content)
        relay.read_ca_again()
        assert await is_trusted(relay, second)
