"""What nobody would ask the API: the answer is JSON, says what is wrong, and nothing breaks."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.fuzz_api import consider
from tests.support.garbage import BODIES, PATHS, ROUTES
from tests.support.senders import request
from tests.unit.server.asking import Asking
from tests.unit.server.support import Served


@pytest.mark.parametrize("name", BODIES)
async def test_a_body_that_is_none(served: Served, admin: Asking, name: str) -> None:
    before = served.store.catalog
    for method, path in ROUTES:
        answer = await admin(method, path, BODIES[name])
        assert answer.status in (404, 422), (method, path, answer)
        error = answer.json["error"]
        assert error["code"], (method, path, answer)
        assert len(error["message"]) < 500, "nothing of a request is given back whole"
    assert served.store.catalog == before


async def test_the_last_of_equal_names_counts(admin: Asking) -> None:
    made = await admin.ok("POST", "channels", b'{"name":"a","name":"b","token":false,"token":true}')
    assert (made["name"], made["sender_auth"]) == ("b", ["token"])


@pytest.mark.parametrize("path", PATHS)
async def test_a_path_that_leads_nowhere(admin: Asking, path: str) -> None:
    for method in ("GET", "DELETE", "PATCH"):
        answer = await admin(method, path, b"{}")
        assert answer.status in (404, 405, 422), (method, answer)
        assert answer.json["error"]["code"]


async def test_other_ways_of_showing_a_token_are_none(served: Served, admin: Asking) -> None:
    """A browser adds cookies and passwords by itself, to requests that other pages make."""
    for target, fields in (
        ("/api/v1/whoami", [("Cookie", f"token={admin.token}")]),
        ("/api/v1/whoami", [("Authorization", f"Basic {admin.token}")]),
        ("/api/v1/whoami", [("Proxy-Authorization", f"Bearer {admin.token}")]),
        (f"/api/v1/whoami?token={admin.token}", []),
    ):
        assert (await served.send(request(target, b"", fields, method="GET"))).status == 401


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "file://"])
async def test_another_page_in_a_browser_can_read_nothing(
    served: Served, admin: Asking, origin: str
) -> None:
    """No answer names an origin that may read it, and no preflight is granted."""
    asks = [("Origin", origin), ("Access-Control-Request-Method", "DELETE")]
    for method, token, status in (("OPTIONS", None, 405), ("GET", admin.token, 200)):
        raw = request("/api/v1/channels", b"", asks, method=method, token=token)
        answer = await served.send(raw)
        assert answer.status == status
        assert not [name for name, _ in answer.headers if name.lower().startswith("access-control")]


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "a/b; \xff"])
async def test_what_a_body_is_called_decides_nothing(
    served: Served, admin: Asking, kind: str
) -> None:
    raw = request("/api/v1/tokens", b'{"name":"x","scopes":["send"]}', token=admin.token)
    named = raw.replace(b"application/json", kind.encode("latin-1"))
    assert (await served.send(named)).status == 201


@pytest.mark.parametrize("length", ["0" * 5_000 + "2", "+2", "2, 2", "9" * 30])
async def test_a_length_that_is_written_strangely(
    served: Served, admin: Asking, length: str
) -> None:
    raw = request("/api/v1/channels", b"", token=admin.token)
    raw = raw.replace(b"Content-Length: 0", b"Content-Length: " + length.encode()) + b"{}"
    assert (await served.send(raw)).status in (400, 422)


NAMES = st.sampled_from(
    [
        *(
            "name",
            "sender",
            "token",
            "key_pointer",
            "max_body_bytes",
            "retention_days",
            "dead_days",
        ),
        *("max_bytes", "drop_oldest", "rate_per_s", "policy", "allow_from", "hmac_secrets"),
        *("hmac_scheme", "hmac_log_only", "scopes", "channels", "channel", "subscription", "url"),
        *("headers", "timeout_s", "concurrency", "paused", "selection", "events", "first", "last"),
        *(
            "received_from",
            "kind",
            "key",
            "text",
            "dead",
            "all",
            "retry_delays_s",
            "hold_s",
            "file",
        ),
    ]
)
NUMBERS = st.integers(-(2**65), 2**65) | st.floats() | st.sampled_from([0, 1, -1, 2**53, 2**63 - 1])
TEXTS = st.text(max_size=5) | st.sampled_from(
    ["chatwoot", "ana", "send", "admin", "evt_0199", "/a/0", "10.0.0.0/8", "http://127.0.0.1:1/x"]
)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES | TEXTS, inner, max_size=4),
    max_leaves=10,
)
METHODS = st.sampled_from(["GET", "POST", "PATCH", "DELETE", "PUT", "!GET", "!POST", "!DELETE"])
ASKED = st.sampled_from(
    [path for _, path in ROUTES] + PATHS + ["status", "replays?running=x", "dead"]
)


@settings(max_examples=150)
@given(METHODS, ASKED, st.dictionaries(NAMES, VALUES, max_size=5))
def test_whatever_is_asked_is_answered(method: str, path: str, fields: dict[str, object]) -> None:
    consider(f"{method} {path}\n{json.dumps(fields)}".encode("utf-8", "surrogatepass"))
