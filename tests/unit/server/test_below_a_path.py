"""A public URL with a path: all that the server has stands below it, over real sockets."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from relay_server.errors import InvalidValue
from relay_server.listening import check_base, public_app
from relay_server.values import Scope
from tests.support.clock import VirtualClock
from tests.support.senders import Answer, request
from tests.support.stores import MemoryStore
from tests.unit.server.support import Served, make_context, serve_front

URL = "https://example.com/dev/relay"
FORM = "Content-Type: application/x-www-form-urlencoded\r\nSec-Fetch-Site: same-origin\r\n"


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    async with serve_front(tmp_path, public_url=URL) as served:
        yield served


async def get(served: Served, path: str, *fields: str) -> Answer:
    """What a browser is answered, by a proxy on another machine that ends TLS."""
    lines = "".join(f"{field}\r\n" for field in fields)
    return await served.send(f"GET {path} HTTP/1.1\r\nHost: example.com\r\n{lines}\r\n".encode())


@pytest.mark.parametrize(
    "target",
    [
        "/dev/relay/webhook?a=/dev/relay",
        "/webhook?a=/dev/relay",  # of a proxy that cuts the path off
        "http://example.com/dev/relay/webhook?a=/dev/relay",
    ],
)
async def test_a_target_is_the_same_however_a_proxy_hands_it_on(
    served: Served, target: str
) -> None:
    answer = await served.send(request(target, token=served.token))
    assert answer.status == 200
    [event] = await served.events()
    assert event.head.request.request_target == "/webhook?a=/dev/relay"


@pytest.mark.parametrize("target", ["/dev/relayed/webhook", "/dev/webhook", "/x/dev/relay/webhook"])
async def test_what_only_looks_like_it_is_not_there(served: Served, target: str) -> None:
    assert (await served.send(request(target))).status == 404
    assert await served.events() == []


async def test_the_api_says_where_it_stands(served: Served) -> None:
    token = await served.make_token("ana", Scope.ADMIN)
    bearer = f"Authorization: Bearer {token}"
    assert (await get(served, "/dev/relay/health/live")).status == 200
    assert (await get(served, "/dev/relay/api/v1/status", bearer)).json["public_url"] == URL
    described = (await get(served, "/dev/relay/api/v1/openapi.json")).json
    assert described["servers"] == [{"url": "/dev/relay"}]
    assert f"pipx install {URL}/client/" in (await get(served, "/dev/relay/client")).body.decode()
    invitation = (await get(served, f"/dev/relay/i/{'a' * 32}")).body.decode()
    assert f"relay-client login {URL}/i/" in invitation


async def test_pages_lead_nowhere_else(served: Served) -> None:
    token = await served.make_token("ana", Scope.ADMIN)
    for path in ("/dev/relay", "/dev/relay/", "/dev/relay/setup"):
        answer = await get(served, path)
        assert answer.status == 303
        assert dict(answer.headers)["Location"].startswith("/dev/relay/login?then=%2F")
    login = await get(served, "/dev/relay/login?then=%2Fsetup")
    [key] = re.findall('name="form_key" value="(.*?)"', login.body.decode())
    body = f"k={token}&form_key={key}&then=%2Fsetup"
    answer = await served.send(
        f"POST /dev/relay/login HTTP/1.1\r\nHost: example.com\r\n{FORM}Cookie: relay-login={key}"
        f"\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
    )
    assert dict(answer.headers)["Location"] == "/dev/relay/setup"
    cookies = [value for name, value in answer.headers if name == "Set-Cookie"]
    assert all("Path=/dev/relay" in cookie for cookie in cookies), cookies
    [session] = [cookie.partition(";")[0] for cookie in cookies if "__Secure-relay=" in cookie]
    page = (await get(served, "/dev/relay/setup", f"Cookie: {session}")).body.decode()
    assert f"{URL}/webhook" in page
    links = re.findall(r'(?:href|action|src|data-marks)="(/[^"]*)"', page)
    assert len(links) > 10
    assert [link for link in links if not link.startswith("/dev/relay/")] == []
    [script] = [link for link in links if link.endswith(".js")]
    assert (await get(served, script)).status == 200


@pytest.mark.parametrize("path", ["/webhook", "/c/relay", "/api", "/events", "/assets/relay"])
async def test_a_path_that_could_be_read_in_two_ways_is_refused(tmp_path: Path, path: str) -> None:
    app = public_app(make_context(MemoryStore(), tmp_path, VirtualClock(now=1.0)))
    with pytest.raises(InvalidValue, match="choose another"):
        check_base(path, app)
