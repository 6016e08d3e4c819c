"""Whatever is searched for, an answer begins no more work once its time is over."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

import pytest

from relay_server.operations import finding
from relay_server.search.follower import Search
from tests.support.stores import MemoryStore
from tests.support.texts import HARD_QUESTIONS, body_of
from tests.unit.server.asking import Asking, append
from tests.unit.server.support import Served
from tests.unit.server.test_api_search import found_both_ways, level

__all__ = ["found_both_ways"]  # a fixture
EVENTS, PIECE = 100, 16
MOST = 2_000  # characters that the page's field takes


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many events were looked at one by one, each time; and 0 for each look at the index."""
    sizes, examine, find = list[int](), MemoryStore.examine, Search.find

    async def examined(store: MemoryStore, number: int, among: Sequence[int], look: Any) -> Any:
        sizes.append(len(among))
        return await examine(store, number, among, look)

    async def asked(search: Search, *of: Any) -> Any:
        sizes.append(0)
        return await find(search, *of)

    monkeypatch.setattr(MemoryStore, "examine", examined)
    monkeypatch.setattr(Search, "find", asked)
    return sizes


@pytest.mark.usefixtures("found_both_ways")
async def test_a_hard_question_is_one_look_at_the_index_or_one_at_a_few_events(
    served: Served, ana: Asking, looked: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(EVENTS):
        await append(served, body=body_of(f"O pedido {number} não chegou, João"))
    await level(served)
    monkeypatch.setattr(finding, "BUDGET_S", -1.0)
    monkeypatch.setattr(finding, "PIECE", PIECE)
    statuses = set[int]()
    for question in HARD_QUESTIONS:
        for path in ("events", "events/count"):
            looked.clear()
            answer = await ana("GET", f"{path}?{urlencode({'q': question[:MOST]})}")
            statuses.add(answer.status)
            assert len(looked) <= 2, question[:99]  # what is found is read for its row
            assert sum(looked) <= 2 * PIECE, question[:99]
    assert statuses == {200, 422}
