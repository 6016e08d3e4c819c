"""What signs deliveries anew: what it says, what it leaves, and what it cannot do."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from relay_http.outgoing import compose
from relay_http.target import Target
from relay_protocol.limits import MAX_HEAD_BYTES, MAX_HEAD_FIELDS
from relay_protocol.values import Delivery, EventHead, HeaderList, RequestHead
from relay_server.configs import ChannelConfig, HmacAuth, SenderKind, SubscriptionConfig
from relay_server.delivery.resigning import Signer, signer_of
from relay_server.errors import InvalidValue
from relay_server.signing import SCHEMES, request_of, verify
from relay_server.values import Channel, Event

NOW_MS = 1_783_000_810_999
OLD: HeaderList = (
    (b"Host", b"relay.example.com"),
    (b"X-Chatwoot-Delivery", b"d-1"),
    (b"X-Chatwoot-Timestamp", b"1782000000"),
    (b"X-Chatwoot-Signature", b"sha256=old"),
    (b"Content-Type", b"application/json"),
)


def event(headers: HeaderList = OLD, body: bytes = b"{}") -> Event:
    request = RequestHead("POST", "/webhook", headers, "203.0.113.9", "https")
    return Event(1, EventHead("evt_1", 1, 1_782_000_000_000, "", "", request), body)


def signer(
    secrets: tuple[bytes, ...] = (b"first", b"second"),
    scheme: str = "chatwoot",
    sender: SenderKind = SenderKind.CHATWOOT,
    **settings: Any,
) -> Signer | None:
    """Secrets are sealed here by being turned round."""
    hmac = HmacAuth(scheme, tuple(secret[::-1] for secret in secrets)) if secrets else None
    channel = Channel(1, "chatwoot", ChannelConfig(sender=sender, hmac=hmac), 0)
    config = SubscriptionConfig(**{"resign": True, **settings})
    return signer_of(channel, config, lambda sealed: sealed[::-1])


def signed(made: Signer | None, what: Event) -> HeaderList:
    assert made is not None
    head = made(what, NOW_MS)
    assert msgspec.structs.replace(head, request=what.head.request) == what.head, "and no more"
    return head.request.headers


def is_good(headers: HeaderList, secret: bytes, body: bytes = b"{}") -> bool:
    """As a target sees it that looks at the time, five minutes later."""
    request = request_of(RequestHead("POST", "/webhook", headers), body)
    verify(SCHEMES["chatwoot"], [secret], request, NOW_MS / 1_000 + 299)
    return True


def test_nothing_is_done_unless_it_is_set() -> None:
    assert signer(resign=False) is None
    assert signer(resign=False, resign_secret=b"own") is None


def test_a_fresh_signature_stands_in_the_old_one_s_place() -> None:
    headers = signed(signer(), event())

    assert is_good(headers, b"first")
    assert [name for name, _ in headers[:5]] == [name for name, _ in OLD]
    assert headers[5:] == (
        (b"Relay-Original-X-Chatwoot-Timestamp", b"1782000000"),
        (b"Relay-Original-X-Chatwoot-Signature", b"sha256=old"),
    )
    assert is_good(signed(signer(resign_secret=b"nwo"), event()), b"own")


def test_it_is_made_over_the_body_that_goes_out() -> None:
    """As of an edited event; and of one that nobody signed before."""
    assert is_good(signed(signer(), event(OLD[:1], b"edited")), b"first", b"edited")


def test_a_target_is_told_what_was_signed_at_first() -> None:
    head = signed(signer(), event())
    what = event(head)
    sent = compose(Delivery("1.1", 1, "c", 1, True, what.head, b"{}"), Target("localhost", 8000))
    assert b"\r\nRelay-Original-X-Chatwoot-Signature: sha256=old\r\n" in sent


def test_a_secret_that_is_sent_bare_is_told_to_nobody_else() -> None:
    made = signer(scheme="gitlab", resign_secret=b"nwo")
    headers = signed(made, event(((b"x-gitlab-token", b"the sender's"),)))
    assert headers == ((b"x-gitlab-token", b"own"),)


@pytest.mark.parametrize(
    ("many", "kept"),
    [
        ([(b"X", b"y" * (MAX_HEAD_BYTES - 400))], True),
        ([(b"X", b"y" * (MAX_HEAD_BYTES - 250))], False),
        ([(b"X", b"")] * (MAX_HEAD_FIELDS - 6), False),
    ],
)
def test_a_head_is_no_larger_than_a_client_takes(
    many: list[tuple[bytes, bytes]], kept: bool
) -> None:
    headers = signed(signer(), event((*OLD, *many)))
    assert is_good(headers, b"first")
    assert any(name.startswith(b"Relay-Original-") for name, _ in headers) is kept


def test_where_no_room_is_left_it_goes_as_it_came() -> None:
    full = ((b"X", b"y" * (MAX_HEAD_BYTES - 1)),)
    assert signed(signer(), event(full)) == full


def test_what_cannot_be_read_goes_as_it_came() -> None:
    form = ((b"Content-Type", b"application/x-www-form-urlencoded"), (b"X-Twilio-Signature", b"x"))
    assert signed(signer(scheme="twilio"), event(form, "é".encode())) == form


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"secrets": ()}, "chatwoot has no secret to sign anew with"),
        ({"secrets": (), "sender": SenderKind.OTHER}, "nothing says how to sign anew"),
        ({"scheme": "of-tomorrow"}, "nothing says how to sign anew"),
        ({"scheme": "standard-webhooks"}, "base64"),
    ],
)
def test_what_cannot_be_signed_is_said_at_once(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidValue, match=says):
        signer(**settings)


def test_an_own_secret_does_without_the_channel_s() -> None:
    """By the scheme of its sender."""
    made = signer((), sender=SenderKind.GITHUB, resign_secret=b"nwo")
    headers = signed(made, event(OLD[:1]))
    assert [name for name, _ in headers] == [b"Host", b"X-Hub-Signature-256"]
