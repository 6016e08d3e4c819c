"""What is kept of an answer, how long a URL may be, how often a forward looks for its target."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from relay_protocol.values import Failure, FailureKind, Response
from relay_server.delivery.allow import MAX_URL_CHARS, read_url
from relay_server.delivery.push import Push
from relay_server.delivery.stream import TEXT_BYTES, _text
from relay_server.errors import MAX_RETRY_AFTER_S, InvalidValue, TooMany
from tests.support.virtual_time import running_clock, virtual_time


def test_of_a_failed_answer_the_beginning_is_kept() -> None:
    assert _text(Response(500, body=b"x" * (TEXT_BYTES + 1))) == "x" * TEXT_BYTES
    assert _text(Failure(FailureKind.NETWORK, "x" * (TEXT_BYTES + 1))) == "x" * TEXT_BYTES


def test_a_url_is_so_long_and_no_longer() -> None:
    longest = "http://bot:8001/".ljust(MAX_URL_CHARS, "x")

    assert read_url(longest).host == "bot"
    with pytest.raises(InvalidValue, match="at most"):
        read_url(longest + "x")


@pytest.mark.parametrize(("wait_s", "said"), [(MAX_RETRY_AFTER_S * 9, 3_600), (61.2, 62)])
def test_nobody_is_told_to_stay_away_for_more_than_an_hour(wait_s: float, said: int) -> None:
    assert TooMany("too many", wait_s).retry_after_s == said


class Inbox:
    """A pump that is told when it may go on."""

    def __init__(self) -> None:
        self.free = asyncio.Event()

    def hold(self, *_: object) -> None: ...

    def let_go(self, *_: object) -> None:
        self.free.set()


class Down:
    """A poster whose target is down for a while."""

    def __init__(self, looks: int) -> None:
        self.left = looks
        self.looked_at: list[float] = []

    async def look(self) -> str:
        self.looked_at.append(running_clock().now)
        self.left -= 1
        return "down" if self.left else ""


@virtual_time
async def test_looks_are_a_second_apart_and_later_five() -> None:
    push = object.__new__(Push)
    poster, inbox = Down(looks=12), Inbox()
    push._poster, push._inbox = poster, inbox  # type: ignore[assignment]
    push._loop, push.host, push.why_waiting = asyncio.get_running_loop(), "bot", "down"
    began = running_clock().now

    push._start_looking()
    await inbox.free.wait()

    pauses = [after - before for before, after in itertools.pairwise([began, *poster.looked_at])]
    assert pauses[0] == pytest.approx(1.0)
    assert pauses == sorted(pauses)
    assert pauses[-3:] == pytest.approx([5.0] * 3)
