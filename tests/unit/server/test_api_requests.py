"""Requests to the JSON API that are large, slow, strange or none: each is answered in JSON."""

from __future__ import annotations

import dataclasses
import inspect
import json
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay_server.configs import ChannelConfig, ForwardConfig, Policy
from relay_server.errors import Busy
from relay_server.settables import settings_of
from relay_server.values import MarkState, Progress
from relay_server.web import api
from relay_server.web.api import MAX_REQUEST_BYTES
from tests.fuzz.fuzz_api import consider
from tests.support.events import mark
from tests.support.garbage import BODIES, PATHS, ROUTES
from tests.support.senders import connection, read_answer, request
from tests.support.stores import make_subscription
from tests.support.tries import tries
from tests.unit.server.asking import Asking, append
from tests.unit.server.support import Served


@pytest.mark.parametrize("size", [MAX_REQUEST_BYTES, MAX_REQUEST_BYTES + 1, 4 * MAX_REQUEST_BYTES])
async def test_bodies_are_bounded(admin: Asking, size: int) -> None:
    body = b'{"name":"new"}'.ljust(size)
    status = (await admin("POST", "channels", body)).status
    assert status == (201 if size <= MAX_REQUEST_BYTES else 422)


async def test_a_body_in_pieces_is_read_whole(served: Served, admin: Asking) -> None:
    raw = request("/api/v1/channels", b'{"name":"new"}', token=admin.token)
    async with connection(served.port) as one:
        await one.send(raw[:-5])
        await one.send(raw[-5:-1])
        await one.send(raw[-1:])
        assert (await read_answer(one.reader)).status == 201


async def test_a_request_that_dawdles_is_given_up(
    served: Served, admin: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would hold one of few places for ever."""
    monkeypatch.setattr(api, "BODY_DEADLINE_S", 0.05)
    whole = request("/api/v1/tokens", b'{"name": "x"}', method="POST", token=admin.token)
    async with connection(served.port) as one:
        one.writer.write(whole[:-5])
        answer = await read_answer(one.reader)
    assert (answer.status, answer.json["error"]["code"]) == (408, "request_timeout")
    assert served.context.api_requests == 0


@pytest.mark.parametrize(
    ("language", "said", "hint"),
    [
        ("", "no channel is named 'none'", "relay-server channel list shows the channels"),
        ("pt", "nenhum canal tem o nome 'none'", "relay-server channel list mostra os canais"),
    ],
)
async def test_an_error_speaks_the_language_that_is_asked_for(
    admin: Asking, language: str, said: str, hint: str
) -> None:
    headers = [("Accept-Language", language)] if language else []
    error = (await admin("GET", "channels/none", headers=headers)).json["error"]
    assert (error["code"], error["message"]) == ("channel_not_found", said)
    assert error["hint"].startswith(hint)


@pytest.mark.parametrize("path", ["events", "dead"])
async def test_so_many_are_listed_at_most(
    served: Served, ana: Asking, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """Whatever is asked for."""
    monkeypatch.setattr("relay_server.operations.MAX_LISTED", 2)
    _, claim = await make_subscription(served.store, since=0)
    for _ in range(3):
        await append(served)
    marks = tuple(mark(sequence, MarkState.DEAD) for sequence in (1, 2, 3))
    served.store.record(claim, Progress(0, marks))

    listed = (await ana.ok("GET", f"{path}?limit=100000"))[path]

    assert len(listed) == 2


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
    served.context.settings = dataclasses.replace(settings, forward_allow=("b",))
    answer = await admin.refused(method, path, (body % number).encode())
    assert answer == (422, "invalid_value")


@pytest.mark.parametrize("path", ["events?before=", "dead?limit=1&after=", "events?limit="])
@pytest.mark.parametrize("number", ["-1", "1e3", "1.5", "x", HUGE, "٣", "²", "nan", "0x1"])
async def test_numbers_in_a_query(admin: Asking, path: str, number: str) -> None:
    assert (await admin("GET", path + quote(number))).status == 422


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ('{"selection": {"all": 1}}', "selection.all: must be true or false, not a whole number"),
        ('{"selection": {"kind": 4}}', "selection.kind: must be text or null, not a whole number"),
        ('{"selection": 5}', "selection: must be an object, not a whole number"),
        ("{}", "selection must be given"),
        ("{", "the request's body is no JSON"),
    ],
)
async def test_what_does_not_fit_is_said_in_the_words_of_json(
    admin: Asking, body: str, says: str
) -> None:
    message = (await admin("POST", "replays", body.encode())).json["error"]["message"]
    assert says in message


def test_each_operation_takes_what_its_line_says() -> None:
    """Who asks, the names in its path, the fields: mypy does not see that."""
    for line in api.routes + api.public_routes:
        takes = 1 + line.path.count("{") + (line.fields is not None)
        assert len(inspect.signature(line.operation).parameters) == takes, line.path


def test_a_wait_without_end_can_be_said() -> None:
    assert Busy(float("inf")).retry_after_s == 3_600
    assert Busy(0.1).retry_after_s == 1


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


SETTINGS = [
    one.name for config in (ChannelConfig, Policy, ForwardConfig) for one in settings_of(config)
]
OTHERS = "name policy scopes channels channel subscription paused selection events first last file"
CONDITIONS = "received_from kind key text dead all"
NAMES = st.sampled_from([*SETTINGS, *OTHERS.split(), *CONDITIONS.split()])
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


@tries(150)
@given(METHODS, ASKED, st.dictionaries(NAMES, VALUES, max_size=5))
def test_whatever_is_asked_is_answered(method: str, path: str, fields: dict[str, object]) -> None:
    consider(f"{method} {path}\n{json.dumps(fields)}".encode("utf-8", "surrogatepass"))
