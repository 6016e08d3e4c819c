"""Behind nginx and Caddy, with the configurations of docs/how-to/proxies.md as they stand there."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from tests.support.fronts import Proxied, behind_caddy, behind_nginx
from tests.support.target import Target

SOON_S = 50.0  # for what streams; held back it would take a minute
BODY = b'{"event":"message_created","content":"ol\xc3\xa1"}\n'
Opened = Callable[..., AbstractAsyncContextManager[Proxied]]


@asynccontextmanager
async def visiting(proxied: Proxied) -> AsyncIterator[aiohttp.ClientSession]:
    """A client with cookies, which trusts the proxy."""
    trusted = ssl.create_default_context(cafile=proxied.ca_file)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trusted)) as session:
        yield session


async def read_until(answer: aiohttp.ClientResponse, wanted: bytes) -> bytes:
    """Read a stream until something is in it."""
    found = b""
    async with asyncio.timeout(SOON_S):
        while wanted not in found:
            found += await answer.content.readany()
    return found


@pytest.mark.parametrize("path", ["", "/relay"])
@pytest.mark.parametrize("opened", [behind_nginx, behind_caddy])
async def test_webhooks_tunnel_feed_and_pages_pass_as_they_are(
    tmp_path: Path, target: Target, opened: Opened, path: str
) -> None:
    async with opened(tmp_path, path) as proxied, visiting(proxied) as visitor:
        relay = proxied.relay
        token = await relay.make_token("ana", "subscribe", "chatwoot")
        ca = str(proxied.ca_file)
        client = await relay.connect(token, "--ca-file", ca, "--to", f"localhost:{target.port}")
        bearer = {"Authorization": f"Bearer {token}"}
        async with visitor.get(f"{relay.url}/api/v1/feed?state=1", headers=bearer) as feed:
            await read_until(feed, b"event: beat")
            answer = await visitor.post(
                f"{relay.url}/webhook?a=1",
                data=BODY,
                headers={"Authorization": f"Bearer {relay.send_token}"},
            )
            assert answer.status == 200
            await read_until(feed, b'"delivered"')
        await client.said("delivered")
        [arrival] = target.arrivals
        assert (arrival.request_target, arrival.body) == ("/webhook?a=1", BODY)
        assert arrival.header(b"X-Forwarded-For") == b"127.0.0.1"
        assert arrival.header(b"X-Forwarded-Proto") == b"https"

        login = await visitor.get(f"{relay.url}/login?then=%2Fchannels%2Fchatwoot")
        [key] = re.findall('name="form_key" value="(.*?)"', await login.text())
        page = await visitor.post(
            f"{relay.url}/login",
            data={"k": token, "form_key": key, "then": "/channels/chatwoot"},
            headers={"Sec-Fetch-Site": "same-origin"},
        )
        assert str(page.url) == f"{relay.url}/channels/chatwoot"
        assert "message_created" in await page.text()
        [session] = [one for one in visitor.cookie_jar if one.key.endswith("-relay")]
        assert (session.key, session["path"], session["secure"]) == (
            ("__Secure-relay", path, True) if path else ("__Host-relay", "/", True)
        )
