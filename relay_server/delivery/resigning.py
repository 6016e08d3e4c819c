"""Signs what a subscription gets anew, at each attempt: a check of a signature's age then holds.

A webhook that waited, or is replayed, was signed when it came: to a target that looks at the time
it is an old one. So what goes out has a fresh time and signature, over the body as it goes out, and
what the sender signed stands beside it, under `ORIGINAL`. What is stored stays as it came.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

from msgspec.structs import replace

from relay_http.outgoing import ORIGINAL
from relay_protocol.limits import MAX_HEAD_BYTES, MAX_HEAD_FIELDS
from relay_protocol.values import EventHead, HeaderList
from relay_server.configs import SubscriptionConfig
from relay_server.errors import InvalidValue, Unauthorized
from relay_server.sealing import OpenSealed
from relay_server.signing import SCHEMES, own_fields, sign
from relay_server.signing.scheme import Scheme
from relay_server.values import Channel, Event

Signer = Callable[[Event, int], EventHead]  # an event's head as it goes out now, in Unix ms


def signer_of(
    channel: Channel, config: SubscriptionConfig, open_sealed: OpenSealed
) -> Signer | None:
    """What signs a subscription's events anew; None where nothing does.

    Raises:
        InvalidValue: There is nothing to sign with, or it cannot be opened.
    """
    if not config.resign:
        return None
    hmac = channel.config.hmac
    scheme = SCHEMES.get(hmac.scheme if hmac else channel.config.sender.value)
    sealed = config.resign_secret or (hmac.secrets[0] if hmac else b"")
    if scheme is None:
        raise InvalidValue(f"nothing says how to sign anew: {channel.name} has no signature")
    if not sealed:
        raise InvalidValue(f"{channel.name} has no secret to sign anew with")
    secret = open_sealed(sealed)
    scheme.key(secret)  # said now, if it is none, and not at each delivery
    return functools.partial(_signed, scheme, secret)


def check_resigned(channel: Channel, config: SubscriptionConfig, open_sealed: OpenSealed) -> None:
    """See that whoever reads a subscription may have it signed anew.

    Raises:
        InvalidValue: It cannot be, or the channel's own secret would be sent along.
    """
    hmac = channel.config.hmac
    scheme = SCHEMES.get(hmac.scheme if hmac else channel.config.sender.value)
    if config.resign and scheme is not None and scheme.bare and not config.resign_secret:
        raise InvalidValue(f"{channel.name} sends its secret along: it takes one of your own")
    signer_of(channel, config, open_sealed)


def _signed(scheme: Scheme, secret: bytes, event: Event, now_ms: int) -> EventHead:
    head, request = event.head, event.head.request
    try:
        fresh = sign(scheme, secret, request, event.body, now_ms // 1_000, head.id)
    except Unauthorized:  # a form that nobody can read: nor can its target
        return head
    own = own_fields(scheme)
    kept = [(ORIGINAL + name, value) for name, value in request.headers if name.lower() in own]
    # A secret that is sent bare is not for who has one of his own.
    whole = fresh if scheme.bare else (*fresh, *kept)
    # A client refuses a larger head, and would never get it.
    fitting = next(filter(_fits, (whole, fresh)), request.headers)
    return replace(head, request=replace(request, headers=fitting))


def _fits(headers: HeaderList) -> bool:
    size = sum([len(name) + len(value) for name, value in headers])
    return len(headers) <= MAX_HEAD_FIELDS and size <= MAX_HEAD_BYTES
