"""A large backlog: one line that changes, and a summary."""

from __future__ import annotations

import asyncio
import io

import pytest
from msgspec.structs import replace

from relay_client import announcer, catching_up
from relay_client.announcer import Announcer
from relay_client.catching_up import CatchingUp
from relay_client.notices import Connected, Ended, Notice, Settled
from relay_client.render import make_render
from relay_http.target import Target
from relay_protocol.messages import Follows, Granted, Verdict, Welcome
from relay_protocol.values import Failure, FailureKind, Response
from relay_terminal.console import Console
from tests.support.raw_target import make_delivery
from tests.support.virtual_time import virtual_time
from tests.support.waiting import until

OK = Settled(make_delivery(), Response(200))
FAILED = Settled(make_delivery(), Response(500), Verdict("1.1", Follows.AGAIN, 5_000))
DEAD = Settled(make_delivery(), Response(500), Verdict("1.1", Follows.DEAD))


def welcome(backlog: int, retrying: int = 0) -> Connected:
    granted = Granted(1, "chatwoot", "ana", False, backlog, came=backlog, retrying=retrying)
    return Connected(Welcome("1.0", 1, (granted,)))


def test_it_counts_what_is_delivered_what_waits_and_how_long_that_takes() -> None:
    one = CatchingUp(1_000, 0.0)
    for number in range(400):
        assert one.takes(OK, number / 200)
    shown = [one.takes(FAILED, 2.0) for _ in range(5)]
    assert one.takes(DEAD, 2.0)

    assert shown == [False, False, False, True, True], "some say why"
    assert one.line(2.0) == (
        "400 of 1,000 delivered, 594 wait, 6 failed, 203 a second, about 3 s left"
    )
    assert not one.over(2.0)
    assert one.over(2.0 + catching_up.IDLE_S), "others had the rest"
    assert one.summary() == (
        "Caught up: 400 webhooks delivered in 2 s, 200 a second; 5 are tried again; 1 is dead:"
        " relay-client replay --dead"
    )


@pytest.mark.parametrize(
    "notice",
    [
        Settled(replace(make_delivery(), replay=True), Response(200)),
        Settled(make_delivery(), Failure(FailureKind.TARGET_DOWN)),
    ],
)
def test_replays_and_what_was_not_tried_are_no_part_of_it(notice: Settled) -> None:
    one = CatchingUp(200, 0.0)

    assert not one.takes(notice, 4.0)
    assert one.over(5.0)


async def told(notices: list[Notice], *, terminal: bool = True) -> str:
    """What is written of notices in one go, until nothing more is."""
    out = io.StringIO()
    console = Console(out, io.StringIO(), is_terminal=terminal, cells=80)
    one = Announcer(console)
    one.counts_backlog = terminal
    one.render = make_render("pretty", console, "http://relay", {"chatwoot": Target("h", 1)})
    one.tell(notices[:1])
    await asyncio.sleep(2 * announcer._LOOK_S)
    one.tell(notices[1:])
    if terminal:
        await until(lambda: one._catching_up is None)
    return out.getvalue()


@virtual_time
async def test_a_large_backlog_is_a_line_that_changes_and_a_summary() -> None:
    """What else happens stands in place of that line, and it below again."""
    output = await told([welcome(103, retrying=2), *[OK] * 101, Ended("stopped", 0)])

    screen = [line.rpartition("\r")[2] for line in output.split("\n")]
    assert "0 of 101 delivered, 101 wait\r" in output + "\r"
    assert screen[-3].startswith("Caught up: 101 webhooks delivered in ")
    assert "Stopped." in screen[-2]
    assert output.count("200") == 0
    assert screen[-1] == ""


@virtual_time
@pytest.mark.parametrize(("backlog", "terminal"), [(100, True), (500, False)])
async def test_a_small_backlog_and_a_pipe_have_a_line_for_each(
    backlog: int, *, terminal: bool
) -> None:
    output = await told([welcome(backlog), OK, OK], terminal=terminal)

    assert output.count("message_created") == 2
    assert "\r" not in output
