"""Whoever may not come in learns nothing from the answer, and leaves nothing behind."""

from __future__ import annotations

import base64
from pathlib import Path
from urllib.parse import quote

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
