"""What every store promises of its audit log."""

from __future__ import annotations

from typing import Any

import pytest

from relay_server.people import Noted
from relay_server.store.interface import Store
from relay_server.store.rules import AUDIT_MS
from relay_server.store.sql import people
from tests.support.clock import START_MS
from tests.support.stores import Stores


async def note(store: Store, at: int = START_MS, **asked: Any) -> None:
    await store.note(Noted(at, "ana", "203.0.113.9", "token.revoke", "bob", asked))


async def test_entries_are_kept_and_paged(stores: Stores, store: Store) -> None:
    for n in range(5):
        await note(store, n=n, nested={"ç": [1]})
    store = await stores.reopen(store)

    newest = await store.noted(None, 2, START_MS)
    older = await store.noted(newest[-1].number, 9, START_MS)

    assert [n.asked["n"] for n in (*newest, *older)] == [4, 3, 2, 1, 0]
    assert newest[0] == Noted(
        START_MS, "ana", "203.0.113.9", "token.revoke", "bob", {"n": 4, "nested": {"ç": [1]}}, 5
    )


async def test_the_oldest_go_by_number_and_by_age(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(people, "MAX_AUDITED", 3)
    for n in range(5):
        await note(store, START_MS + n, n=n)
    assert [n.asked["n"] for n in await store.noted(None, 9, START_MS)] == [4, 3, 2]

    later = START_MS + 4 + AUDIT_MS
    assert [n.asked["n"] for n in await store.noted(None, 9, later)] == [4]
    await note(store, later, n=5)
    assert [n.asked["n"] for n in await store.noted(None, 9, START_MS)] == [5, 4]
