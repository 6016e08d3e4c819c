"""Requests to the JSON API, with one token each."""

from __future__ import annotations

import json
from typing import Any

from tests.support.events import new_event
from tests.support.senders import Answer, Headers, request
from tests.unit.server.support import Served

Json = dict[str, Any]

# Values of a policy that are refused, of a channel's and of a subscription's.
IMPOSSIBLE_POLICIES: list[Json] = [
    {"retry_delays_s": [604_801]},
    {"retry_delays_s": 5},
    {"retry_delays_s": ["5s"]},
    {"other_tries": 0},
    {"hold_failures": 101},
    {"hold_s": -1},
    {"strict_order": "yes"},
    {"unknown": 1},
]


class Asking:
    """Requests with one token."""

    def __init__(self, served: Served, token: str | None) -> None:
        self.served = served
        self.token = token

    async def __call__(
        self, method: str, path: str, body: object = None, headers: Headers = ()
    ) -> Answer:
        raw = (
            body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        )
        return await self.served.send(
            request(f"/api/v1/{path}", raw, headers, method=method, token=self.token)
        )

    async def ok(self, method: str, path: str, body: object = None) -> Json:
        answer = await self(method, path, body)
        assert answer.status < 300, answer
        return dict(answer.json) if answer.body else {}

    async def refused(self, method: str, path: str, body: object = None) -> tuple[int, str]:
        answer = await self(method, path, body)
        assert dict(answer.headers)["Content-Type"].startswith("application/json")
        return answer.status, answer.json["error"]["code"]


async def append(served: Served, channel: str = "chatwoot", **event: Any) -> str:
    """Store an event, and give its id."""
    number = served.store.catalog.channels[channel].number
    return (await served.store.append(number, new_event(**event))).id
