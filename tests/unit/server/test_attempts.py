"""Two attempts of an event, compared."""

from __future__ import annotations

import pytest

from relay_server.errors import EventNotFound, InvalidValue
from relay_server.operations import Caller
from relay_server.operations.attempts import AttemptsPage, compare_attempts
from relay_server.values import Attempt, Progress, Scope
from tests.support.clock import START_MS
from tests.unit.server.asking import append
from tests.unit.server.support import Served

TRIES = (
    Attempt(1, 1, START_MS, 900, "response", 500, '{"error": "no flavour", "n": 1}'),
    Attempt(1, 2, START_MS + 5_000, 40, "timeout", None, "no answer within 30 s"),
    Attempt(1, 3, START_MS + 35_000, 50, "response", 200, '{"status": "ok", "n": 2}'),
)


@pytest.fixture
async def event(served: Served) -> str:
    """One that two subscriptions are to get."""
    for name in ("ana", "prod"):
        await served.store.subscribe("chatwoot", name, None, START_MS)
    return await append(served)


async def tried(served: Served, name: str, *tries: Attempt) -> None:
    """Have the store know these attempts of a subscription's."""
    found = await served.store.subscriptions("chatwoot")
    claim = await served.store.claim(next(one.number for one in found if one.name == name))
    assert claim is not None
    served.store.record(claim, Progress(0, (), tries))
    await served.store.flush()


async def test_what_tells_most_is_compared_unless_named(served: Served, event: str) -> None:
    who = Caller(served.context)
    with pytest.raises(InvalidValue, match="no two attempts"):
        await compare_attempts(who, event, AttemptsPage())
    await tried(served, "ana", *TRIES)
    await tried(served, "prod", Attempt(1, 1, START_MS + 99_000, 7, "response", 200))

    found = await compare_attempts(who, event, AttemptsPage())

    assert (found.a, found.b) == ("ana/0/1", "ana/0/3")
    assert [*found.of] == ["ana/0/1", "ana/0/2", "ana/0/3", "prod/0/1"]
    assert (found.later_ms, found.slower_ms) == (35_000, -850)
    changed = {(d.path, d.change) for d in found.answer.differences}
    assert changed == {("/error", "removed"), ("/status", "added"), ("/n", "changed")}


async def test_of_several_deliveries_any_two_are_compared(served: Served, event: str) -> None:
    who = Caller(served.context)
    await tried(served, "ana", TRIES[0])
    await tried(served, "prod", Attempt(1, 1, START_MS - 10, 900, "response", 500, TRIES[0].text))
    found = await compare_attempts(who, event, AttemptsPage())
    assert (found.a, found.b, found.answer.equal) == ("prod/0/1", "ana/0/1", "bytes")
    found = await compare_attempts(who, event, AttemptsPage("ana/0/1", "prod/0/1"))
    assert (found.later_ms, found.slower_ms) == (-10, 0)
    with pytest.raises(InvalidValue, match="no attempt"):
        await compare_attempts(who, event, AttemptsPage("ana/0/9"))


async def test_what_is_no_json_is_compared_as_text(served: Served, event: str) -> None:
    await tried(served, "ana", *TRIES)
    page = AttemptsPage("ana/0/2", "ana/0/3")
    found = await compare_attempts(Caller(served.context), event, page)
    assert (found.answer.equal, found.answer.differences) == ("", [])
    assert "-no answer within 30 s" in found.answer.lines


async def test_others_attempts_are_nobodys_business(served: Served, event: str) -> None:
    await tried(served, "ana", *TRIES)
    await served.make_channel("other")
    await served.make_token("bia", Scope.SUBSCRIBE, channels=["other"])
    bia = next(one for one in served.store.catalog.tokens.values() if one.name == "bia")
    with pytest.raises(EventNotFound):
        await compare_attempts(Caller(served.context, bia), event, AttemptsPage())
