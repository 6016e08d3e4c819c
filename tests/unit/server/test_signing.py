"""Signatures: each provider's own examples, and what holds for all schemes alike."""

from __future__ import annotations

import base64
import hmac
import json
import re
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay_protocol.values import HeaderList, RequestHead
from relay_server.errors import InvalidValue, Unauthorized
from relay_server.signing import (
    SCHEMES,
    SIGNATURE_TOLERANCE_S,
    own_fields,
    request_of,
    sign,
    verify,
)
from relay_server.signing.challenges import MAX_CHALLENGE_BYTES, challenge_of
from relay_server.signing.scheme import MAX_SIGNATURE_BYTES, MAX_SIGNATURES, Request

SAMPLES = Path(__file__).parents[3] / "relay_chatwoot" / "samples"
NO_FIT = "the signature fits no secret"


class Signed(NamedTuple):
    """A request that a provider says is signed with a secret."""

    scheme: str
    secret: str
    headers: dict[str, str]
    body: str = ""
    now_s: int = 0
    url: str = ""


HELLO = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
EVERYBODY = "It's a Secret to Everybody"
WHSEC = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
STANDARD = {
    "id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
    "timestamp": "1614265330",
    "signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
}
SLACK = (
    "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow"
    "&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner"
    "&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands"
    "%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN"
    "&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c"
)
COMMAND = "a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"
PAGE = "0e9e0080a310f376450c46d999aa4d49ed772bfe43c13205f38a3a6e6611ed2b"
CALL = {
    "Digits": "1234",
    "To": "+18005551212",
    "From": "+14158675309",
    "Caller": "+14158675309",
    "CallSid": "CA1234567890ABCDE",
}
PHP = "https://mycompany.com/myapp.php?foo=1&bar=2"
FORM = {"Content-Type": "application/x-www-form-urlencoded; charset=UTF-8"}
HASHED = f"{PHP}&bodySHA256=0a1ff7634d9ab3b95db5c9a2dfe9416e41502b283a80c7cf19632632f96e6620"
PROPERTY = '{"property": "value", "boolean": true}'
CHARGE = '{"id":"evt_1","type":"charge.succeeded"}'


def standard(family: str, **more: str) -> dict[str, str]:
    return {f"{family}-{name}": value for name, value in (STANDARD | more).items()}


def twilio(signature: str, **more: str) -> dict[str, str]:
    return {"X-Twilio-Signature": signature} | more


STRIPE = "t=1492774577,v1={0},v0=6ffbb59b2300aae63f272406069a9788598b792a944a07aab816edb039989a39"
V1 = "4ee5e8d695c9619e003fd480d3d51700d924e29697337d379a6ef6e06e703ab4"

# Where a provider publishes no example, the figure is openssl's, of what its page says to sign.
PUBLISHED = {
    # GitHub Docs, "Validating webhook deliveries", "Testing the webhook payload validation"
    "github": Signed("github", EVERYBODY, {"X-Hub-Signature-256": HELLO}, "Hello, World!"),
    # Slack, "Verifying requests from Slack"
    "slack": Signed(
        "slack",
        "8f742231b10e8888abcd99yyyzzz85a5",
        {
            "X-Slack-Request-Timestamp": "1531420618",
            "X-Slack-Signature": f"v0={COMMAND}",
        },
        SLACK,
        1_531_420_618,
    ),
    # Svix Docs, "Verifying Webhooks Manually"; Standard Webhooks' libraries test with the same
    "standard-webhooks": Signed(
        "standard-webhooks", WHSEC, standard("webhook"), '{"test": 2432232314}', 1_614_265_330
    ),
    "svix": Signed(
        "standard-webhooks", WHSEC, standard("svix"), '{"test": 2432232314}', 1_614_265_330
    ),
    # Standard Webhooks, "Webhook Headers": a list, while secrets are rotated
    "a list of signatures": Signed(
        "standard-webhooks",
        WHSEC,
        standard("webhook", signature=f"v1a,hnO3 v1,bm9ldHU= {STANDARD['signature']}"),
        '{"test": 2432232314}',
        1_614_265_330,
    ),
    # Twilio Docs, "Security", "Explore the algorithm yourself"; the rest are its libraries' tests'
    "twilio": Signed(
        "twilio", "12345", twilio("RSOYDt4T1cUTdK1PDd93/VVr8B8=", **FORM), urlencode(CALL), url=PHP
    ),
    "twilio, a field twice": Signed(
        "twilio",
        "12345",
        twilio("IK+Dwps556ElfBT0I3Rgjkr1wJU=", **FORM),
        "Sid=CA123&SidAccount=AC123&Digits=5678&Digits=1234&Digits=1234",
        url=PHP,
    ),
    "twilio, a port that it left out": Signed(
        "twilio",
        "12345",
        twilio("RSOYDt4T1cUTdK1PDd93/VVr8B8=", **FORM),
        urlencode(CALL),
        url=PHP.replace(".com", ".com:1234"),
    ),
    "twilio, a port that it added": Signed(
        "twilio", "12345", twilio("kvajT1Ptam85bY51eRf/AJRuM3w=", **FORM), urlencode(CALL), url=PHP
    ),
    "twilio, JSON": Signed(
        "twilio", "12345", twilio("a9nBmqA0ju/hNViExpshrM61xv4="), PROPERTY, url=HASHED
    ),
    # Stripe Docs, "Verify webhook signatures manually"; "v0" is to be ignored there
    "stripe": Signed(
        "stripe",
        "whsec_test_secret",
        {"Stripe-Signature": STRIPE.format(V1)},
        CHARGE,
        1_492_774_577,
    ),
    # Stripe Docs, "Roll endpoint signing secrets": one signature for each active secret
    "stripe, a secret that is rolled": Signed(
        "stripe",
        "whsec_test_secret",
        {"Stripe-Signature": STRIPE.format(f"{'0' * 64},v1={V1}")},
        CHARGE,
        1_492_774_577,
    ),
    # Shopify, "Verify webhook deliveries": base64 of HMAC-SHA256 of the raw body
    "shopify": Signed(
        "shopify",
        "hush",
        {"X-Shopify-Hmac-Sha256": "BSo+BS/z0qzpUs18V+Da10NKRvtzR4zoUq7A39dyIPs="},
        CHARGE,
    ),
    # Meta's page "Webhooks: Get Started", its section on validating payloads
    "meta": Signed(
        "meta",
        "appsecret",
        {"X-Hub-Signature-256": f"sha256={PAGE}"},
        '{"object":"page","entry":[]}',
    ),
    # GitLab Docs, "Webhooks", "Validate payloads by using a secret token"
    "gitlab": Signed("gitlab", "a b", {"X-Gitlab-Token": "a b"}, "{}"),
    # Telegram Bot API, "setWebhook", `secret_token`
    "telegram": Signed("telegram", "s-1", {"X-Telegram-Bot-Api-Secret-Token": "s-1"}, "{}"),
    # The samples' README, made with Chatwoot's own code
    **{
        name: Signed(
            "chatwoot",
            "FIXTUREwebhookSECRET0001",
            {"X-Chatwoot-Timestamp": "1783000810", "X-Chatwoot-Signature": signature},
            (SAMPLES / f"{name}.json").read_text("utf-8"),
            1_783_000_810,
        )
        for name, signature in re.findall(
            r"\| (\w+) \| \d+ \| (sha256=[0-9a-f]{64}) \|", (SAMPLES / "README.md").read_text()
        )
    },
}


def check(one: Signed, *secrets: str, ago_s: float = 0) -> None:
    fields = {name.lower().encode(): value.encode() for name, value in one.headers.items()}
    request = Request(one.url, lambda name: fields.get(name, b""), one.body.encode())
    known = [secret.encode() for secret in secrets or (one.secret,)]
    verify(SCHEMES[one.scheme], known, request, one.now_s + ago_s)


def why_not(one: Signed, *secrets: str, ago_s: float = 0) -> str:
    with pytest.raises(Unauthorized) as refused:
        check(one, *secrets, ago_s=ago_s)
    assert str(refused.value) == "not authorized"
    return refused.value.reason


@pytest.mark.parametrize("one", PUBLISHED.values(), ids=PUBLISHED)
def test_what_a_provider_signed_is_let_in(one: Signed) -> None:
    check(one)
    check(one, "old" if one.secret != WHSEC else "b2xk", one.secret)
    if not SCHEMES[one.scheme].bare:
        changed = one._replace(body=one.body + " ")
        assert why_not(changed) in (NO_FIT, "bodySHA256 is another body's")
    assert why_not(one, "b2xk") == NO_FIT


@pytest.mark.parametrize("one", PUBLISHED.values(), ids=PUBLISHED)
def test_a_header_that_is_missing_is_named(one: Signed) -> None:
    for name in [n for n in one.headers if n != "Content-Type"]:
        rest = {key: value for key, value in one.headers.items() if key != name}
        missing = why_not(one._replace(headers=rest))
        assert missing.removeprefix("no ").lower() in {f.decode().lower() for f in all_fields(one)}
        assert missing.startswith("no ")
        huge = why_not(one._replace(headers=one.headers | {name: "9" * (MAX_SIGNATURE_BYTES + 1)}))
        assert huge in (f"{name} is too long", NO_FIT)


def all_fields(one: Signed) -> tuple[bytes, ...]:
    return SCHEMES[one.scheme].fields


@pytest.mark.parametrize("name", ["chatwoot", "slack", "stripe", "standard-webhooks"])
def test_a_signature_is_good_for_300_seconds_either_way(name: str) -> None:
    one = next(one for one in PUBLISHED.values() if one.scheme == name)
    for ago_s in (-SIGNATURE_TOLERANCE_S, SIGNATURE_TOLERANCE_S):
        check(one, ago_s=ago_s)
        beyond = why_not(one, ago_s=ago_s * 1.01)
        assert beyond == "the signature's timestamp is too far from now"


CONTACT = PUBLISHED["contact_created"]
RIGHT = CONTACT.headers["X-Chatwoot-Signature"]


@pytest.mark.parametrize(
    "signature",
    ["sha256=", RIGHT[:-1], RIGHT + "0", RIGHT.upper(), f"sha1={RIGHT[7:]}", "sha256=é👋"],
)
def test_signatures_that_are_none(signature: str) -> None:
    assert why_not(with_header(CONTACT, "X-Chatwoot-Signature", signature)) == NO_FIT


@pytest.mark.parametrize(
    "stamp", ["-1783000810", "1783000810.0", "1e9", "\N{FULLWIDTH DIGIT ONE}" * 10, "9" * 4_000]
)
def test_timestamps_that_are_none(stamp: str) -> None:
    why = why_not(with_header(CONTACT, "X-Chatwoot-Timestamp", stamp))
    assert why == "the signature's timestamp is no time"


@pytest.mark.parametrize(
    ("one", "header", "value", "why"),
    [
        ("stripe", "Stripe-Signature", "t=1,v0=aa", "no v1 signature in Stripe-Signature"),
        ("stripe", "Stripe-Signature", f"v1={V1}", "the signature's timestamp is no time"),
        (
            "stripe",
            "Stripe-Signature",
            "t=1" + ",v1=a" * (MAX_SIGNATURES + 1),
            "too many signatures in Stripe-Signature",
        ),
        (
            "standard-webhooks",
            "webhook-signature",
            "v1a,xx",
            "no v1 signature in webhook-signature",
        ),
        ("twilio", "Content-Type", "text/plain", "no bodySHA256 in the URL, so the body is not"),
    ],
)
def test_headers_that_say_too_little_or_too_much(
    one: str, header: str, value: str, why: str
) -> None:
    assert why_not(with_header(PUBLISHED[one], header, value)).startswith(why)


def with_header(one: Signed, header: str, value: str) -> Signed:
    return one._replace(headers=one.headers | {header: value})


@pytest.mark.parametrize("algorithm", ["sha1", "sha256"])
def test_twilio_signs_by_the_algorithm_that_its_rule_names(algorithm: str) -> None:
    """As its Node library's "Validating webhook signatures" has it."""
    rule = (b"X-Twilio-Webhooks-Signature-Settings", b"key=x,algorithm=HMAC_SHA256")
    headers = ((b"Host", b"a"), *([rule] if algorithm == "sha256" else []))
    made = sign(SCHEMES["twilio"], b"key", RequestHead("POST", "/x", headers), b"", 5, "evt_1")
    right = base64.b64encode(hmac.digest(b"key", b"http://a/x", algorithm))
    assert made[-1] == (b"X-Twilio-Signature", right)


@pytest.mark.parametrize("secret", [b"whsec_no base64!", b"whsec_", b"="])
def test_a_secret_of_standard_webhooks_is_base64(secret: bytes) -> None:
    """And of something: anybody can sign with an empty key."""
    with pytest.raises(InvalidValue, match="base64"):
        SCHEMES["standard-webhooks"].key(secret)


KEYS = {"standard-webhooks": b"whsec_c2VjcmV0"}
UNSIGNED: HeaderList = ((b"Host", b"relay.example.com"), (b"X-Other", b"1"))


@pytest.mark.parametrize("name", SCHEMES)
@settings(max_examples=30)
@given(
    body=st.binary(max_size=300),
    form=st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=4),
    now_s=st.integers(0, 99_999_999_999),
    place=st.integers(0, 10_000),
    old=st.booleans(),
)
def test_what_is_signed_verifies_and_nothing_else_does(
    name: str, body: bytes, form: dict[str, str], now_s: int, place: int, old: bool
) -> None:
    """Of a request that was signed before, too; one byte changed, and it fits no more."""
    scheme, key = SCHEMES[name], KEYS.get(name, b"secret")
    headers = UNSIGNED
    if name == "twilio":
        body = urlencode({"a": "b", **form}).encode("ascii", "replace")
        headers = (*headers, (b"Content-Type", b"application/x-www-form-urlencoded"))
    if old:
        headers = (*headers[:1], *((field, b"old") for field in scheme.fields[:3]), *headers[1:])
    head = RequestHead("POST", "/webhook?a=1", headers)

    signed = RequestHead("POST", "/webhook?a=1", sign(scheme, key, head, body, now_s, "evt_1"))

    verify(scheme, [b"b2xk", key], request_of(signed, body), now_s)
    kept = [field for field in signed.headers if field[0].lower() not in own_fields(scheme)]
    assert kept == [field for field in headers if field[0].lower() not in own_fields(scheme)]
    if not scheme.bare:
        at = place % (len(body) + 1)
        changed = body[:at] + bytes([(body + b"?")[at] ^ 1]) + body[at + 1 :]
        with pytest.raises(Unauthorized):
            verify(scheme, [key], request_of(signed, changed), now_s)
    with pytest.raises(Unauthorized):
        verify(scheme, [b"b2xk"], request_of(signed, body), now_s)


def test_a_fresh_signature_stands_where_the_old_one_stood() -> None:
    scheme = SCHEMES["github"]
    older = ((b"x-hub-signature", b"sha1=0"), (b"X-HUB-Signature-256", b"sha256=0"), *UNSIGNED)
    headers = sign(scheme, b"s", RequestHead("POST", "/", older), b"{}", 5, "evt_1")
    assert [name for name, _ in headers] == [b"X-HUB-Signature-256", b"Host", b"X-Other"]


# Challenges.


def slack(**fields: object) -> bytes:
    return json.dumps({"type": "url_verification", "token": "x", **fields}).encode()


CHALLENGE = "3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P"
HUB = "/webhook?hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token=meatyhamhock"


def test_challenges_as_their_providers_show_them() -> None:
    """Slack, "url_verification event"; Meta, "Webhooks: Get Started"."""
    assert challenge_of("slack", "POST", "/", slack(challenge=CHALLENGE)) == (
        CHALLENGE.encode(),
        None,
    )
    assert challenge_of("meta", "GET", HUB, b"") == (b"1158201444", b"meatyhamhock")


@pytest.mark.parametrize(
    ("scheme", "method", "target", "body"),
    [
        ("slack", "POST", "/", slack(challenge="<script>alert(1)</script> ")),
        ("slack", "POST", "/", slack(challenge="")),
        ("slack", "POST", "/", slack(challenge="x" * (MAX_CHALLENGE_BYTES + 1))),
        ("slack", "POST", "/", slack(challenge=CHALLENGE, padding="x" * 5_000)),
        ("slack", "POST", "/", slack(challenge=5)),
        ("slack", "POST", "/", slack(challenge=CHALLENGE, type="event_callback")),
        ("slack", "POST", "/", b'{"type":"url_verification"'),
        ("slack", "GET", HUB, b""),
        ("github", "POST", "/", slack(challenge=CHALLENGE)),
        ("github", "GET", HUB, b""),
        ("meta", "POST", HUB, b"{}"),
        ("meta", "GET", HUB.replace("subscribe", "unsubscribe"), b""),
        ("meta", "GET", HUB.replace("1158201444", "%0d%0aSet-Cookie:x"), b""),
        ("meta", "GET", HUB.replace("1158201444", ""), b""),
        ("meta", "GET", HUB + "x" * 5_000, b""),
    ],
)
def test_what_is_no_challenge(scheme: str, method: str, target: str, body: bytes) -> None:
    assert challenge_of(scheme, method, target, body) is None
