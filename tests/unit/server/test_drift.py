"""Webhooks of a kind that have other fields than before: noticed, told, compared, dismissed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from relay_server.bodies.shape import LEARN, STREAK, Difference, Known, Turned, shape_of
from relay_server.drift import FILE_NAME, REST_S, SAMPLE_S, Drift, Drifts
from tests.support.chatwoot import FOLDER
from tests.support.waiting import until
from tests.unit.server.asking import Asking, append
from tests.unit.server.support import Served

UPDATED = json.loads((FOLDER / "conversation_updated.json").read_bytes())
TEAM = {"id": 3, "name": "atendimento", "icon": "", "icon_color": ""}  # 4.16.0 on: four keys
NEWER = UPDATED | {"meta": UPDATED["meta"] | {"team": TEAM}}

bodies = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=20,
)


def learnt(known: Known, *seen: object, times: int = 1) -> list[Difference]:
    """What changed for good by some bodies, one after the other, so many times."""
    shapes = [shape_of(body) for body in seen] * times
    found = [known.learn(f"evt_{known.seen + 1}", shape) for shape in shapes]
    return [one for one in found if one is not None]


@given(bodies)
def test_what_stays_the_same_is_no_news(body: object) -> None:
    assert learnt(Known(), body, times=LEARN + 2 * STREAK) == []


@given(st.lists(bodies, min_size=1, max_size=6))
def test_what_was_seen_while_it_was_learnt_is_no_news_later(several: list[object]) -> None:
    known = Known()
    learnt(known, *several, times=LEARN)
    assert learnt(known, *several, times=STREAK) == []


def test_fields_come_and_go_and_turn_once_enough_bodies_say_so() -> None:
    known = Known()
    old: dict[str, Any] = {"id": 7, "meta": {"team": None, "old": "x"}, "tags": [{"name": "a"}]}
    new: dict[str, Any] = {"id": "7", "meta": {"team": {"id": 3, "name": "b"}}, "tags": []}
    assert learnt(known, old, times=LEARN) == []
    assert learnt(known, new, times=STREAK - 1) == []

    [found] = learnt(known, new)

    assert found.came == ["meta.team.id", "meta.team.name"]
    assert found.went == ["meta.old"], "an empty list says nothing of what it would hold"
    assert found.turned == [Turned("id", "number", "text")]
    assert (found.before, found.after) == (f"evt_{LEARN}", f"evt_{LEARN + 1}")
    assert learnt(known, new, times=3 * STREAK) == [], "told once"


def test_what_may_be_there_is_no_news() -> None:
    known, bare = Known(), {"id": 7, "a": 1}
    learnt(known, bare, times=LEARN)

    assert learnt(known, bare | {"files": [1]}, bare, times=3 * STREAK) == []
    assert learnt(known, {"id": 7}, bare, times=3 * STREAK) == [], "nor what may be missing"
    assert learnt(known, bare | {"a": "1"}, bare, times=3 * STREAK) == [], "nor of which type"
    assert learnt(known, bare | {"custom_attributes": {"x": 1}}, times=STREAK)[0].came == [
        "custom_attributes"
    ]
    assert learnt(known, bare | {"custom_attributes": {"y": "1"}}, times=2 * STREAK) == []


@pytest.fixture
async def drifts(served: Served) -> AsyncIterator[Drifts]:
    """The server's, at work."""
    task = asyncio.create_task(served.context.drifts.run())
    yield served.context.drifts
    task.cancel()


def known(served: Served) -> Known:
    """What is known of the kind that is posted."""
    number = served.store.catalog.channels["chatwoot"].number
    return served.context.drifts._state.known.get(number, {}).get("conversation_updated", Known())


async def post(served: Served, body: object, times: int, every_s: float = REST_S) -> list[str]:
    """As many events, each late enough to be looked at."""
    ids = []
    for _ in range(times):
        event: dict[str, Any] = {"body": json.dumps(body).encode(), "kind": "conversation_updated"}
        ids.append(await append(served, **event))
        await until(lambda: known(served).last == ids[-1])
        served.clock.advance(every_s)
    return ids


async def test_a_kind_that_is_known_is_looked_at_now_and_then_unless_it_differs(
    served: Served, drifts: Drifts
) -> None:
    await post(served, UPDATED, LEARN, every_s=SAMPLE_S)
    await until(lambda: min(drifts._next_at.values()) > served.clock.monotonic())
    await append(served, body=json.dumps(NEWER).encode(), kind="conversation_updated")
    served.clock.advance(REST_S)
    await post(served, UPDATED, 1)
    assert known(served).seen == LEARN + 1, "one of them was left out"

    await post(served, NEWER, STREAK, every_s=SAMPLE_S)
    assert len(drifts.all()) == 1


async def test_an_upgrade_is_told_with_an_event_of_each_side(
    served: Served, drifts: Drifts, admin: Asking, ana: Asking
) -> None:
    old = await post(served, UPDATED, LEARN)
    assert (await admin.ok("GET", "status"))["drifts"] == []
    with capture_logs() as logs:
        new = await post(served, NEWER, STREAK)
    [told] = [log for log in logs if "other fields" in log["event"]]
    assert (told["channel"], told["before"], told["after"]) == ("chatwoot", old[-1], new[0])

    [found] = (await ana.ok("GET", "drifts"))["drifts"]

    assert (found["channel"], found["kind"]) == ("chatwoot", "conversation_updated")
    assert found["came"] == ["meta.team.icon", "meta.team.icon_color"]
    assert (found["went"], found["turned"]) == ([], [])
    assert (found["before"], found["after"]) == (old[-1], new[0])
    assert (await admin.ok("GET", "status"))["drifts"] == [found]
    number = found["number"]
    assert (await ana.refused("DELETE", f"drifts/{number}"))[0] == 403
    await admin.ok("DELETE", f"drifts/{number}")
    assert (await ana.ok("GET", "drifts"))["drifts"] == []
    for gone in (number, "x", "1" * 50):
        assert await admin.refused("DELETE", f"drifts/{gone}") == (404, "drift_not_found")


async def test_what_is_known_outlives_a_restart_and_a_lost_file_is_made_anew(
    served: Served, drifts: Drifts
) -> None:
    await post(served, UPDATED, LEARN)
    await post(served, NEWER, STREAK)
    await drifts.close()
    folder = served.context.settings.data_dir

    def again() -> list[Drift]:
        return Drifts(folder, served.store, served.clock).all()

    await until(lambda: again() == drifts.all() != [])
    assert UPDATED["meta"]["sender"]["name"].encode() not in (folder / FILE_NAME).read_bytes()

    for content in (b"", b"\xc1", (folder / FILE_NAME).read_bytes()[:50]):
        (folder / FILE_NAME).write_bytes(content)
        assert again() == []


async def test_a_channel_takes_what_is_known_of_it_with_it(served: Served, drifts: Drifts) -> None:
    await post(served, UPDATED, LEARN)
    await post(served, NEWER, STREAK)
    [drift] = drifts.all()

    await served.store.delete_channel("chatwoot")

    assert drift.channel not in drifts._state.known
    assert drifts.all() == []


async def test_what_cannot_be_looked_at_does_not_end_the_server(
    served: Served, drifts: Drifts, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_body: object) -> dict[str, str]:
        raise KeyError("a body nobody thought of")

    failed = asyncio.Event()
    with monkeypatch.context() as patched:
        patched.setattr("relay_server.drift.shape_of", fails)
        patched.setattr("relay_server.drift.log.error", lambda *_, **__: failed.set())
        await append(served, body=b"{}", kind="conversation_updated")
        await failed.wait()
    served.clock.advance(SAMPLE_S)
    await post(served, UPDATED, 1)


async def test_kinds_that_come_no_more_make_room(
    served: Served, drifts: Drifts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sender that names kinds at will fills no file, however often the server starts."""
    monkeypatch.setattr("relay_server.drift.MAX_KINDS", 2)
    number = served.store.catalog.channels["chatwoot"].number
    drifts._state.known[number] = {"old": Known(seen=1), "older": Known(seen=1)}

    await post(served, UPDATED, 1)
    assert list(drifts._state.known[number]) == ["conversation_updated"]
