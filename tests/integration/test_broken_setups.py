"""Each way in which a set-up can be broken: doctor names the cause in the first line that fails.

Real processes, with a proxy or a target between them that does one thing wrong.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from relay_protocol.codec import encode
from relay_protocol.messages import Hello, Wanted
from tests.support import middlebox
from tests.support.certificates import make_certificate
from tests.support.chatwoot import message
from tests.support.middlebox import Manner, open_middlebox
from tests.support.processes import free_port
from tests.support.raw_target import raw_target
from tests.support.relay import Relay
from tests.support.senders import request
from tests.support.target import BROKEN, Target, always
from tests.support.waiting import until


async def said(relay: Relay, token: str, *arguments: str) -> tuple[int, str]:
    """What doctor ends with, and all that it prints."""
    doctor = relay.begin_client(token, "doctor", *arguments)
    return await doctor.exit_status(), doctor.output


async def cause(relay: Relay, token: str, *arguments: str) -> str:
    """The first line that fails, and the arrow below it."""
    status, output = await said(relay, token, *arguments)
    lines = output.splitlines()
    failing = [n for n, line in enumerate(lines) if line.startswith("FAILED")]
    assert status != 0, output
    assert failing, output
    first, arrow = lines[failing[0] : failing[0] + 2]
    assert arrow.strip().startswith("-> "), output
    return f"{first} {arrow}"


@pytest.fixture
async def token(relay: Relay) -> str:
    """Of ana, who reads the channel."""
    return await relay.make_token("ana", "subscribe", "chatwoot")


@pytest.mark.parametrize(
    ("manner", "step", "words"),
    [
        ("DROPS_UPGRADE", "websocket", "a proxy in between passes no WebSockets on (400)"),
        ("BAD_GATEWAY", "websocket", "a proxy answers that the relay is not there for WebSockets"),
        ("HOLDS_SOCKETS", "websocket", "what stands in between holds it back"),
        ("HOLDS_STREAM", "websocket", "what stands in between holds it back"),
        ("ALL_BAD_GATEWAY", "relay", "a proxy, or another web server (nginx) answers"),
        ("OTHER_SERVER", "relay", "answered 404: a proxy, or another web server (nginx)"),
        ("LOGIN_PAGE", "relay", "points elsewhere (302)"),
        ("WEB_PAGE", "relay", "a web page answers at"),
        ("PASSWORD", "relay", "asks for a login that is not the relay's (401)"),
        ("CLOCK_AHEAD", "clocks", "this machine's clock is"),
    ],
)
async def test_a_proxy_that_does_one_thing_wrong(
    relay: Relay, token: str, target: Target, manner: str, step: str, words: str
) -> None:
    async with open_middlebox(relay.port, getattr(middlebox, manner)) as url:
        found = await cause(relay, token, "--url", url, "--to", target.address)
    assert found.startswith(f"FAILED  {step} "), found
    assert words in found


async def test_a_proxy_that_holds_the_feed_back_is_only_told_of(
    relay: Relay, token: str, target: Target
) -> None:
    """Webhooks come all the same."""
    async with open_middlebox(relay.port, middlebox.HOLDS_FEED) as url:
        status, output = await said(relay, token, "--url", url, "--to", target.address)
    assert status == 0, output
    assert "the live feed is held back" in output
    assert "proxy_buffering off" in output


async def test_a_proxy_that_cuts_is_told_of_while_it_cuts_and_later(
    relay: Relay, token: str, target: Target
) -> None:
    """Nothing is lost meanwhile."""
    async with open_middlebox(relay.port, middlebox.CUTS) as url:
        client = await relay.connect(token, "--url", url, "--to", target.address)
        await client.said("warning")
        await relay.send(message(relay.send_token, 152, 1))
        await target.received(1)
        client.terminate()
        assert await client.exit_status() == 0
        found = await cause(relay, token, "--url", url)

    [warning] = client.lines("warning")
    assert warning["text"].startswith("the connection lasts 0."), warning
    assert "a proxy in between cuts it" in warning["text"]
    assert found.startswith("FAILED  connections "), found
    assert "a proxy in between cuts it" in found


@asynccontextmanager
async def behind_tls(relay: Relay, days: float = 1) -> AsyncIterator[tuple[str, str]]:
    """The relay behind a proxy that ends TLS: its URL, and a file with its certificate."""
    made = make_certificate(relay.folder, days=days)
    certificate = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificate.load_cert_chain(made.cert, made.key)
    async with open_middlebox(relay.port, Manner(), certificate) as url:
        yield url.replace("127.0.0.1", "localhost"), str(made.cert)


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        ("untrusted", ("its certificate is not trusted", "--ca-file")),
        ("expired", ("certificate has expired", "Renew it where TLS ends")),
        ("of another name", ("mismatch", "a name that the certificate is for")),
        ("http to https", ("speaks no HTTP", "https://")),
        ("https to http", ("speaks no TLS", "http://")),
    ],
)
async def test_a_certificate_or_scheme_that_is_wrong(
    relay: Relay, token: str, broken: str, words: tuple[str, str]
) -> None:
    async with behind_tls(relay, -1 if broken == "expired" else 1) as (url, certificate):
        url = {
            "of another name": url.replace("localhost", "127.0.0.1"),
            "http to https": url.replace("https", "http"),
            "https to http": relay.url.replace("http", "https"),
        }.get(broken, url)
        trust = [] if broken == "untrusted" else ["--ca-file", certificate]
        found = await cause(relay, token, "--url", url, *trust)
    assert found.startswith("FAILED  relay "), found
    assert all(word in found for word in words), found


async def test_a_relay_that_is_not_where_the_url_says(relay: Relay, token: str) -> None:
    for url, step, words in (
        ("http://nobody.invalid", "relay", "its name is not known"),
        (f"http://127.0.0.1:{free_port()}", "relay", "cannot be reached"),
        (f"http://127.0.0.1:{relay.ops_port}", "token", "is the relay's ops port"),
    ):
        found = await cause(relay, token, "--url", url)
        assert found.startswith(f"FAILED  {step} "), found
        assert words in found


async def test_a_token_that_may_not_read_is_named_by_every_command(
    relay: Relay, target: Target
) -> None:
    named = "the token sender may only send"
    found = await cause(relay, relay.send_token)
    assert found.startswith(f"FAILED  token          {named} "), found
    for command in (
        ["connect", "--to", target.address],
        ["channels"],
        ["status"],
        ["events"],
        ["replays"],
    ):
        client = relay.begin_client(relay.send_token, *command)
        assert await client.exit_status() == 4, command
        assert f"Error: {named}" in client.errors, command
        assert "Ask for one with the scope subscribe." in client.errors
    assert (await cause(relay, "rly_wrong")).startswith("FAILED  token          the relay does not")


async def test_a_subscription_that_gets_nothing(relay: Relay, token: str, target: Target) -> None:
    async with (
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as session,
        session.ws_connect(f"{relay.url}/connect", protocols=("relay.v1",)) as other,
    ):
        hello = Hello("0.1.0", "desk", (Wanted("chatwoot"),), 1)
        await other.send_bytes(encode(hello))
        await other.receive_bytes()
        found = await cause(relay, token, "--to", target.address)
        assert "another client holds ana of chatwoot: it is connected from desk" in found
        assert "--as NAME" in found

    await relay.control("POST", "channels/chatwoot/subscriptions/ana/pause")
    found = await cause(relay, token, "--to", target.address)
    assert "ana of chatwoot is paused: paused by hand, since 20" in found
    _, listed, _ = relay.command("subscription", "list")
    assert "ana of chatwoot is paused: paused by hand, since 20" in " ".join(listed.split())
    assert "relay-client resume --channel chatwoot --as ana" in found

    await relay.send(request(token=relay.send_token))
    await relay.control("PATCH", "channels/chatwoot", {"max_bytes": 1})
    found = await cause(relay, token)
    assert "the channel chatwoot is full: its webhooks are refused" in found


@asynccontextmanager
async def of_ssh() -> AsyncIterator[str]:
    """A target that is none: an SSH server's address."""

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.2p1\r\n")
        await reader.read()
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


@asynccontextmanager
async def at_the_other_loopback() -> AsyncIterator[str]:
    async with raw_target(host="::1") as target:
        yield f"127.0.0.1:{target.port}"


@asynccontextmanager
async def that_hangs() -> AsyncIterator[str]:
    async def never(_request: bytes, _writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    async with raw_target() as target:
        target.answer = never
        yield f"127.0.0.1:{target.port}"


@asynccontextmanager
async def at(address: str) -> AsyncIterator[str]:
    yield address


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (of_ssh, "speaks no HTTP: it greets with SSH-2.0-OpenSSH_9.2p1"),
        (at_the_other_loopback, "is not listening, but ::1 answers on that port"),
        (that_hangs, "the target did not answer within 1 s"),
        (lambda: at("nobody.invalid:8000"), "nobody knows the name nobody.invalid"),
        (lambda: at(f"127.0.0.1:{free_port()}"), "is not listening"),
    ],
)
async def test_a_target_that_is_none(
    relay: Relay, token: str, make: Callable[[], AbstractAsyncContextManager[str]], words: str
) -> None:
    async with make() as address:
        found = await cause(relay, token, "--to", address, "--timeout", "1")
    assert found.startswith("FAILED  target "), found
    assert words in found


async def test_an_app_that_fails_is_a_warning(relay: Relay, token: str, target: Target) -> None:
    target.answer = always(BROKEN)
    status, output = await said(relay, token, "--to", target.address)
    assert status == 0
    assert f"warning target         http://{target.address} answered 500" in output


@pytest.mark.parametrize(("version", "said_of_it"), [("9.9.9", "older"), ("0.0.1", "newer")])
async def test_ends_of_different_versions_say_so_and_work(
    relay: Relay, token: str, target: Target, version: str, said_of_it: str
) -> None:
    for module in ("reasons", "connect", "doctor.canary"):
        relay.client_constants.append((f"relay_client.{module}", "__version__", version))
    status, output = await said(relay, token, "--to", target.address)
    assert status == 0, output
    assert f"the relay has version 0.1.0, {said_of_it} than this client's {version}" in output

    client = await relay.connect(token, "--to", target.address)
    await relay.send(message(relay.send_token, 152, 1))
    await target.received(2)
    assert [said_of_it in line["text"] for line in client.lines("warning")] == [True]
    await until(lambda: "client of another version" in relay.server.errors)


def test_these_are_all_on_the_page() -> None:
    """What a step can say is a row of the page on trouble."""
    page = Path("docs/how-to/trouble.md").read_text("utf-8")
    around = ("relay", "token", "version", "clocks", "connections", "channel", "subscription")
    for step in (*around, "websocket", "delivery", "target", "result"):
        assert f"| `{step}` |" in page
