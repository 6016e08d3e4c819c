"""Signed webhooks at the public port: every scheme, challenges, and what lists then show."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import pytest
from structlog.testing import capture_logs

from relay_protocol.values import RequestHead
from relay_server.configs import HmacAuth, SenderKind
from relay_server.operations import Caller
from relay_server.operations.proofs import SignedBy, secrets_of, signed_by
from relay_server.signing import SCHEMES, sign
from relay_server.values import Scope
from tests.support.senders import request
from tests.unit.server.asking import Asking
from tests.unit.server.support import Served, refused

SECRET = b"c2VjcmV0"  # also one of Standard Webhooks'
BODY = b'{"type": "invoice.paid", "event": {"type": "message"}, "update_id": 5, "object": "page"}'
HUB = "hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token="
ASKS = json.dumps({"type": "url_verification", "challenge": "3eZbrw1aBm2r"}).encode()


async def signs(served: Served, scheme: str, **more: Any) -> None:
    """Have the channel ask for signatures, and for no token."""
    hmac = HmacAuth(scheme, (served.context.sealer.seal(SECRET),), **more)
    await served.configure(hmac=hmac, token=False, sender=SenderKind(scheme))


def signed(
    served: Served,
    scheme: str,
    body: bytes = BODY,
    target: str = "/webhook",
    fields: Mapping[str, str] = MappingProxyType({}),
) -> bytes:
    """A request as this provider would make it, now, of this server."""
    said = {"Host": "relay.example.com", **fields}
    if scheme == "twilio":
        said["Content-Type"] = "application/x-www-form-urlencoded"
    raw = tuple((name.encode(), value.encode()) for name, value in said.items())
    head, now_s = RequestHead("POST", target, raw), served.clock.unix_ms() // 1_000
    proven = sign(SCHEMES[scheme], SECRET, head, body, now_s, "msg_1")
    headers = [(name.decode(), value.decode()) for name, value in proven[1:]]  # has a Host
    return request(target, body, headers)


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_what_a_sender_signed_is_stored(served: Served, scheme: str) -> None:
    """What somebody else signed, or nobody, is not; and in log-only mode all is."""
    await signs(served, scheme)
    await refused(served, request(body=BODY), 401, "unauthorized", whole=True)
    if scheme == "twilio":
        elsewhere = signed(served, scheme).replace(b"/webhook", b"/webhook/x", 1)
        await refused(served, elsewhere, 401, "unauthorized", whole=True)
    assert (await served.send(signed(served, scheme))).status == 200
    assert len(await served.events()) == 1
    await signs(served, scheme, log_only=True)
    with capture_logs() as logs:
        assert (await served.send(request(body=BODY))).status == 200
    [entry] = [entry for entry in logs if entry["event"] == "signature wrong, let through"]
    assert entry["reason"].removeprefix("no ").encode() in SCHEMES[scheme].fields


@pytest.mark.parametrize(
    ("sender", "fields", "kind"),
    [
        ("github", {"X-GitHub-Event": "pull_request"}, "pull_request"),
        ("gitlab", {"X-Gitlab-Event": "Push Hook"}, "Push Hook"),
        ("shopify", {"X-Shopify-Topic": "orders/create"}, "orders/create"),
        ("stripe", {}, "invoice.paid"),
        ("standard-webhooks", {}, "invoice.paid"),
        ("slack", {}, "message"),
        ("meta", {}, "page"),
        ("telegram", {}, "type"),
        ("twilio", {}, ""),
        ("github", {}, ""),
    ],
)
async def test_what_happened_is_named_as_the_sender_names_it(
    served: Served, sender: str, fields: dict[str, str], kind: str
) -> None:
    await signs(served, sender)
    await served.send(signed(served, sender, fields=fields))
    [event] = await served.events()
    assert (event.head.kind, event.head.key) == (kind, "")


@pytest.mark.parametrize("field", ["X-Shopify-Webhook-Id", "I-Twilio-Idempotency-Token"])
async def test_what_a_sender_sends_again_is_stored_once(served: Served, field: str) -> None:
    await signs(served, "shopify")
    answers = [await served.send(signed(served, "shopify", fields={field: "5"})) for _ in range(2)]
    assert {answer.status for answer in answers} == {200}
    assert len(await served.events()) == 1


async def test_twilio_s_url_is_the_one_that_was_asked_for(served: Served) -> None:
    """With the relay's token in it, which no target sees."""
    await signs(served, "twilio")
    await served.configure(token=True)
    target = f"/c/chatwoot/sms?token={served.token}"
    assert (await served.send(signed(served, "twilio", b"a=1&b=2", target))).status == 200
    [event] = await served.events()
    assert event.head.request.request_target == "/sms"


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_long_after_it_came_one_is_told_which_secret_signed_it(
    served: Served, scheme: str
) -> None:
    seal, who = served.context.sealer.seal, Caller(served.context)
    sealed = seal(b"b3RoZXI="), seal(SECRET)
    await served.configure(hmac=HmacAuth(scheme, sealed), token=False)
    body = b"a=1" if scheme == "twilio" else BODY
    await served.send(signed(served, scheme, body, "/c/chatwoot/hooks?a=1"))
    [event] = await served.events()
    served.clock.advance(86_400)

    id_ = secrets_of(who, "chatwoot")[1].id
    assert await signed_by(who, event.head.id) == SignedBy(2, 2, id_)
    await served.make_token("ana", Scope.SUBSCRIBE)
    ana = next(one for one in served.store.catalog.tokens.values() if one.name == "ana")
    assert await signed_by(Caller(served.context, ana), event.head.id) == SignedBy(2, 2)

    await served.configure(hmac=HmacAuth(scheme, sealed[:1]))
    # Of Twilio's nobody can tell: it may have signed a URL with a token in it.
    none = None if scheme == "twilio" else SignedBy(0, 1)
    assert await signed_by(who, event.head.id) == none
    await served.configure(hmac=None)
    assert await signed_by(who, event.head.id) is None


async def test_slack_s_challenge_is_answered_once_its_signature_is_right(served: Served) -> None:
    await signs(served, "slack")
    await refused(served, request(body=ASKS), 401, "unauthorized", whole=True)

    answer = await served.send(signed(served, "slack", ASKS))

    assert (answer.status, answer.body) == (200, b"3eZbrw1aBm2r")
    assert dict(answer.headers)["Content-Type"] == "text/plain; charset=utf-8"
    assert dict(answer.headers)["X-Content-Type-Options"] == "nosniff"
    assert await served.events() == []
    await signs(served, "slack", log_only=True)
    assert b"3eZ" not in (await served.send(request(body=ASKS))).body
    assert await served.bodies() == [ASKS], "not signed, it is a webhook as any other"


async def test_meta_s_challenge_is_answered_to_a_send_token(served: Served, admin: Asking) -> None:
    await signs(served, "meta")
    other = await served.make_token("other", Scope.SUBSCRIBE)
    for token in ("", "meatyhamhock", other):
        asks = request(f"/webhook?{HUB}{token}", method="GET", body=b"")
        await refused(served, asks, 401, "unauthorized", whole=True)
    groups = (await admin.ok("GET", "refused"))["groups"]
    assert {group["shown"].partition(":")[0] for group in groups} == {"hub.verify_token"}
    assert "meaty" not in str(groups)

    answer = await served.send(request(f"/webhook?{HUB}{served.token}", method="GET", body=b""))

    assert (answer.status, answer.body) == (200, b"1158201444")
    assert dict(answer.headers)["Content-Type"] == "text/plain; charset=utf-8"
    assert await served.events() == []


async def test_why_a_webhook_is_none_of_this_sender_s(served: Served, admin: Asking) -> None:
    await signs(served, "stripe")
    await served.send(request(body=BODY))
    [group] = (await admin.ok("GET", "refused"))["groups"]
    assert group["says"] == "not signed as stripe does: no Stripe-Signature"
    assert "--hmac-scheme" in group["fix"]


async def test_a_scheme_of_a_newer_version_lets_nobody_in(served: Served) -> None:
    await served.configure(hmac=HmacAuth("of-tomorrow", (served.context.sealer.seal(SECRET),)))
    answer = await served.send(request(body=BODY, token=served.token))
    assert answer.status == 429
    assert await served.events() == []


async def test_a_channel_s_scheme_follows_its_sender(served: Served, admin: Asking) -> None:
    """Until another is named; a secret must be one of the scheme's."""
    made = {"name": "shop", "sender": "shopify", "hmac_secrets": ["no base64"]}
    assert (await admin.ok("POST", "channels", made))["sender_auth"] == ["token", "hmac:shopify"]

    async def change(**changes: Any) -> list[str]:
        found: list[str] = (await admin.ok("PATCH", "channels/shop", changes))["sender_auth"]
        return found

    assert await change(sender="stripe") == ["token", "hmac:stripe"]
    assert await change(hmac_scheme="github") == ["token", "hmac:github"]
    assert await change(sender="other", hmac_log_only=True) == ["token", "hmac:github (log only)"]
    assert await change(hmac_scheme="") == ["token", "hmac:github (log only)"]
    for wrong in ({"hmac_scheme": "standard-webhooks"}, {"hmac_scheme": "sha1"}):
        assert (await admin.refused("PATCH", "channels/shop", wrong))[0] == 422
    assert await change(hmac_secrets=[]) == ["token"]
