"""Signatures of webhooks: checked at the door, and made anew at delivery, from one table. Pure.

A scheme says how one provider signs, and decides nothing (`scheme.Scheme`):

    read    what a request claims: signatures, and when they were made
    make    the signature that a key makes of a request, so claimed
    write   the headers that say it

    verify = read; is its time near; is any signature one that any secret makes
    sign   = claim this moment; make; write

So what is signed here verifies here. Times are passed in, and signatures compared in constant time.
What is read of a header is bounded (`scheme.needed`), and so is how many signatures it holds.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Mapping, Sequence

from relay_chatwoot import signature as chatwoot
from relay_protocol.values import HeaderList, RequestHead
from relay_server.errors import InvalidValue, Unauthorized
from relay_server.signing.providers import Bare, Digest, StandardWebhooks, Stripe
from relay_server.signing.scheme import Claim, Request, Scheme
from relay_server.signing.twilio import Twilio

# Of a claim's time, either way, as Slack, Stripe and the libraries of Standard Webhooks have it;
# Chatwoot itself states none. Beyond: 401.
SIGNATURE_TOLERANCE_S = 300
MAX_STAMP_CHARS = 12  # of a time in Unix seconds; a longer one: 401

_HUB = b"X-Hub-Signature-256"

# By the names that channels are set to; their stores keep these.
SCHEMES: Mapping[str, Scheme] = {
    "chatwoot": Digest(
        chatwoot.SIGNATURE.encode(), chatwoot.PREFIX.encode(), time=chatwoot.TIMESTAMP.encode()
    ),
    "standard-webhooks": StandardWebhooks(),
    "github": Digest(_HUB, b"sha256=", older=(b"X-Hub-Signature",)),
    "gitlab": Bare(b"X-Gitlab-Token"),
    "stripe": Stripe(),
    "slack": Digest(
        b"X-Slack-Signature", b"v0=", time=b"X-Slack-Request-Timestamp", before=b"v0:%b:"
    ),
    "shopify": Digest(b"X-Shopify-Hmac-Sha256", encode=base64.b64encode),
    "telegram": Bare(b"X-Telegram-Bot-Api-Secret-Token"),
    "meta": Digest(_HUB, b"sha256=", older=(b"X-Hub-Signature",)),
    "twilio": Twilio(),
}
# Headers, in lower case, whose values no screen shows.
PROOFS = frozenset(name.lower() for scheme in SCHEMES.values() for name in scheme.proofs)


def scheme_named(name: str) -> Scheme:
    """A scheme by its name; raise `InvalidValue` for one that only newer versions know."""
    if name not in SCHEMES:
        raise InvalidValue(f"this version knows no signatures named {name!r}: a newer one set them")
    return SCHEMES[name]


def request_of(head: RequestHead, body: bytes) -> Request:
    """What signatures cover of a request that was stored; its URL is as its target sees it."""
    values = {name.lower(): value.strip() for name, value in head.headers}
    host = values.get(b"host", b"").decode("latin-1")
    url = f"{head.scheme}://{host}{head.request_target}"
    return Request(url, lambda name: values.get(name, b""), body)


def verify(scheme: Scheme, secrets: Sequence[bytes], request: Request, now_s: float) -> int:
    """Which of the secrets signed a request, by its place among them, and not long ago.

    Raises:
        Unauthorized: None did.
        InvalidValue: A secret is none of this scheme.
    """
    claim = scheme.read(request)
    if scheme.timed and not is_time(claim.stamp):
        raise Unauthorized("the signature's timestamp is no time")
    if scheme.timed and abs(now_s - int(claim.stamp)) > SIGNATURE_TOLERANCE_S:
        raise Unauthorized("the signature's timestamp is too far from now")
    fitting = [fits(scheme, (secret,), claim, request) for secret in secrets]
    if True not in fitting:
        raise Unauthorized("the signature fits no secret")
    return fitting.index(True)


def is_time(stamp: bytes) -> bool:
    """True if a claim's time is one, in whole Unix seconds."""
    return stamp.isdigit() and len(stamp) <= MAX_STAMP_CHARS


def fits(scheme: Scheme, secrets: Sequence[bytes], claim: Claim, request: Request) -> bool:
    """True if a signature that is claimed is one that any of the secrets makes."""
    made = [one for s in secrets for one in scheme.make(scheme.key(s), claim, request)]
    found = [hmac.compare_digest(one, given) for one in made for given in claim.signatures]
    return any(found)


def sign(
    scheme: Scheme, secret: bytes, head: RequestHead, body: bytes, now_s: int, message: str
) -> HeaderList:
    """A request's headers, proven anew; the message's id counts where its headers name none.

    Raises:
        InvalidValue: The secret is none of this scheme.
        Unauthorized: What is signed cannot be read.
    """
    request, claim = request_of(head, body), Claim(stamp=b"%d" % now_s, id=message.encode())
    made = scheme.make(scheme.key(secret), claim, request)
    fresh = scheme.write(made[0], claim, request)
    left, own = {name.lower(): value for name, value in fresh}, own_fields(scheme)
    headers = []
    for name, value in head.headers:
        lower = name.lower()
        if lower not in own:
            headers.append((name, value))
        elif lower in left:
            headers.append((name, left.pop(lower)))
    return (*headers, *(field for field in fresh if field[0].lower() in left))


def own_fields(scheme: Scheme) -> frozenset[bytes]:
    """The names of a scheme's headers, in lower case."""
    return frozenset(name.lower() for name in scheme.fields)
