"""The proxy on the way to a relay."""

from __future__ import annotations

import asyncio
import os

import pytest
from websockets.exceptions import WebSocketException

from relay_client.api import Api
from relay_client.errors import RelayUnreachable, UsageError
from relay_client.proxies import proxy_for
from relay_client.relay import Relay
from relay_client.websocket import Reason, dial, of_failed_handshake

HTTPS, HTTP = "https://relay.example.com", "http://relay.example.com:8802"
PROXY = "http://proxy.example.com:3128"


@pytest.fixture(autouse=True)
def without_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)


def given(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    ("variables", "of_https", "of_http"),
    [
        ({}, None, None),
        ({"HTTPS_PROXY": PROXY}, PROXY, None),
        ({"HTTP_PROXY": PROXY}, None, PROXY),
        ({"https_proxy": PROXY, "HTTPS_PROXY": "http://other:1"}, PROXY, None),
        ({"ALL_PROXY": PROXY}, PROXY, PROXY),
        ({"ALL_PROXY": "http://other:1", "HTTPS_PROXY": PROXY}, PROXY, "http://other:1"),
        ({"HTTPS_PROXY": PROXY, "SOCKS_PROXY": "socks5://127.0.0.1:1080"}, PROXY, "refused"),
        ({"HTTPS_PROXY": "https://proxy.example.com"}, "https://proxy.example.com", None),
        ({"HTTPS_PROXY": ""}, None, None),
        # Meant, if not written, so.
        ({"HTTPS_PROXY": f" {PROXY} \r\n"}, PROXY, None),
        ({"HTTPS_PROXY": "127.0.0.1:18861"}, "http://127.0.0.1:18861", None),
        ({"HTTPS_PROXY": f"{PROXY}/"}, PROXY, None),
        ({"HTTPS_PROXY": "http://ana:pa%40ss@proxy:1"}, "http://ana:pa%40ss@proxy:1", None),
        ({"HTTPS_PROXY": "http://ana@proxy:1"}, "http://ana:@proxy:1", None),
        ({"ALL_PROXY": "[::1]:3128"}, "http://[::1]:3128", "http://[::1]:3128"),
    ],
)
def test_one_proxy_is_chosen_for_api_and_tunnel(
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, str],
    of_https: str | None,
    of_http: str | None,
) -> None:
    given(monkeypatch, variables)
    assert proxy_for(HTTPS) == of_https
    if of_http == "refused":
        with pytest.raises(UsageError, match="SOCKS_PROXY"):
            proxy_for(HTTP)
    else:
        assert proxy_for(HTTP) == of_http
    assert Relay("https://localhost", "t").proxy is None


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("socks5://127.0.0.1:1080", "names a SOCKS proxy"),
        ("socks5h://127.0.0.1", "names a SOCKS proxy"),
        ("SOCKS4://127.0.0.1", "names a SOCKS proxy"),
        ("ftp://127.0.0.1", "is not the URL of a proxy"),
        ("http://", "is not the URL of a proxy"),
        ("http://pass word@proxy:1", "is not the URL of a proxy"),
        ("http://proxy:99999", "is not the URL of a proxy"),
        ("http://proxy:secret", "is not the URL of a proxy"),
        ("http://próxy:1", "is not the URL of a proxy"),
        ("none", None),  # a host's name
    ],
)
def test_what_cannot_be_used_is_named_by_its_variable(
    monkeypatch: pytest.MonkeyPatch, value: str, said: str | None
) -> None:
    """And not quoted: it may hold a password."""
    monkeypatch.setenv("HTTPS_PROXY", value)
    if said is None:
        assert proxy_for(HTTPS) == f"http://{value}"
        return
    with pytest.raises(UsageError, match=f"HTTPS_PROXY {said}") as refused:
        _ = Relay(HTTPS, "t").proxy
    assert "NO_PROXY=relay.example.com" in refused.value.hint
    assert value.removeprefix("http://") not in str(refused.value) or value == "http://"


@pytest.mark.parametrize(
    ("no_proxy", "url", "goes_without"),
    [
        ("relay.example.com", HTTPS, True),
        (" relay.example.com , other", HTTPS, True),
        ("example.com", HTTPS, True),
        (".example.com", HTTPS, True),
        ("*.example.com", HTTPS, True),
        ("ample.com", HTTPS, False),
        ("*", HTTPS, True),
        ("relay.example.com:8802", HTTP.replace("http:", "https:"), True),
        ("other.example.com", HTTPS, False),
        ("10.0.0.0/8", "https://10.1.2.3:8802", True),
        ("10.0.0.0/8", "https://11.1.2.3:8802", False),
        ("10.1.2.3", "https://10.1.2.3", True),
        ("fd00::/8", "https://[fd00::1]:8802", True),
        ("", HTTPS, False),
    ],
)
def test_what_is_reached_without_a_proxy(
    monkeypatch: pytest.MonkeyPatch, no_proxy: str, url: str, goes_without: bool
) -> None:
    given(monkeypatch, {"HTTPS_PROXY": PROXY, "NO_PROXY": no_proxy})
    assert (proxy_for(url) is None) == goes_without


async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
    writer.close()


@pytest.mark.parametrize("listens", [True, False])
async def test_api_and_tunnel_say_the_same_of_a_proxy(
    monkeypatch: pytest.MonkeyPatch, listens: bool
) -> None:
    """Not that the relay is away; and never its password."""
    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    place = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    if not listens:
        server.close()
        await server.wait_closed()
    monkeypatch.setenv("HTTPS_PROXY", f"http://ana:secret@{place}")
    said = "the proxy asks for a login (407)" if listens else f"the proxy {place} does not take"
    relay = Relay(HTTPS, "t")

    async with Api(relay) as api:
        with pytest.raises(RelayUnreachable) as refused:
            await api.whoami()
    with pytest.raises((OSError, WebSocketException)) as failed:
        await dial(relay)
    reason = of_failed_handshake(failed.value)
    server.close()

    assert isinstance(reason, Reason)
    for text in (str(refused.value), reason.text):
        assert said in text
        assert "secret" not in text
    assert refused.value.hint == reason.hint
