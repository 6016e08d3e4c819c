"""Search beside a real server: killed at any moment, and switched off."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.support.relay import Relay, open_relay
from tests.support.senders import post_all, request
from tests.support.texts import body_of
from tests.support.waiting import until_true

KILLS = 4


def webhooks(token: str, says: str, count: int) -> Sequence[bytes]:
    return [
        request("/webhook", body_of(f"{says} {number}", talk=number), token=token)
        for number in range(count)
    ]


async def found(relay: Relay, query: str) -> int:
    """How many events a filter means, by as many answers as it takes."""
    count = before = 0
    while True:
        path = f"events/count?q={query}&before={before}"
        answer = await relay.control("GET", path)
        count, before = count + answer["count"], answer["scanned_to"]
        if answer["complete"]:
            return int(count)


async def is_level(relay: Relay) -> bool:
    [channel] = (await relay.control("GET", "status"))["channels"]
    index = channel["index"]
    return bool(index["indexed_to"] == index["newest"])


async def test_answers_are_right_after_a_kill_at_any_moment(relay: Relay) -> None:
    """Before it was indexed, while it was, and after; with the file, and without it."""
    token = relay.send_token
    for kill in range(1, KILLS + 1):
        answers = await post_all(relay.port, webhooks(token, "Não chegou", 70))
        assert {answer.status for answer in answers} == {200}
        if kill % 2 == 0:
            await until_true(lambda: is_level(relay))
        relay.server.kill()
        if kill == KILLS:
            (relay.data_dir / "search.db").unlink()
        await relay.start()
        assert await found(relay, "nao+chegou") == 70 * kill
        assert await found(relay, "conv:7") == kill
    [channel] = (await relay.said("index"))["channels"]  # it waits until all is indexed
    assert channel["indexed_to"] == 70 * KILLS
    assert await found(relay, "nao+chegou") == 70 * KILLS
    page = await relay.control("GET", "events?q=chegou&limit=3")
    assert (len(page["events"]), page["indexed_to"]) == (3, 70 * KILLS)


async def test_search_that_is_switched_off(tmp_path: Path) -> None:
    async with open_relay(tmp_path / "relay", search="off") as relay:
        token = relay.send_token
        await post_all(relay.port, webhooks(token, "Não chegou", 5))
        assert await found(relay, "nao+chegou") == 5
        [channel] = (await relay.control("GET", "status"))["channels"]
        assert channel["index"] is None
        assert not list(relay.data_dir.glob("search.db*"))
