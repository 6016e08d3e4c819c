"""The JSON API at its edges: values nobody expects, requests that dawdle, what is whose to see."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import pytest

from relay_protocol.messages import Wanted
from relay_server.configs import ForwardConfig, SubscriptionConfig
from relay_server.errors import TooMany
from relay_server.values import MarkState, Progress, Scope
from relay_server.web.api import requests
from tests.support.clock import START_MS
from tests.support.events import mark
from tests.support.senders import connection, read_answer, request
from tests.support.stores import make_subscription
from tests.unit.server.asking import Asking, append
from tests.unit.server.support import FakeReader, Served

SECRET_URL = "http://bot:8001/hooks/SECRETPATH"
FORWARD = "channels/chatwoot/subscriptions/forward"


@pytest.fixture
async def forward(served: Served) -> None:
    config = SubscriptionConfig(forward=ForwardConfig(SECRET_URL))
    made, _ = await served.store.subscribe("chatwoot", "forward", None, START_MS, config)
    reader = FakeReader()
    served.context.hub.add(reader)
    pump = await served.context.hub.join_forward(reader, made)
    served.context.hub.start(pump, reader)
    pump.hold(reader, "10.0.0.5 does not take connections")


@pytest.mark.usefixtures("forward")
async def test_where_a_forward_posts_is_for_administrators(admin: Asking, ana: Asking) -> None:
    """A path can be a secret, and addresses tell of the network inside."""
    for path in ("status", FORWARD):
        whole = json.dumps(await admin.ok("GET", path))
        assert SECRET_URL in whole
        assert "10.0.0.5" in whole
        shown = json.dumps(await ana.ok("GET", path))
        assert "SECRETPATH" not in shown
        assert "10.0.0.5" not in shown
    mine = await ana.ok("GET", FORWARD)
    assert (mine["forward"], mine["waits_for"], mine["target_down"]) == ("•••", "•••", True)


async def test_a_request_that_dawdles_is_given_up(
    served: Served, admin: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would hold one of few places for ever."""
    monkeypatch.setattr(requests, "BODY_DEADLINE_S", 0.05)
    whole = request("/api/v1/tokens", b'{"name": "x"}', method="POST", token=admin.token)
    async with connection(served.port) as one:
        one.writer.write(whole[:-5])
        answer = await read_answer(one.reader)
    assert (answer.status, answer.json["error"]["code"]) == (408, "request_timeout")
    assert served.context.api_requests == 0


@pytest.mark.parametrize("path", ["events", "dead"])
async def test_so_many_are_listed_at_most(
    served: Served, ana: Asking, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """Whatever is asked for."""
    monkeypatch.setattr(requests, "MAX_LISTED", 2)
    _, claim = await make_subscription(served.store, since=0)
    for _ in range(3):
        await append(served)
    marks = tuple(mark(sequence, MarkState.DEAD) for sequence in (1, 2, 3))
    served.store.record(claim, Progress(0, marks))

    [listed] = (await ana.ok("GET", f"{path}?limit=100000")).values()

    assert len(listed) == 2


async def test_the_scope_admin_knows_no_channels(admin: Asking) -> None:
    """It would look limited and be good for everything."""
    token = {"name": "ops", "scopes": ["admin"], "channels": ["chatwoot"]}
    assert await admin.refused("POST", "tokens", token) == (422, "invalid_value")
    made = await admin.ok("POST", "tokens", token | {"channels": None})
    assert made["channels"] is None


@pytest.mark.parametrize("rate", ["1e-320", "0", "-1", "1e400", "NaN", "Infinity", "1e7", '"1"'])
async def test_impossible_rates_are_refused(served: Served, admin: Asking, rate: str) -> None:
    body = f'{{"rate_per_s": {rate}}}'.encode()
    assert await admin.refused("PATCH", "channels/chatwoot", body) == (422, "invalid_value")
    assert served.store.catalog.channels["chatwoot"].config.rate_per_s is None
    whole = f'{{"selection": {{"all": true}}, "rate_per_s": {rate}}}'.encode()
    assert await admin.refused("POST", "replays", whole) == (422, "invalid_value")


def test_a_wait_without_end_can_be_said() -> None:
    assert TooMany("", float("inf")).retry_after_s == 3_600
    assert TooMany("", 0.1).retry_after_s == 1


HUGE = "9" * 400


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PATCH", "channels/chatwoot", '{"max_bytes": %s}'),
        ("PATCH", "channels/chatwoot", '{"max_body_bytes": %s}'),
        ("PATCH", "channels/chatwoot", '{"retention_days": %s}'),
        ("PATCH", "channels/chatwoot", '{"dead_days": %s}'),
        ("PATCH", "channels/chatwoot", '{"policy": {"other_tries": %s}}'),
        ("PATCH", "channels/chatwoot", '{"policy": {"hold_failures": -%s}}'),
        ("PATCH", "channels/chatwoot", '{"policy": {"hold_s": %s}}'),
        ("PATCH", "channels/chatwoot", '{"policy": {"retry_delays_s": [%s]}}'),
        ("POST", "replays", '{"selection": {"first": %s}}'),
        ("POST", "replays", '{"selection": {"last": -%s}}'),
        ("POST", "replays", '{"selection": {"received_from": %s}}'),
        ("POST", "forwards", '{"channel": "chatwoot", "url": "http://b/", "since": %s}'),
        ("POST", "forwards", '{"channel": "chatwoot", "url": "http://b/", "timeout_s": %s}'),
        ("POST", "forwards", '{"channel": "chatwoot", "url": "http://b/", "concurrency": %s}'),
    ],
)
@pytest.mark.parametrize("number", [HUGE, "18446744073709551616", "9223372036854775807"])
async def test_numbers_beyond_everything_are_refused(
    served: Served, admin: Asking, method: str, path: str, body: str, number: str
) -> None:
    settings = served.context.settings
    served.context.settings = settings.model_copy(update={"forward_allow": ("b",)})
    answer = await admin.refused(method, path, (body % number).encode())
    assert answer == (422, "invalid_value")


@pytest.mark.parametrize("path", ["events?before=", "dead?limit=1&after=", "events?limit="])
@pytest.mark.parametrize("number", ["-1", "1e3", HUGE, "٣", "nan", "0x1"])
async def test_numbers_in_a_query(admin: Asking, path: str, number: str) -> None:
    assert (await admin("GET", path + quote(number))).status == 422


@pytest.mark.parametrize("name", ["", "\ud83d", "é", "a/b", "a\nb", "x" * 64, "..", "canary-x"])
@pytest.mark.parametrize(("path", "more"), [("channels", {}), ("tokens", {"scopes": ["send"]})])
async def test_names_that_are_none(
    admin: Asking, path: str, more: dict[str, Any], name: str
) -> None:
    assert await admin.refused("POST", path, {"name": name} | more) == (422, "invalid_value")


async def test_who_joins_a_channel_while_it_goes_is_sent_away(
    served: Served, admin: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing would ever come, and nobody would say so."""
    await served.make_channel("other")
    late, delete = FakeReader(), served.store.delete_channel

    async def delete_late(name: str) -> None:
        served.context.hub.add(late)
        await served.context.hub.join(late, Wanted("other"), "late")
        await delete(name)

    monkeypatch.setattr(served.store, "delete_channel", delete_late)
    await admin.ok("DELETE", "channels/other")
    assert late.told == ["a channel was deleted, 1"]


async def test_a_token_of_one_channel_reaches_nothing_of_another(served: Served) -> None:
    """Whatever it asks for, the other channel might as well not be there."""
    await served.make_channel("other")
    token = await served.make_token("bo", Scope.SUBSCRIBE, channels=["chatwoot"])
    bo = Asking(served, token)
    await served.store.subscribe("other", "eve", None, START_MS)
    for method, path, body in (
        ("GET", "channels/other", None),
        ("GET", "channels/other/subscriptions/eve", None),
        ("POST", "channels/other/subscriptions/eve/resume", None),
        ("GET", "events?channel=other", None),
        ("GET", "dead?channel=other", None),
        ("GET", "replays?channel=other", None),
        ("POST", "replays", {"channel": "other", "selection": {"all": True}}),
    ):
        there = await bo(method, path, body)
        gone = await bo(method, path.replace("other", "gone"), _renamed(body))
        assert (there.status, there.json["error"]["code"]) == (404, "channel_not_found")
        assert there.body.replace(b"other", b"gone") == gone.body
    assert "other" not in json.dumps(await bo.ok("GET", "status"))


def _renamed(body: object) -> object:
    return json.loads(json.dumps(body).replace("other", "gone"))
