"""`relay-server replay`, `replays` and `dead`: asked, and shown."""

from __future__ import annotations

import pytest

from relay_server.cli import replays, subscriptions
from tests.unit.server.asking import Json
from tests.unit.server.commanding import Run, Shown, answer
from tests.unit.server.results import DEAD, EVENT, ID, REPLAY


def test_a_replay_begins_with_the_server(command: Run) -> None:
    answer(command("init", "--json"))
    status, _, err = command("replay", "--all")
    assert (status, "nobody has subscribed" in err) == (1, True)
    answer(command("forward", "create", "chatwoot", "http://bot:8001/", "--json"))
    status, out, _ = command("replay", "--all", "--rate-per-s", "5")
    assert (status, "It begins with the server" in out) == (0, True)
    assert "for forward of chatwoot: everything; at most 0 events, 5 a second" in out
    for line in ("dead replay --all", "dead discard --all --yes"):
        status, out, err = command(*line.split())
        assert (status, out, "is dead" in err) == (1, "", True), line
    status, _, err = command("replay", "--since", "yesterday")
    assert (status, "--since: 'yesterday' is not a time" in err) == (1, True)


def test_the_newest_of_those_that_are_meant(command: Run) -> None:
    """As on the laptop: a number of events; a range as it was written before goes on to work."""
    answer(command("init", "--json"))
    for line, said in {
        "--last 5": "no event matches",
        "--last 5 --dead": "--last goes with a filter",
        "--last 5000": "--last takes up to 1,000",
        "--first 1 --last 9": "nobody has subscribed",
        "--first 1 --through 9": "nobody has subscribed",
        "--all --key x": "--all goes with no other",
    }.items():
        status, _, err = command("replay", *line.split())
        assert (status != 0, said in err) == (True, True), (line, err)


def test_a_dry_run_begins_nothing(command: Run, shown: Shown) -> None:
    command("init")
    status, _, err = command("replay", "--all", "--dry-run")
    assert (status, "nobody has subscribed" in err) == (1, True)
    plan: Json = {
        "channel": "chatwoot",
        "at_most": 3,
        "by_subscription": [{"subscription": "ana", "at_most": 3}],
        "sample": [EVENT],
        "complete": True,
    }
    text = shown(replays.show_begun, plan)
    for part in (
        "ana of chatwoot would get 3 events.",
        "The first of them:",
        f"  {ID[-8:]}  ",
        "Nothing was begun",
    ):
        assert part in text
    assert "would get at most 3" in shown(replays.show_begun, plan | {"complete": False})


def test_what_a_replay_is_of(shown: Shown) -> None:
    text = " ".join(shown(replays.show_replay, REPLAY).split())
    for part in (
        "2 events by id, from sequence 4, up to sequence 9, since 2026-",
        "kind message_created, key 42, with 'refund', dead ones",
        "50 %, 1 delivered",
        "by somebody here",
    ):
        assert part in text
    assert "everything" in shown(replays.show_replay, REPLAY | {"selection": {}})
    assert "without key" in shown(replays.show_replay, REPLAY | {"selection": {"key": ""}})


@pytest.mark.parametrize(
    ("changes", "running", "said"),
    [
        ({}, True, "Replay 3 for ana of chatwoot: "),
        ({}, True, "relay-server replays list"),
        ({"connected": False}, True, "ana is away"),
        ({"paused": "paused by hand"}, True, "ana is paused: paused by hand"),
        ({"connected": False}, False, "It begins with the server"),
    ],
)
def test_a_replay_was_begun(shown: Shown, changes: Json, running: bool, said: str) -> None:
    assert said in shown(replays.show_begun, {"running": running, "replays": [REPLAY | changes]})


def test_replays_in_80_columns(shown: Shown) -> None:
    """A line that says how far it is; below it what it is of, broken between words."""
    first, *more = shown(replays.show_replays, {"replays": [REPLAY]}).splitlines()
    assert first == "3  ana of chatwoot: running, 50 %, 1 delivered"
    assert more[0].startswith("    begun 20")
    assert more[-1].endswith("dead ones")
    assert all(line.startswith("    ") and len(line) <= 80 for line in more)


def test_a_dead_delivery(shown: Shown) -> None:
    text = shown(replays.show_dead, {"dead": [DEAD]})
    assert ID in text
    assert "answered 500" in " ".join(text.split())


def test_nothing_there(shown: Shown) -> None:
    assert shown(replays.show_dead, {"dead": []}) == "Nothing is dead.\n"
    assert "relay-server forward create" in shown(subscriptions.show_forwards, {"forwards": []})
    assert shown(replays.show_replays, {"replays": []}) == "There is no replay.\n"
