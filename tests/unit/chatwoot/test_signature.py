"""Signatures, against the figures that come with the fixtures."""

from __future__ import annotations

import pytest

from relay_chatwoot.signature import Signatures, sign
from tests.support.chatwoot import FOLDER, SECRET
from tests.support.chatwoot import fixture as body_of

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
    bodies = [path.read_bytes() for path in FOLDER.glob("*.json")]

    assert len(bodies) == 20
    assert not any(b"\n" in body for body in bodies)


@pytest.mark.parametrize("name", KNOWN)
def test_signs_as_chatwoot_does(name: str) -> None:
    """The known signatures come out for the known secret, time and bodies."""
    assert sign(SECRET, str(SIGNED_AT), body_of(name)) == f"sha256={KNOWN[name]}"


@pytest.mark.parametrize(
    ("secrets", "given", "now"),
    [
        pytest.param((SECRET,), headers(), SIGNED_AT + 299, id="signed just now"),
        pytest.param(("another", SECRET), headers(), SIGNED_AT, id="by any of several secrets"),
        pytest.param((), {}, 0, id="no secret to check against"),
        # Relay took it in two seconds after it was signed, however long it waited then.
        *(
            pytest.param((SECRET,), headers(Relay_Received_At=at), HOURS_LATER, id=at)
            for at in (
                "2026-07-02T14:00:12Z",
                "2026-07-02T11:00:12.345-03:00",
                "2026-07-02T14:00:12",
                "1783000812",
            )
        ),
    ],
)
def test_accepts(secrets: tuple[str, ...], given: dict[str, str], now: float) -> None:
    assert Signatures(secrets).refusal(given, BODY, now) is None


def stamped(timestamp: str) -> dict[str, str]:
    """Signed by the right secret."""
    return {
        "X-Chatwoot-Timestamp": timestamp,
        "X-Chatwoot-Signature": sign(SECRET, timestamp, BODY),
    }


OTHER_SIGNATURES = ("", "0" * 64, KNOWN["contact_created"], "é" * 64, "\udcff" * 64)


@pytest.mark.parametrize(
    ("given", "body", "now", "why"),
    [
        *((headers(other), BODY, SIGNED_AT, "another secret") for other in OTHER_SIGNATURES),
        (headers(), BODY + b" ", SIGNED_AT, "another secret"),
        ({"X-Chatwoot-Timestamp": str(SIGNED_AT)}, BODY, SIGNED_AT, "automation rules and macros"),
        ({"X-Chatwoot-Signature": "sha256="}, BODY, SIGNED_AT, "automation rules and macros"),
        # Without a word from Relay, the time of arrival is now; what is no time excuses nothing.
        *(
            (headers(), BODY, now, "300 s are allowed")
            for now in (SIGNED_AT + 301, SIGNED_AT - 301, HOURS_LATER)
        ),
        *(
            (headers(Relay_Received_At=at), BODY, HOURS_LATER, "300 s are allowed")
            for at in ("", "yesterday", "nan", "inf")
        ),
        # An old webhook that is sent to Relay again is not made good by passing through it.
        (
            headers(Relay_Received_At="2026-07-02T16:00:10Z"),
            BODY,
            SIGNED_AT,
            "signing and arrival are 7200 s apart, 300 s are allowed",
        ),
        *((stamped(timestamp), BODY, SIGNED_AT, "") for timestamp in ("soon", "", "9" * 5_000)),
    ],
    ids=range(19),
)
def test_refuses(given: dict[str, str], body: bytes, now: float, why: str) -> None:
    """The reason says what is wrong, and who in Chatwoot never signs."""
    reason = Signatures((SECRET,)).refusal(given, body, now)

    assert reason is not None
    assert why in reason


def test_tolerance_zero_accepts_any_time() -> None:
    """The signature itself is still checked."""
    signatures = Signatures((SECRET,), tolerance_s=0)

    assert signatures.refusal(headers(), BODY, HOURS_LATER) is None
    assert signatures.refusal(headers("0" * 64), BODY, HOURS_LATER) is not None


def test_secrets_stay_out_of_its_text() -> None:
    """What ends up in a log by accident has no secret in it."""
    assert SECRET not in repr(Signatures((SECRET,)))
