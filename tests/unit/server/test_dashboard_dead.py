"""The page of what is dead: however many reasons there are, each can be reached."""

from __future__ import annotations

import re
from html import unescape

import pytest

from relay_server.values import Mark, MarkState, Progress
from tests.support.clock import START_MS
from tests.unit.server.asking import append
from tests.unit.server.support import Served
from tests.unit.server.test_below_a_path import get, served
from tests.unit.server.test_dashboard_setup import logged_in

__all__ = ["served"]  # a fixture


async def test_every_reason_of_what_is_dead_can_be_reached(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relay_server.operations.dead.MAX_REASONS", 2)
    monkeypatch.setattr("relay_server.dashboard.dead.MAX_REASONS", 2)
    subscription, _ = await served.store.subscribe("chatwoot", "ana", None, START_MS)
    claim = await served.store.claim(subscription.number)
    assert claim is not None
    for _number in range(1, 6):
        await append(served)
    marks = tuple(
        Mark(n, MarkState.DEAD, 1, 1, reason=f"reason {n}", changed_at=n) for n in range(1, 6)
    )
    served.store.record(claim, Progress(5, marks))
    sent = await logged_in(served)
    path, seen = "/dev/relay/dead", list[str]()
    while path and len(seen) < 9:
        page = (await get(served, path, f"Cookie: {sent}")).body.decode()
        seen += re.findall(r"<h2>.*?1 × <bdi>(reason \d)</bdi></h2>", page)
        found = re.search(r'href="([^"]+)">More reasons of', page)
        path = unescape(found[1]) if found else ""
    assert seen == [f"reason {n}" for n in range(1, 6)]
    last = await get(served, "/dev/relay/dead?reason=reason+5", f"Cookie: {sent}")
    assert re.findall(r"1 × <bdi>(reason \d)</bdi>", last.body.decode()) == ["reason 5"]
