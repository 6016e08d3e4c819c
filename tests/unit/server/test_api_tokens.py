"""The JSON API's tokens: made, listed and revoked."""

from __future__ import annotations

import json
from typing import Any

import pytest

from relay_server.values import Scope
from tests.unit.server.asking import Asking, Json
from tests.unit.server.support import FakePeer, Served


async def test_a_token_is_shown_once(served: Served, admin: Asking) -> None:
    body = {"name": "bob", "scopes": ["subscribe", "send"], "channels": ["chatwoot"]}
    made = await admin.ok("POST", "tokens", body)
    listed = await admin.ok("GET", "tokens")
    assert made["token"].startswith("rly_")
    assert made["token"] not in json.dumps(listed)
    assert [t["name"] for t in listed["tokens"]] == ["bob", "root", "sender"]
    assert await Asking(served, made["token"]).ok("GET", "whoami")
    assert await admin.refused("POST", "tokens", body) == (409, "token_exists")

    await admin.ok("DELETE", "tokens/bob")
    assert await Asking(served, made["token"]).refused("GET", "whoami") == (401, "unauthorized")
    assert await admin.refused("DELETE", "tokens/bob") == (404, "token_not_found")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"name": "x", "scopes": []}, (422, "invalid_value")),
        ({"name": "x", "scopes": ["everything"]}, (422, "invalid_value")),
        ({"name": "x"}, (422, "invalid_value")),
        ({"scopes": ["send"]}, (422, "invalid_value")),
        ({"name": "X", "scopes": ["send"]}, (422, "invalid_value")),
        ({"name": "x", "scopes": ["send"], "token": "mine"}, (422, "invalid_value")),
        ({"name": "x", "scopes": ["send"], "channels": ["none"]}, (404, "channel_not_found")),
    ],
)
async def test_tokens_that_are_impossible(
    served: Served, admin: Asking, body: Json, expected: tuple[int, str]
) -> None:
    assert await admin.refused("POST", "tokens", body) == expected
    assert len(served.store.catalog.tokens) == 2


async def test_revoking_closes_connections(served: Served, admin: Asking) -> None:
    await served.make_token("bob", Scope.SUBSCRIBE)
    bob, other = FakePeer("bob"), FakePeer("carla")
    for reader in (bob, other):
        served.context.hub.add(reader)
    await admin.ok("DELETE", "tokens/bob")
    assert (bob.told, other.told) == (["revoked"], [])


async def test_the_scope_admin_knows_no_channels(admin: Asking) -> None:
    """It would look limited and be good for everything."""
    token = {"name": "ops", "scopes": ["admin"], "channels": ["chatwoot"]}
    assert await admin.refused("POST", "tokens", token) == (422, "invalid_value")
    made = await admin.ok("POST", "tokens", token | {"channels": None})
    assert made["channels"] is None


@pytest.mark.parametrize("name", ["", "\ud83d", "é", "a/b", "a\nb", "x" * 64, "..", "canary-x"])
@pytest.mark.parametrize(("path", "more"), [("channels", {}), ("tokens", {"scopes": ["send"]})])
async def test_names_that_are_none(
    admin: Asking, path: str, more: dict[str, Any], name: str
) -> None:
    assert await admin.refused("POST", path, {"name": name} | more) == (422, "invalid_value")
