"""Who may send: the rules of a channel, and that whoever is refused learns and leaves nothing."""

from __future__ import annotations

import base64
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tests.support import chatwoot
from tests.support.relay import Relay, open_relay, running
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

BODY = chatwoot.fixture("message_created_incoming")
NEWER = "FIXTUREwebhookSECRET0002"


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


async def post(relay: Relay, **signing: Any) -> int:
    """Post a signed webhook, and give the answer's status."""
    fields = chatwoot.headers(BODY, **signing)
    return (await relay.send(chatwoot.webhook("/webhook", BODY, fields))).status


async def set_rules(relay: Relay, **rules: object) -> None:
    await relay.control("PATCH", "channels/chatwoot", rules)


async def test_all_rules_of_a_channel_must_be_kept(relay: Relay) -> None:
    bearer, now = f"Bearer {relay.send_token}", round(time.time())
    await set_rules(relay, hmac_secrets=[chatwoot.SECRET], allow_from=["127.0.0.1/32"])

    assert await post(relay, authorization=bearer) == 200
    assert await post(relay) == 401
    assert await post(relay, authorization=bearer, signed=False) == 401
    assert await post(relay, authorization=bearer, secret=NEWER) == 401
    assert await post(relay, authorization=bearer, timestamp=now - 310) == 401
    await set_rules(relay, allow_from=["192.0.2.0/24"])
    assert await post(relay, authorization=bearer) == 401
    assert len(await relay.events()) == 1


async def test_secrets_are_rotated_without_a_gap(relay: Relay) -> None:
    await set_rules(relay, token=False, hmac_secrets=[chatwoot.SECRET, NEWER])
    assert await post(relay) == 200
    assert await post(relay, secret=NEWER) == 200

    await set_rules(relay, hmac_secrets=[NEWER])

    assert await post(relay) == 401
    assert await post(relay, secret=NEWER) == 200


async def test_who_sends_is_the_peer_unless_a_known_proxy_says_otherwise(tmp_path: Path) -> None:
    for known, cases in (
        ({}, {"203.0.113.9": 401, "": 401}),
        (
            {"trusted_proxies": "127.0.0.0/8"},
            {
                "203.0.113.9": 200,
                "203.0.113.9, 198.51.100.1": 401,
                "198.51.100.1, 203.0.113.9, 127.0.0.1": 200,
                "nonsense": 401,
                "": 401,
            },
        ),
    ):
        async with open_relay(tmp_path / str(len(known)), **known) as relay:
            await set_rules(relay, allow_from=["203.0.113.0/24"])
            for forwarded, status in cases.items():
                fields = [("X-Forwarded-For", forwarded)] if forwarded else []
                answer = await relay.send(request(headers=fields, token=relay.send_token))
                assert answer.status == status, forwarded
