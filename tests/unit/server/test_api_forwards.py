"""The JSON API's forwards: what may be one, and what its engine is told."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest

from relay_server.delivery.hub import Hub
from relay_server.delivery.url.allow import Allowlist
from relay_server.delivery.url.forwards import Forwards, _Kept
from relay_server.store.interface import Store
from relay_server.values import Subscription
from tests.support.clock import START_MS
from tests.support.waiting import settled
from tests.unit.server.asking import Asking, append
from tests.unit.server.support import Served

NEW = {"channel": "chatwoot", "url": "http://bot:8001/webhook"}


FORWARD = "forwards/chatwoot/forward"


class Engine(Forwards):
    """Follows the store as the server's own does, and posts nothing."""

    def __init__(self, store: Store) -> None:
        super().__init__(cast(Hub, None), Allowlist(), bytes)
        self.told: list[tuple[str, int, str]] = []
        self.tries: list[int] = []
        self.follow(store.feed)

    async def _keep(self, kept: _Kept) -> None:
        forward = kept.subscription.config.forward
        assert forward is not None
        self.told.append(("start", kept.subscription.number, forward.url))
        try:
            await asyncio.Event().wait()
        finally:
            self.told.append(("stop", kept.subscription.number, ""))

    async def try_target(self, number: int) -> None:
        self.tries.append(number)

    @property
    def calls(self) -> list[tuple[str, str]]:
        return [(what, url) for what, _, url in self.told]


@pytest.fixture
async def engine(served: Served) -> AsyncIterator[Engine]:
    """A server that runs has one."""
    served.context.forwards = engine = Engine(served.store)
    yield engine
    await engine.close()


@pytest.fixture(autouse=True)
def allowed(served: Served) -> None:
    """The operator allowed one host."""
    settings = served.context.settings
    served.context.settings = dataclasses.replace(settings, forward_allow=("bot",))


async def stored(served: Served) -> Subscription:
    [one] = await served.store.subscriptions("chatwoot")
    return one


async def test_a_forward_may_get_some_events_only(served: Served, admin: Asking) -> None:
    """A filter that cannot be changes nothing else, either."""
    for text in ("is:dead", "kin:x"):
        refused = await admin.refused("POST", "forwards", NEW | {"filter": text})
        assert refused == (422, "invalid_filter")
    assert await served.store.subscriptions() == []
    made = await admin.ok("POST", "forwards", NEW | {"filter": "from:customer"})
    assert (made["filter"], (await stored(served)).config.filtered) == ("from:customer", True)

    wrong = {"filter": "kin:x", "timeout_s": 5}
    assert await admin.refused("PATCH", FORWARD, wrong) == (422, "invalid_filter")
    assert (await admin.ok("GET", FORWARD))["timeout_s"] == 30
    changed = await admin.ok("PATCH", FORWARD, {"filter": "from:bot", "timeout_s": 5})
    assert (changed["filter"], changed["timeout_s"]) == ("from:bot", 5)


async def test_a_forward_comes_changes_and_goes(
    served: Served, admin: Asking, engine: Engine
) -> None:
    made = await admin.ok(
        "POST",
        "forwards",
        NEW | {"timeout_s": 5, "concurrency": 2, "headers": {"Authorization": "Bearer FIXTURE"}},
    )
    assert made["name"] == "forward"
    assert (made["url"], made["timeout_s"], made["concurrency"]) == (NEW["url"], 5, 2)
    assert made["headers"] == {"Authorization": "•••"}
    config = (await stored(served)).config.forward
    assert config is not None
    [(name, sealed)] = config.headers
    assert (name, served.context.sealer.open(sealed)) == ("Authorization", b"Bearer FIXTURE")
    assert "FIXTURE" not in json.dumps(await admin.ok("GET", "forwards"))
    assert await admin.ok("GET", FORWARD) == made

    changed = await admin.ok("PATCH", FORWARD, {"url": "http://bot:8002"})
    assert (changed["timeout_s"], changed["headers"]) == (5, {"Authorization": "•••"})
    assert (await admin.ok("PATCH", FORWARD, {"headers": {}}))["headers"] == {}
    await admin.ok("DELETE", FORWARD)
    await settled()

    assert await served.store.subscriptions() == []
    assert engine.calls == [
        ("start", "http://bot:8001/webhook"),
        ("stop", ""),
        ("start", "http://bot:8002"),
        ("stop", ""),
        ("start", "http://bot:8002"),
        ("stop", ""),
    ]
    assert len({number for _, number, _ in engine.told}) == 1
    assert await admin.refused("GET", FORWARD) == (404, "forward_not_found")


async def test_a_forward_is_paused_and_resumed(
    served: Served, admin: Asking, engine: Engine
) -> None:
    await admin.ok("POST", "forwards", NEW)
    assert (await admin.ok("PATCH", FORWARD, {"paused": True}))["paused"] == "paused by hand"
    assert (await stored(served)).config.paused == "paused by hand"
    assert (await admin.ok("PATCH", FORWARD, {"paused": False}))["paused"] == ""
    assert engine.calls == [("start", NEW["url"])], "a pause does not end it"


async def test_without_a_server_it_is_only_stored(served: Served, admin: Asking) -> None:
    made = await admin.ok("POST", "forwards", NEW)
    assert made["connected"] is False
    await admin.ok("PATCH", FORWARD, {"timeout_s": 1})
    await admin.ok("DELETE", FORWARD)


async def test_names_that_are_taken_stay_what_they_are(
    served: Served, admin: Asking, engine: Engine
) -> None:
    await served.store.subscribe("chatwoot", "ana", None, START_MS)
    exists = (409, "subscription_exists")
    assert await admin.refused("POST", "forwards", NEW | {"name": "ana"}) == exists
    await admin.ok("POST", "forwards", NEW)
    assert await admin.refused("POST", "forwards", NEW) == exists
    assert len(engine.told) == 1
    for method in ("GET", "PATCH", "DELETE"):
        refused = await admin.refused(method, "forwards/chatwoot/ana", {})
        assert refused == (404, "forward_not_found"), "a subscription is no forward"


@pytest.mark.parametrize(("since", "backlog"), [(None, 0), (0, 2), (START_MS + 1, 1)])
async def test_where_it_starts(
    served: Served, admin: Asking, since: int | None, backlog: int
) -> None:
    for late in (0, 5):
        await append(served, received_at=START_MS + late)
    assert (await admin.ok("POST", "forwards", NEW | {"since": since}))["backlog"] == backlog


@pytest.mark.parametrize(
    "fields",
    [
        {"url": ""},
        {"url": "ftp://bot/"},
        {"url": "http://user:secret@bot/"},
        {"url": 7},
        {"timeout_s": 0},
        {"concurrency": 33},
        {"headers": {"": "x"}},
        {"headers": {"X" * 8_191: "x"}},
        {"headers": {"content-length": "1"}},
        {"headers": {"X-A": "1", "x-a": "2"}},
        {"headers": {f"X-{n}": "1" for n in range(33)}},
    ],
)
async def test_what_cannot_be_a_forward(
    served: Served, admin: Asking, engine: Engine, fields: dict[str, Any]
) -> None:
    invalid = (422, "invalid_value")
    assert await admin.refused("POST", "forwards", NEW | fields) == invalid
    await admin.ok("POST", "forwards", NEW)
    before = await stored(served)
    assert await admin.refused("PATCH", FORWARD, fields) == invalid
    assert await stored(served) == before
    assert engine.calls == [("start", NEW["url"])]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"channel": "unknown"}, (404, "channel_not_found")),
        ({"name": "a/b"}, (422, "invalid_value")),
        ({"name": ""}, (422, "invalid_value")),
        ({"since": -1}, (422, "invalid_value")),
        ({"since": 253_402_300_800_000}, (422, "invalid_value")),
        ({"paused": True}, (422, "invalid_value")),
    ],
)
async def test_what_cannot_be_made(
    served: Served, admin: Asking, fields: dict[str, Any], expected: tuple[int, str]
) -> None:
    assert await admin.refused("POST", "forwards", NEW | fields) == expected
    assert await served.store.subscriptions() == []


async def test_an_address_that_is_not_allowed(admin: Asking, engine: Engine) -> None:
    url = {"url": "http://forbidden/"}
    assert await admin.refused("POST", "forwards", NEW | url) == (422, "forward_not_allowed")
    assert engine.calls == []


async def test_nobody_s_canary_is_forwarded(admin: Asking, ana: Asking) -> None:
    canary = (await ana.ok("POST", "canary"))["channel"]
    refused = await admin.refused("POST", "forwards", NEW | {"channel": canary})
    assert refused == (404, "channel_not_found")


async def test_no_secret_is_in_a_refusal(admin: Asking) -> None:
    headers = {"headers": {"X-A": "FIXTUREsecret\n"}}
    answer = await admin("POST", "forwards", NEW | headers)
    assert answer.status == 422
    assert b"FIXTURE" not in answer.body
    answer = await admin("POST", "forwards", NEW | {"url": "http://me:FIXTURE@bot/"})
    assert b"FIXTURE" not in answer.body


async def test_deleting_a_channel_stops_its_forwards(
    served: Served, admin: Asking, engine: Engine
) -> None:
    await served.make_channel("shop")
    await admin.ok("POST", "forwards", NEW)
    await admin.ok("POST", "forwards", NEW | {"channel": "shop"})
    await admin.ok("DELETE", "channels/shop")
    await settled()
    number = engine.told[1][1]
    assert engine.told[2:] == [("stop", number, "")]


async def test_one_hands_over_as_other_subscriptions_do(
    served: Served, admin: Asking, engine: Engine
) -> None:
    made = await admin.ok("POST", "forwards", NEW | {"away": "handoff"})
    changed = await admin.ok("PATCH", FORWARD, {"away_after_s": 60})
    [found] = await served.store.subscriptions("chatwoot")

    assert (made["away"], changed["away"], changed["away_after_s"]) == ("handoff", "handoff", 60)
    assert found.config.filtered
    assert await admin.refused("PATCH", FORWARD, {"away_after_s": 0.5}) == (422, "invalid_value")
