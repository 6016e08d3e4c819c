"""The JSON API's audit log: what is noted of whom, and what is not shown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from relay_server.bodies.tree import MASK
from relay_server.web import api
from tests.support.clock import START_MS
from tests.unit.server.asking import Asking, Json, append
from tests.unit.server.support import Served

REFERENCE = Path(__file__).parents[3] / "docs" / "reference" / "http-api.md"
UNNOTED = {"create_canary", "delete_canary"}  # gone in a moment


async def noted(admin: Asking, query: str = "") -> list[Json]:
    return list((await admin.ok("GET", f"audit{query}"))["entries"])


async def test_an_entry_says_who_did_what_to_what(served: Served, admin: Asking) -> None:
    await admin.ok("POST", "channels", {"name": "orders", "max_bytes": 1_000})
    await admin.ok("PATCH", "channels/orders", {"max_bytes": None, "policy": {"hold_s": 5}})
    made = await admin.ok("POST", "tokens", {"name": "eve", "scopes": ["send"]})
    await admin.ok("DELETE", "tokens/eve")

    entries = await noted(admin)

    assert [(e["action"], e["what"], e["asked"]) for e in reversed(entries)] == [
        ("channel.create", "orders", {"name": "orders", "max_bytes": 1_000}),
        ("channel.change", "orders", {"max_bytes": None, "policy": {"hold_s": 5.0}}),
        ("token.create", "eve", {"name": "eve", "scopes": ["send"]}),
        ("token.revoke", "eve", {}),
    ]
    assert {(e["made_by"], e["address"]) for e in entries} == {("root", "127.0.0.1")}
    assert made["token"] not in json.dumps(entries)


async def test_secrets_and_payloads_are_masked_and_long_values_cut(
    served: Served, admin: Asking
) -> None:
    await admin.ok("PATCH", "channels/chatwoot", {"hmac_secrets": ["s3cret"], "sender": "chatwoot"})
    event = await append(served)
    await served.store.subscribe("chatwoot", "ana", None, START_MS)
    edit = {"based_on": event, "subscription": "ana", "headers": [["X-Key", "s3cret"]]}
    made = await admin.ok("POST", "events", edit | {"body_base64": "czNjcmV0"})
    chosen = {"text": "t" * 500, "events": [event] * 30}
    await admin.ok("POST", "replays", {"selection": chosen})

    replay, edited, channel = await noted(admin)

    assert channel["asked"] == {"hmac_secrets": MASK, "sender": "chatwoot"}
    assert edited["what"] == f"chatwoot/{made['id']}"
    assert edited["asked"] == {
        "subscription": "ana",
        "based_on": event,
        "headers": MASK,
        "body_base64": MASK,
    }
    assert replay["asked"]["selection"]["text"] == "t" * 200 + "…"
    assert replay["asked"]["selection"]["events"] == [event] * 20 + ["…"]
    text = json.dumps([replay, edited, channel])
    assert "s3cret" not in text
    assert "czNjcmV0" not in text


async def test_what_was_refused_or_only_read_is_not_noted(
    served: Served, admin: Asking, ana: Asking
) -> None:
    await admin.refused("DELETE", "tokens/nobody")
    await admin.refused("POST", "channels", {"name": "No Name"})
    await ana.refused("DELETE", "channels/other")
    await ana.ok("GET", "channels")
    await ana.ok("GET", "status")
    assert await noted(admin) == []


async def test_it_is_for_administrators_and_paged(
    served: Served, admin: Asking, ana: Asking
) -> None:
    for n in range(3):
        await admin.ok("POST", "channels", {"name": f"c{n}"})
    assert await ana.refused("GET", "audit") == (403, "forbidden")

    first = await admin.ok("GET", "audit?limit=2")
    rest = await admin.ok("GET", f"audit?limit=2&before={first['next']}")

    assert [e["what"] for e in first["entries"]] == ["c2", "c1"]
    assert ([e["what"] for e in rest["entries"]], rest["next"]) == (["c0"], None)


@pytest.mark.parametrize(
    "route",
    [r for r in api.routes + api.public_routes if r.method != "GET"],
    ids=lambda route: route.operation.__name__,
)
def test_whatever_changes_something_is_noted(route: Any) -> None:
    action = getattr(route.operation, "action", None)
    assert (action is not None) == (route.operation.__name__ not in UNNOTED)
    assert action is None or f"`{action}`" in REFERENCE.read_text()
