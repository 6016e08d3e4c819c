"""Signatures and addresses of senders: every rule that a channel has must be kept."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from tests.support import chatwoot
from tests.support.relay import Relay, open_relay
from tests.support.senders import request

BODY = chatwoot.fixture("message_created_incoming")
NEWER = "FIXTUREwebhookSECRET0002"


async def post(relay: Relay, **signing: Any) -> int:
    """Post a signed webhook, and give the answer's status."""
    fields = chatwoot.headers(BODY, **signing)
    return (await relay.send(chatwoot.webhook("/webhook", BODY, fields))).status


async def set_rules(relay: Relay, **rules: object) -> None:
    await relay.control("PATCH", "channels/chatwoot", rules)


async def test_a_signature_is_asked_for_and_checked(relay: Relay) -> None:
    await set_rules(relay, token=False, hmac_secrets=[chatwoot.SECRET])
    now = round(time.time())

    assert await post(relay) == 200
    assert await post(relay, timestamp=now - 290) == 200
    assert await post(relay, timestamp=now + 290) == 200
    assert await post(relay, signed=False) == 401
    assert await post(relay, secret=NEWER) == 401
    assert await post(relay, timestamp=now - 310) == 401
    assert await post(relay, timestamp=now + 310) == 401
    assert len(await relay.events()) == 3


async def test_a_changed_body_does_not_fit_its_signature(relay: Relay) -> None:
    await set_rules(relay, token=False, hmac_secrets=[chatwoot.SECRET])
    raw = chatwoot.webhook("/webhook", BODY, chatwoot.headers(BODY))

    assert (await relay.send(raw[:-1] + b" ")).status == 401


async def test_secrets_are_rotated_without_a_gap(relay: Relay) -> None:
    await set_rules(relay, token=False, hmac_secrets=[chatwoot.SECRET, NEWER])
    assert await post(relay) == 200
    assert await post(relay, secret=NEWER) == 200

    await set_rules(relay, hmac_secrets=[NEWER])

    assert await post(relay) == 401
    assert await post(relay, secret=NEWER) == 200


async def test_secrets_are_sealed_and_shown_nowhere(relay: Relay) -> None:
    await set_rules(relay, token=False, hmac_secrets=[chatwoot.SECRET])
    await post(relay, secret=NEWER)

    shown = str(await relay.control("GET", "channels/chatwoot")) + relay.server.errors
    files = b"".join(path.read_bytes() for path in relay.data_dir.glob("relay.db*"))

    assert chatwoot.SECRET not in shown
    assert chatwoot.SECRET.encode() not in files


async def test_only_allowed_networks_may_send(relay: Relay) -> None:
    await set_rules(relay, allow_from=["203.0.113.0/24", "2001:db8::/32"])
    forwarded = [("X-Forwarded-For", "203.0.113.9")]
    assert (await relay.send(request(token=relay.send_token))).status == 401
    forged = request(headers=forwarded, token=relay.send_token)
    assert (await relay.send(forged)).status == 401, "no proxy is known: the field is no proof"

    await set_rules(relay, allow_from=["127.0.0.0/8"])

    assert (await relay.send(request(token=relay.send_token))).status == 200


async def test_a_known_proxy_says_who_sends(tmp_path: Path) -> None:
    async with open_relay(tmp_path, trusted_proxies="127.0.0.0/8") as relay:
        await set_rules(relay, allow_from=["203.0.113.0/24"])
        for forwarded, status in [
            ("203.0.113.9", 200),
            ("198.51.100.1", 401),
            ("203.0.113.9, 198.51.100.1", 401),
            ("198.51.100.1, 203.0.113.9, 127.0.0.1", 200),
            ("nonsense", 401),
        ]:
            fields = [("X-Forwarded-For", forwarded)]
            answer = await relay.send(request(headers=fields, token=relay.send_token))
            assert answer.status == status, forwarded
        assert (await relay.send(request(token=relay.send_token))).status == 401


async def test_all_rules_of_a_channel_must_be_kept(relay: Relay) -> None:
    bearer = f"Bearer {relay.send_token}"
    await set_rules(relay, hmac_secrets=[chatwoot.SECRET], allow_from=["127.0.0.1/32"])

    assert await post(relay, authorization=bearer) == 200
    assert await post(relay) == 401
    assert await post(relay, authorization=bearer, signed=False) == 401
    assert await post(relay, authorization=bearer, secret=NEWER) == 401
    await set_rules(relay, allow_from=["192.0.2.0/24"])
    assert await post(relay, authorization=bearer) == 401
    assert len(await relay.events()) == 1
