"""What listens at a target instead of an app."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from relay_client.doctor.around import Care, Found
from relay_client.doctor.target import judged
from relay_client.errors import ClientError
from relay_http.poster import Poster
from relay_http.target import Target
from tests.support.certificates import make_certificate
from tests.support.raw_target import make_delivery, raw_target


@asynccontextmanager
async def greeting(said: bytes, heard: int = 1) -> AsyncIterator[int]:
    """A server that speaks first, and hangs up once it heard so many bytes: its port."""

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(said)
        await reader.read(heard)
        writer.close()

    server = await asyncio.start_server(speak, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def told(target: Target, within_s: float = 5.0) -> ClientError:
    """What a webhook comes to there."""
    poster = Poster(target, within_s, 1)
    try:
        found: Found = await judged(target, await poster.post(make_delivery()))
    finally:
        poster.close()
    assert isinstance(found, ClientError), found
    assert found.hint
    return found


@pytest.mark.parametrize("said", [b"SSH-2.0-OpenSSH_9.2\r\n", b"220 mail ESMTP\r\n"])
async def test_a_server_that_speaks_first(said: bytes) -> None:
    async with greeting(said) as port:
        error = await told(Target("127.0.0.1", port))
    assert str(error).endswith(f"speaks no HTTP: it greets with {said.decode().strip()}")


async def test_a_server_that_speaks_tls(tmp_path: Path) -> None:
    made = make_certificate(tmp_path)
    certificate = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificate.load_cert_chain(made.cert, made.key)
    async with raw_target(tls=certificate) as target:
        error = await told(target.target)
        assert str(error) == f"127.0.0.1:{target.port} speaks TLS, and was spoken to without"
        assert f"--to https://127.0.0.1:{target.port}" in error.hint

        untrusted = await told(Target("127.0.0.1", target.port, secure=True))
        assert "certificate" in str(untrusted)
        assert "--target-ca" in untrusted.hint


async def test_a_server_that_speaks_no_tls() -> None:
    async with raw_target() as target:
        error = await told(Target("127.0.0.1", target.port, secure=True))
        assert str(error) == f"127.0.0.1:{target.port} speaks no TLS"


async def test_a_server_that_waits_for_the_end_of_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """It answers no handshake of TLS, in which none comes."""
    monkeypatch.setattr("relay_client.doctor.target.LOOK_S", 0.1)
    async with greeting(b"", heard=-1) as port:
        error = await told(Target("127.0.0.1", port, secure=True), within_s=0.1)
    assert str(error) == f"127.0.0.1:{port} speaks no TLS"


@pytest.mark.parametrize(("asked", "there"), [("127.0.0.1", "::1"), ("::1", "127.0.0.1")])
async def test_an_app_at_the_other_loopback(asked: str, there: str) -> None:
    async with raw_target(host=there) as target:
        error = await told(Target(asked, target.port))
        assert f"is not listening, but {there} answers on that port" in str(error)
        assert f"--to localhost:{target.port}" in error.hint


async def test_a_target_that_is_not_there() -> None:
    async with raw_target() as target:
        port = target.port
    assert str(await told(Target("127.0.0.1", port))) == f"127.0.0.1:{port} is not listening"
    assert str(await told(Target("nobody.invalid", 80))) == "nobody knows the name nobody.invalid"


async def test_a_target_that_hangs_up() -> None:
    async with raw_target() as target:

        async def hang_up(_request: bytes, writer: asyncio.StreamWriter) -> None:
            writer.close()

        target.answer = hang_up
        assert "closed the connection" in str(await told(target.target))


async def test_an_answer_is_judged_without_a_look() -> None:
    async with raw_target() as target:
        target.answer = b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"
        poster = Poster(target.target, 5.0, 1)
        found = await judged(target.target, await poster.post(make_delivery()))
        poster.close()
        assert isinstance(found, Care)
        assert target.connections == 1
