"""Signatures, against the figures that come with the fixtures."""

from __future__ import annotations

import pytest

from examples.chatwoot_bot.signature import Signatures, sign
from tests.unit.examples.support import FIXTURES, SECRET, body_of

SIGNED_AT = 1783000810  # 2026-07-02T14:00:10Z
HOURS_LATER = SIGNED_AT + 9 * 3600
KNOWN = {
    "message_created_incoming": "136aa3e4da3992e9c2e0564233ac3ea0262624fecfdb83e65204caff891b6e31",
    "message_created_outgoing_api_inbox": (
        "4b665d345092084c9372b7b46044c223be0c9776c387d8669f76151cc0286eda"
    ),
    "message_created_incoming_attachments": (
        "24471cad8cef8f3f68d13a0d10175717a4b467d4f19c4fbf6467726af9a77962"
    ),
    "contact_created": "3786405e8dc47558b98b3138900b8d2d0b3af96a926131eae505469f6559bf71",
    "agent_bot_message_created": "3f6732879e5117e22a4d4cf51d96579f2446a57fd7c689b1b42790c851fa5f62",
    "inbox_updated": "7ef14830304c1ba5c5b835ff6f39873543f51143f504c72fd9e2b145d24abc47",
}
BODY = body_of("message_created_incoming")


def headers(signature: str = KNOWN["message_created_incoming"], **more: str) -> dict[str, str]:
    return {
        "X-Chatwoot-Timestamp": str(SIGNED_AT),
        "X-Chatwoot-Signature": f"sha256={signature}",
    } | {name.replace("_", "-"): value for name, value in more.items()}


def test_there_are_twenty_bodies_of_one_line_each() -> None:
    """An editor that adds a newline to a fixture would break its signature."""
    bodies = [path.read_bytes() for path in FIXTURES.glob("*.json")]

    assert len(bodies) == 20
    assert not any(b"\n" in body for body in bodies)


@pytest.mark.parametrize("name", KNOWN)
def test_signs_as_chatwoot_does(name: str) -> None:
    """The known signatures come out for the known secret, time and bodies."""
    assert sign(SECRET, str(SIGNED_AT), body_of(name)) == f"sha256={KNOWN[name]}"


def test_accepts_what_was_signed_just_now() -> None:
    """A good signature within the tolerance is accepted."""
    assert Signatures((SECRET,)).refusal(headers(), BODY, SIGNED_AT + 299) is None


def test_accepts_any_of_several_secrets() -> None:
    """Each webhook, API inbox and agent bot of Chatwoot has a secret of its own."""
    assert Signatures(("another", SECRET)).refusal(headers(), BODY, SIGNED_AT) is None


def test_accepts_everything_without_a_secret() -> None:
    """There is nothing to check against."""
    assert Signatures(()).refusal({}, b"anything", 0) is None


@pytest.mark.parametrize(
    "signature", ["", "0" * 64, KNOWN["contact_created"], "é" * 64, "\udcff" * 64]
)
def test_refuses_another_signature(signature: str) -> None:
    """A signature of other bytes, or no signature at all, not even ASCII, is refused."""
    reason = Signatures((SECRET,)).refusal(headers(signature), BODY, SIGNED_AT)

    assert reason is not None
    assert "another secret" in reason


def test_refuses_a_changed_body() -> None:
    """One byte more and the signature does not fit."""
    assert Signatures((SECRET,)).refusal(headers(), BODY + b" ", SIGNED_AT) is not None


@pytest.mark.parametrize("missing", ["X-Chatwoot-Timestamp", "X-Chatwoot-Signature"])
def test_refuses_what_is_not_signed(missing: str) -> None:
    """The reason names who in Chatwoot never signs."""
    given = {name: value for name, value in headers().items() if name != missing}

    reason = Signatures((SECRET,)).refusal(given, BODY, SIGNED_AT)

    assert reason is not None
    assert "automation rules and macros" in reason


@pytest.mark.parametrize("now", [SIGNED_AT + 301, SIGNED_AT - 301, HOURS_LATER])
def test_refuses_an_old_or_future_signing(now: float) -> None:
    """Without a word from Relay, the time of arrival is now."""
    reason = Signatures((SECRET,)).refusal(headers(), BODY, now)

    assert reason is not None
    assert "300 s are allowed" in reason


@pytest.mark.parametrize(
    "received_at",
    ["2026-07-02T14:00:12Z", "2026-07-02T11:00:12.345-03:00", "2026-07-02T14:00:12", "1783000812"],
)
def test_accepts_what_waited_in_relay(received_at: str) -> None:
    """Relay took it in two seconds after it was signed, however long it waited then."""
    given = headers(Relay_Received_At=received_at)

    assert Signatures((SECRET,)).refusal(given, BODY, HOURS_LATER) is None


def test_refuses_what_was_old_when_relay_took_it_in() -> None:
    """An old webhook sent to Relay again is not made good by passing through it."""
    given = headers(Relay_Received_At="2026-07-02T16:00:10Z")

    reason = Signatures((SECRET,)).refusal(given, BODY, SIGNED_AT)

    assert reason == "signing and arrival are 7200 s apart, 300 s are allowed"


@pytest.mark.parametrize("received_at", ["", "yesterday", "nan", "inf"])
def test_an_unreadable_time_of_arrival_proves_nothing(received_at: str) -> None:
    """What is no time does not excuse an old signature."""
    given = headers(Relay_Received_At=received_at)

    assert Signatures((SECRET,)).refusal(given, BODY, HOURS_LATER) is not None


def test_tolerance_zero_accepts_any_time() -> None:
    """The signature itself is still checked."""
    signatures = Signatures((SECRET,), tolerance_s=0)

    assert signatures.refusal(headers(), BODY, HOURS_LATER) is None
    assert signatures.refusal(headers("0" * 64), BODY, HOURS_LATER) is not None


@pytest.mark.parametrize("timestamp", ["soon", "", "9" * 5000])
def test_refuses_a_signed_timestamp_that_is_no_time(timestamp: str) -> None:
    """Signed by the right secret, and still not acceptable."""
    given = {
        "X-Chatwoot-Timestamp": timestamp,
        "X-Chatwoot-Signature": sign(SECRET, timestamp, BODY),
    }

    assert Signatures((SECRET,)).refusal(given, BODY, SIGNED_AT) is not None


def test_secrets_stay_out_of_its_text() -> None:
    """What ends up in a log by accident has no secret in it."""
    assert SECRET not in repr(Signatures((SECRET,)))
