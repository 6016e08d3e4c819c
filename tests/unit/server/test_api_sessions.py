"""The JSON API's login links, and the sessions of the dashboard."""

from __future__ import annotations

from relay_server.links import LINK_MS
from relay_server.people import Session
from tests.support.clock import START_MS
from tests.unit.server.asking import Asking
from tests.unit.server.support import Served


async def begin(served: Served, name: str, token: str | None) -> None:
    now = served.context.clock.unix_ms()
    await served.context.store.begin_session(Session(name.encode(), token, now, now, "", "Firefox"))


async def test_a_link_logs_in_as_whoever_asked(served: Served, ana: Asking) -> None:
    made = await ana.ok("POST", "login-links")

    url, _, secret = made["url"].partition("/login#k=")
    assert url == served.context.settings.url
    assert made["expires_at"] >= START_MS + LINK_MS
    assert served.context.links.take(secret, "", served.context.clock.unix_ms()) == "ana"


async def test_people_see_and_end_their_own_sessions(
    served: Served, ana: Asking, admin: Asking
) -> None:
    await begin(served, "hers", "ana")
    await begin(served, "hosts", None)
    [hers] = (await ana.ok("GET", "sessions"))["sessions"]
    assert (hers["token"], hers["agent"]) == ("ana", "Firefox")
    both = (await admin.ok("GET", "sessions"))["sessions"]
    assert {session["token"] for session in both} == {"ana", None}

    [host] = [session["id"] for session in both if session["token"] is None]
    assert await ana.refused("DELETE", f"sessions/{host}") == (404, "session_not_found")
    assert (await ana("DELETE", f"sessions/{hers['id']}")).status == 204
    assert (await ana.ok("GET", "sessions"))["sessions"] == []
    assert (await admin("DELETE", f"sessions/{host}")).status == 204
