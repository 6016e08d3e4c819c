"""How long an answer takes tells nothing: what is another's costs what nothing costs.

No clock is asked. What is done for either is counted: what the store runs, in how many steps of
SQLite's machine, and the digests that are made of secrets.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from typing import Any

import apsw
import pytest

from relay_server import auth
from relay_server.values import Scope
from tests.support.clock import START_MS
from tests.support.senders import Answer
from tests.unit.server.asking import append
from tests.unit.server.support import Served

NOWHERE = "evt_01990000-0000-7000-8000-000000000000"
ROW_STEPS = 8  # of SQLite's machine, for a row that is found by its key, or not
RANDOM = re.compile(rb'(?<=value=")[\w-]{24,}')  # of forms, another one each time
PATHS = (
    "channels/{channel}",
    "channels/{channel}/conversations",
    "conversations/{channel}/2/318",
    "search?channel={channel}&q=bolo",
    "events/{event}",
    "events/{event}/edit",
    "compare?a={mine}&b={event}",
    "dead?channel={channel}",
    "feed?channel={channel}",
    "api/v1/channels/{channel}",
    "api/v1/channels/{channel}/subscriptions/eve",
    "api/v1/events?channel={channel}&q=bolo",
    "api/v1/events/count?channel={channel}",
    "api/v1/events/{event}",
    "api/v1/events/{event}/body",
    "api/v1/events/{event}/attempts",
    "api/v1/events/{event}/tree",
    "api/v1/events/{event}/as/curl",
    "api/v1/events?ids={event}",
    "api/v1/compare?a={mine}&b={event}",
    "api/v1/dead?channel={channel}",
    "api/v1/replays?channel={channel}",
    "api/v1/edited?channel={channel}",
    "api/v1/pins?channel={channel}",
    "api/v1/drifts?channel={channel}",
    "api/v1/pulse?channel={channel}",
    "api/v1/refused?channel={channel}",
    "api/v1/feed?channel={channel}",
)


@dataclass
class Work:
    """What was done for an answer.

    Attributes:
        statements: That the store ran, in order, without their values.
        steps: Of SQLite's machine, for all of them.
        digests: How long the texts were that one was made of.
    """

    statements: list[str] = field(default_factory=list)
    steps: int = 0
    digests: list[int] = field(default_factory=list)


class Meter:
    """Notes what is done: SQLite counts the steps of a statement for as long as it is kept."""

    def __init__(self) -> None:
        self._work = Work()
        self._steps = dict[int, int]()

    def taken(self) -> Work:
        """What was done since it was asked last."""
        work, self._work = self._work, Work()
        return work

    def ran(self, told: dict[str, Any]) -> None:
        """A statement has ended."""
        steps = told["stmt_status"]["SQLITE_STMTSTATUS_VM_STEP"]
        self._work.statements.append(told["sql"])
        self._work.steps += steps - self._steps.get(told["id"], 0)
        self._steps[told["id"]] = steps

    def sha256(self, secret: bytes) -> hashlib._Hash:
        """A digest is made."""
        self._work.digests.append(len(secret))
        return hashlib.sha256(secret)


@pytest.fixture
def meter(served: Served, monkeypatch: pytest.MonkeyPatch) -> Meter:
    meter = Meter()
    monkeypatch.setattr(auth, "hashlib", meter)
    served.store.database.connection.trace_v2(apsw.SQLITE_TRACE_PROFILE, meter.ran)
    return meter


async def ask(served: Served, line: str, *fields: str, body: str = "") -> Answer:
    """What somebody on this machine is answered."""
    lines = [f"{line} HTTP/1.1", "Host: 127.0.0.1", *fields, f"Content-Length: {len(body)}"]
    return await served.send("\r\n".join([*lines, "", body]).encode())


async def log_in(served: Served, secret: str) -> Answer:
    """What is answered to whoever shows this in the login form."""
    page = await ask(served, "GET /login")
    [key] = re.findall('name="form_key" value="(.*?)"', page.body.decode())
    fields = (f"Cookie: relay-login={key}", "Sec-Fetch-Site: same-origin")
    return await ask(served, "POST /login", *fields, body=f"k={secret}&form_key={key}")


async def test_what_is_another_s_costs_what_nothing_costs(served: Served, meter: Meter) -> None:
    """On pages and in the API; and it is answered the same."""
    await served.make_channel("other")
    await served.store.subscribe("other", "eve", None, START_MS)
    mine, theirs = await append(served), await append(served, "other", key="2/318")
    token = await served.make_token("bo", Scope.SUBSCRIBE, channels=["chatwoot"])
    entered = await log_in(served, token)
    cookies = [v.partition(";")[0] for name, v in entered.headers if name == "Set-Cookie"]
    as_bo = (f"Cookie: {'; '.join(cookies)}", f"Authorization: Bearer {token}")

    async def asked(path: str, channel: str, event: str) -> tuple[int, bytes, Work]:
        line = f"GET /{path.format(channel=channel, event=event, mine=mine)}"
        await ask(served, line, *as_bo)  # what is made once, is
        meter.taken()
        answer = await ask(served, line, *as_bo)
        body = answer.body.replace(channel.encode(), b"it").replace(event.encode(), b"it")
        return answer.status, RANDOM.sub(b"", body), meter.taken()

    for path in PATHS:
        *there, cost = await asked(path, "other", theirs)
        *nowhere, least = await asked(path, "gone!", NOWHERE)
        assert there == nowhere, path
        assert cost.statements == least.statements, path
        assert abs(cost.steps - least.steps) <= ROW_STEPS, path
        assert cost.digests == least.digests != [], path


async def test_a_token_that_is_nearly_right_costs_what_any_other_costs(
    served: Served, meter: Meter
) -> None:
    """In the login form and in the API: no secret is compared with what was shown."""
    token = await served.make_token("ana", Scope.SUBSCRIBE)
    wrong = (token[:-1] + ("a" if token[-1] != "a" else "b"), "rly_" + "x" * (len(token) - 4))
    costs = list[tuple[bytes, object, Work]]()
    for secret in wrong:
        meter.taken()
        entered = await log_in(served, secret)
        bearer = await ask(served, "GET /api/v1/whoami", f"Authorization: Bearer {secret}")
        assert (entered.status, bearer.status) == (401, 401)
        costs.append((RANDOM.sub(b"", entered.body), bearer.without_date, meter.taken()))
    assert costs[0] == costs[1]
    work = costs[0][-1]
    assert (work.statements, set(work.digests)) == ([], {len(token)})
