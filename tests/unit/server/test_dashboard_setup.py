"""What the setup page shows of the server."""

from __future__ import annotations

import re

import pytest

from relay_server.reported import DatabaseStatus, Replica, Standby, Unreached
from relay_server.store.sql.reports import SqlReports
from relay_server.values import Scope
from tests.unit.server.support import Served
from tests.unit.server.test_below_a_path import FORM, get, served

__all__ = ["served"]  # a fixture
SHARED = DatabaseStatus(
    "db1:5432",
    3,
    (Standby("<two>", "streaming", "sync", 2_048, 7), Standby("", "", "", None, None)),
    (
        Replica("a/1", "1.0", 0, 2_000, True, 0, 0, None, announced=True),
        Replica("b/2", "", 0, 7_200_000, False, 41, 1, 17, announced=True),
    ),
    (Unreached("a/1", "<c>", 1_782_907_200_000, "another server answers", "lead to it <alone>"),),
)


async def shown(served: Served, sent: str) -> str:
    """The setup page, as who is logged in sees it."""
    return (await get(served, "/dev/relay/setup", f"Cookie: {sent}")).body.decode()


async def logged_in(served: Served, name: str = "ana") -> str:
    """The cookies of an administrator."""
    token = await served.make_token(name, Scope.ADMIN)
    login = await get(served, "/dev/relay/login")
    [key] = re.findall('name="form_key" value="(.*?)"', login.body.decode())
    body = f"k={token}&form_key={key}"
    answer = await served.send(
        f"POST /dev/relay/login HTTP/1.1\r\nHost: example.com\r\n{FORM}Cookie: relay-login={key}"
        f"\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
    )
    cookies = [value for name, value in answer.headers if name == "Set-Cookie"]
    return "; ".join(cookie.partition(";")[0] for cookie in cookies)


async def test_servers_that_share_a_store_are_listed(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def shared(_: SqlReports) -> DatabaseStatus:
        return SHARED

    sent = await logged_in(served)
    alone = await shown(served, sent)
    monkeypatch.setattr(SqlReports, "database_status", shared)
    page = await shown(served, sent)

    assert "Servers of this store" not in alone
    text = " ".join(re.sub(r"<[^>]*>", " ", page).split())
    assert "a/1 1.0 2 s ago 0 0 b/2 gone 2 h ago 41 1" in text
    assert "The primary is db1:5432, of timeline 3." in text
    assert "a/1 cannot reach &lt;c&gt; since" in text
    assert ": another server answers lead to it &lt;alone&gt;" in text
    assert "Clients that share a subscription (--share)" in text
    overview = (await get(served, "/dev/relay/", f"Cookie: {sent}")).body.decode()
    assert "The server a/1 cannot reach &lt;c&gt;" in overview
    assert "Standby &lt;two&gt; : streaming · commits wait for it · 2" in text


async def test_a_time_of_another_day_has_its_date_without_a_script(served: Served) -> None:
    page = await shown(served, await logged_in(served))
    assert ">14:16:50</time>" in page
    served.clock.advance(24 * 3_600)
    page = await shown(served, await logged_in(served, "bia"))
    assert ">2026-07-02 14:00:10</time>" in page, "when Ana's token was made"
    assert ">14:16:50</time>" in page, "when this session was used"


async def test_each_command_has_its_button_that_copies_it(served: Served) -> None:
    page = await shown(served, await logged_in(served))
    commands = re.findall(r"<code([^>]*)>relay-[^<]+</code>( <button [^>]*data-copy-button)?", page)
    assert len(commands) == 5
    assert [one for one in commands if not all(one)] == []
