"""Whoever may not come in learns nothing from the answer, and leaves nothing behind."""

from __future__ import annotations

import base64
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.support.relay import Relay, running
from tests.support.senders import Answer, handshake, request

WEBHOOK_PATHS = (
    "/webhook",
    "/webhook/x",
    "/c/chatwoot",
    "/c/chatwoot/webhook",
    "/c/unknown/webhook",
    "/c/unknown",
    "/c/..%2F/x",
)
API_PATHS = (
    "whoami",
    "status",
    "channels",
    "tokens",
    "events",
    "events/evt_1",
    "channels/chatwoot",
)


async def bad_tokens(relay: Relay) -> dict[str, str]:
    """Tokens that let nobody in, anywhere."""
    revoked = await relay.make_token("gone", "admin")
    await relay.control("DELETE", "tokens/gone")
    return {
        "empty": "",
        "wrong": "rly_" + "x" * 43,
        "revoked": revoked,
        "truncated": relay.send_token[:-1],
        "longer": relay.send_token + "x",
        "prefix": "rly_",
        "non-ASCII": "rly_sénha",
        "emoji": "👋",
        "long": "rly_" + "x" * 4_000,
    }


async def nothing_is_stored(relay: Relay) -> None:
    """Check that no channel has an event."""
    channels = (await relay.control("GET", "status"))["channels"]
    assert [channel["events"] for channel in channels] == [0] * len(channels)


async def test_a_bad_token_gets_the_same_answer_on_every_path(tmp_path: Path) -> None:
    relay = Relay(tmp_path)
    relay.constants.append(("relay_server.web.limits", "FAILURES", 100_000))
    async with running(relay):
        await _same_answer_everywhere(relay)


async def _same_answer_everywhere(relay: Relay) -> None:
    webhooks: dict[str, Answer] = {}
    others: dict[str, Answer] = {}
    for name, token in (await bad_tokens(relay)).items():
        basic = base64.b64encode(f"relay:{token}".encode()).decode()
        for path in WEBHOOK_PATHS:
            webhooks[f"{name} bearer {path}"] = await relay.send(request(path, token=token))
            fields = [("Authorization", f"Basic {basic}")]
            webhooks[f"{name} basic {path}"] = await relay.send(request(path, headers=fields))
            raw = request(f"{path}?token={quote(token)}")
            webhooks[f"{name} query {path}"] = await relay.send(raw)
        for path in API_PATHS:
            raw = request(f"/api/v1/{path}", b"", method="GET", token=token)
            others[f"{name} {path}"] = await relay.send(raw)
        others[f"{name} connect"] = await relay.send(handshake(token))
    for path in WEBHOOK_PATHS:
        webhooks[f"none {path}"] = await relay.send(request(path))

    for answers in (webhooks, others):
        expected = next(iter(answers.values()))
        assert (expected.status, expected.json["error"]["code"]) == (401, "unauthorized")
        different = {n: a for n, a in answers.items() if a.without_date != expected.without_date}
        assert different == {}
    assert len({answer.body for answer in (*webhooks.values(), *others.values())}) == 1
    await nothing_is_stored(relay)


async def test_a_good_token_is_good_only_for_what_it_is_for(relay: Relay) -> None:
    await relay.control("POST", "channels", {"name": "other"})
    reader = await relay.make_token("reader", "subscribe", "chatwoot")
    foreign = await relay.make_token("foreign", "send", "other")

    wrong = await relay.send(request(token="rly_wrong"))
    for token, raw in [
        ("reader", request(token=reader)),
        ("foreign", request(token=foreign)),
        ("foreign, by name", request("/c/chatwoot/webhook", token=foreign)),
        ("sender, unknown channel", request("/c/unknown/webhook", token=relay.send_token)),
        ("token as a name", request(headers=[("X-Token", relay.send_token)])),
    ]:
        assert (await relay.send(raw)).without_date == wrong.without_date, token
    sender, stranger = handshake(relay.send_token), handshake("rly_wrong")
    assert (await relay.send(sender)).without_date == (await relay.send(stranger)).without_date
    await nothing_is_stored(relay)
    assert (await relay.send(request("/c/other/webhook", token=foreign))).status == 200


async def test_a_revoked_sender_is_refused_from_then_on(relay: Relay) -> None:
    token = await relay.make_token("chatwoot", "send", "chatwoot")
    assert (await relay.send(request(token=token))).status == 200

    await relay.control("DELETE", "tokens/chatwoot")

    assert (await relay.send(request(token=token))).status == 401
    assert len(await relay.events()) == 1


@pytest.mark.parametrize("origin", ["http://evil.example", "null", ""])
async def test_a_browser_cannot_handshake(relay: Relay, origin: str) -> None:
    token = await relay.make_token("ana", "subscribe")

    answer = await relay.send(handshake(token, ("Origin", origin)))
    without = await relay.send(handshake(token))

    assert answer.status == 403
    assert without.status == 101


async def test_a_reader_cannot_administer(relay: Relay) -> None:
    token = await relay.make_token("ana", "subscribe", "chatwoot")
    for method, path in [
        ("GET", "tokens"),
        ("POST", "tokens"),
        ("DELETE", "tokens/ana"),
        ("POST", "channels"),
        ("PATCH", "channels/chatwoot"),
        ("DELETE", "channels/chatwoot"),
        ("POST", "backup"),
    ]:
        raw = request(f"/api/v1/{path}", b"{}", method=method, token=token)
        assert (await relay.send(raw)).status == 403, path


async def test_what_is_no_request_is_answered_without_an_echo(relay: Relay) -> None:
    token = relay.send_token
    for raw in [
        b"G@T /webhook?token=%b HTTP/1.1\r\n\r\n" % token.encode(),
        b"POST /webhook?token=%b HTTP/9\r\n\r\n" % token.encode(),
        b"POST /webhook HTTP/1.1\r\nbad header %b\r\n\r\n" % token.encode(),
        request("/webhook?" + token + "x" * 9_000),
        request(headers=[(f"X-{n}", "x" * 1_000) for n in range(70)], token=token),
        request(headers=[(f"X-{n}", "x") for n in range(200)], token=token),
        request("/nowhere?token=" + token),
        request("/api/v1/nowhere?token=" + token),
    ]:
        answer = await relay.send(raw)
        assert 400 <= answer.status < 500, (answer, raw[:60])
        assert token.encode() not in answer.body
        assert "error" in answer.json
    assert token not in relay.server.errors
    await nothing_is_stored(relay)


async def test_wrong_tokens_are_told_to_stay_away_and_good_ones_are_not(relay: Relay) -> None:
    wrong = [
        request(token="rly_wrong"),
        request("/c/unknown/x"),
        request("/api/v1/whoami", b"", method="GET", token="rly_wrong"),
        handshake("rly_wrong"),
    ]
    answers = [await relay.send(raw) for _ in range(10) for raw in wrong]
    assert [answer.status for answer in answers] == [401] * 20 + [429] * 20
    assert {answer.json["error"]["code"] for answer in answers[20:]} == {"too_many_failures"}
    assert all(0 < int(dict(a.headers)["Retry-After"]) <= 60 for a in answers[20:])
    assert (await relay.send(request(token=relay.send_token))).status == 200
    reader = await relay.make_token("reader", "subscribe")
    assert (await relay.send(handshake(reader))).status == 101
    assert (await relay.send(wrong[0])).status == 429
