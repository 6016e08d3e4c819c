"""Invitations by the API and in a browser: made by who may, good once, telling guessers nothing."""

from __future__ import annotations

import pytest

from relay_server.operations.invitations import LIFETIME_MS
from relay_server.web.limits import FAILURES
from tests.support.senders import Answer, request
from tests.unit.server.asking import Asking, Json
from tests.unit.server.support import Served

EVA: Json = {"name": "eva", "channels": ["chatwoot"]}


@pytest.fixture
async def code(admin: Asking) -> str:
    """Of an open invitation for eva."""
    made = await admin.ok("POST", "invitations", EVA)
    return str(made["url"]).rpartition("/i/")[2]


async def accept(served: Served, code: str, **more: str) -> Answer:
    return await Asking(served, None)("POST", "invitations/accept", {"code": code, **more})


async def test_an_invitation_makes_a_token_of_its_own(
    served: Served, admin: Asking, code: str
) -> None:
    made = await accept(served, code, nonce="n")
    lost = await accept(served, code, nonce="n")

    eva = Asking(served, made.json["token"])
    assert (made.status, lost.json) == (201, made.json)
    who = await eva.ok("GET", "whoami")
    assert (who["name"], who["scopes"], who["channels"]) == ("eva", ["subscribe"], ["chatwoot"])
    [listed] = (await admin.ok("GET", "invitations"))["invitations"]
    assert (listed["state"], listed["used_at"] is None) == ("used", False)
    noted = (await admin.ok("GET", "audit"))["entries"]
    assert [(n["action"], n["what"]) for n in noted[-2:]] == [
        ("invitation.accept", "eva"),
        ("invitation.create", "eva"),
    ]
    assert noted[-2]["address"] == "127.0.0.1"
    kept = str(noted) + str(served.store.database.all("invitations", digest=None))
    assert code not in kept
    assert made.json["token"] not in kept


async def test_nothing_is_made_of_one_that_is_used_late_withdrawn_or_wrong(
    served: Served, admin: Asking, code: str
) -> None:
    async def refused(code: str, **more: str) -> tuple[int, str]:
        answer = await accept(served, code, **more)
        return answer.status, answer.json["error"]["code"]

    assert (await accept(served, code)).status == 201
    assert await refused(code) == (410, "invitation_used")
    assert await refused(code, nonce="other") == (410, "invitation_used")
    assert await refused("0" * 32) == await refused("") == (401, "invitation_unknown")

    for name, then in (("late", LIFETIME_MS), ("gone", 0)):
        made = await admin.ok("POST", "invitations", EVA | {"name": name})
        if name == "gone":
            await admin.ok("DELETE", "invitations/gone")
        served.clock.advance(then / 1_000)
        status = await refused(made["url"][-32:])
        assert status == ((410, "invitation_expired") if then else (401, "invitation_unknown"))
    assert [t.name for t in served.store.catalog.tokens.values()] == ["sender", "root", "eva"]


async def test_guessers_are_slowed_down_and_whoever_was_invited_is_not(
    served: Served, code: str
) -> None:
    for _ in range(FAILURES):
        assert (await accept(served, "f" * 32)).status == 401
    assert (await accept(served, "f" * 32)).status == 429
    assert (await accept(served, code)).status == 201


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
async def test_to_look_at_one_uses_nothing_up(served: Served, code: str, method: str) -> None:
    for _ in range(3):
        answer = await served.send(request(f"/i/{code}", method=method, token=None))
        assert answer.status == (200 if method == "GET" else 405)
    assert (await accept(served, code)).status == 201


async def test_the_page_says_what_to_type_and_is_kept_by_nobody(served: Served, code: str) -> None:
    shown = await served.send(request(f"/i/{code}", method="GET", token=None))
    wrong = await served.send(request(f"/i/{'0' * 32}", method="GET", token=None))

    headers = dict(shown.headers)
    assert f"relay-client login http://localhost:8802/i/{code}".encode() in shown.body
    assert wrong.body.replace(b"0" * 32, code.encode()) == shown.body, "it tells nothing of it"
    assert (headers["Cache-Control"], headers["Referrer-Policy"]) == ("no-store", "no-referrer")
    assert headers["Content-Security-Policy"].startswith("default-src 'none';")
    assert b"<script" not in shown.body
    other = await served.send(request("/i/<script>", method="GET", token=None))
    assert (other.status, b"<script" in other.body) == (404, False)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"name": "root"}, (409, "token_exists")),
        ({"name": "E"}, (422, "invalid_value")),
        ({"channels": []}, (422, "invalid_value")),
        ({"channels": ["none"]}, (404, "channel_not_found")),
        ({"scopes": ["admin"]}, (422, "invalid_value")),
    ],
)
async def test_invitations_that_are_impossible(
    admin: Asking, body: Json, expected: tuple[int, str]
) -> None:
    assert await admin.refused("POST", "invitations", EVA | body) == expected


async def test_only_administrators_invite(served: Served, ana: Asking) -> None:
    for method, path in (("GET", ""), ("POST", ""), ("DELETE", "/eva")):
        assert await ana.refused(method, f"invitations{path}", EVA) == (403, "forbidden")
    nobody = Asking(served, None)
    assert await nobody.refused("POST", "invitations", EVA) == (401, "unauthorized")


async def test_a_nonce_has_a_bound(served: Served, code: str) -> None:
    assert (await accept(served, code, nonce="n" * 129)).status == 422
