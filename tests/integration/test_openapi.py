"""The API is what its description says, asked by a stranger who knows nothing but that."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any, NamedTuple, cast

import msgspec
import pytest
import schemathesis
from hypothesis import Phase, settings
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.pytest.lazy import get_all_tests
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from relay_server.listening import public_app
from relay_server.web import api, openapi
from relay_server.web.context import Context
from relay_server.web.server import FEED_PATH
from tests.support.chatwoot import message
from tests.support.processes import ending
from tests.support.relay import Relay
from tests.support.senders import request

CHECKS: list[Any] = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
DESCRIPTION = openapi.describe(api.routes + api.public_routes)
SCHEMA = schemathesis.openapi.from_dict(DESCRIPTION)
OPERATIONS = [
    (path, method)
    for path, methods in DESCRIPTION["paths"].items()
    for method in methods
    if path != FEED_PATH  # its answer has no end
]


class Asked(NamedTuple):
    """A server that has one of each, an administrator's token, and what paths may name."""

    url: str
    token: str
    known: dict[str, str]


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    relay = Relay(tmp_path_factory.mktemp("asked"), forward_allow="127.0.0.1")
    with ending(relay.processes):
        yield asyncio.run(filled(relay))


async def filled(relay: Relay) -> Asked:
    await relay.start()
    send_token = await relay.make_token("sender", "send")
    bot = {"channel": "chatwoot", "name": "bot", "url": "http://127.0.0.1:9/"}
    await relay.control("POST", "forwards", bot)
    await relay.send(message(send_token, 7, 1))
    everything = {"channel": "chatwoot", "subscription": "bot", "selection": {"all": True}}
    await relay.control("POST", "replays", everything)
    [event] = await relay.events()
    known = {"name": "chatwoot", "channel": "chatwoot", "subscription": "bot", "number": "1"}
    return Asked(relay.url, await relay.make_token("root", "admin"), known | {"id": event["id"]})


@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_the_api_is_as_described(path: str, method: str, asked: Asked) -> None:
    def ask(case: schemathesis.Case[Any]) -> None:
        # Half of the questions are about what is there; none of them deletes it.
        if case.method != "DELETE" and len(str(case.path_parameters)) % 2:
            known = asked.known.items()
            case.path_parameters.update((n, v) for n, v in known if n in case.path_parameters)
        answer = case.call(base_url=asked.url, headers={"Authorization": f"Bearer {asked.token}"})
        case.validate_response(answer, checks=CHECKS)

    # What is asked is made up here: as tests are collected, it would be so in each worker.
    schema = SCHEMA.include(path=path, method=method.upper())
    tries = settings(max_examples=10, phases=[Phase.explicit, Phase.generate])
    [made] = get_all_tests(schema=schema, test_func=ask, settings=tries, given_kwargs=None)
    assert isinstance(made, Ok)
    _, test = made.ok()
    test()


async def test_the_description_is_there_for_everybody(relay: Relay) -> None:
    answer = await relay.send(request("/api/v1/openapi.json", method="GET"))
    assert answer.status == 200
    assert answer.json == json.loads(msgspec.json.encode(DESCRIPTION))


def test_every_path_is_described() -> None:
    resources = public_app(cast(Context, None)).router.resources()
    served = {r.canonical for r in resources if r.canonical.startswith(api.ROOT)}
    assert served - {openapi.PATH} == set(DESCRIPTION["paths"])


def test_every_field_that_people_cannot_guess_is_described() -> None:
    """A struct with a docstring hands it on, and with it what that says of fields."""
    view = DESCRIPTION["components"]["schemas"]["SubscriptionView"]
    assert view["properties"]["backlog"]["description"] == "How many events wait."
    assert "Attributes" not in view["description"]
