"""What all connections of the public port may hold together, and what a proxy adds to them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from relay_server.web import front
from relay_server.web.capture import read_head
from tests.support.senders import connection, read_answer, request
from tests.support.waiting import until
from tests.unit.server.support import Served, serve_front


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    async with serve_front(tmp_path) as served:
        yield served


def test_a_token_in_a_proxys_copy_of_the_url_is_dropped() -> None:
    """The store and every client would have it else."""
    copies = [(b"X-Forwarded-Uri", b"/webhook?token=rly_x"), (b"Referer", b"https://a/?t=rly_x")]

    assert read_head("/webhook", [*copies, (b"X-Other", b"1")]).headers == ((b"X-Other", b"1"),)


async def test_bodies_on_all_connections_together_are_bounded(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Above the bound a sender is asked to come back; what it held is free again."""
    monkeypatch.setattr(front, "MAX_ARRIVING_BYTES", 1_000)
    half_come = request(body=b"x" * 900, length=1_000, token=served.token)

    async with connection(served.port) as one, connection(served.port) as two:
        await one.send(half_come)
        await until(lambda: served.front.arriving == 900)
        await two.send(half_come)
        refused = await read_answer(two.reader)
        assert (refused.status, served.front.arriving) == (429, 900)

    await until(lambda: served.front.arriving == 0)
    assert (await served.send(request(body=b"x" * 999, token=served.token))).status == 200
    assert served.front.arriving == 0
