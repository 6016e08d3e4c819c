"""`relay-server events`: asked, and shown whole."""

from __future__ import annotations

import asyncio
import dataclasses
import re
from typing import Any

import pytest

from relay_protocol.text import short_id
from relay_server.cli import channels, events
from relay_server.errors import InvalidValue, NothingSelected
from relay_terminal.console import Console
from relay_terminal.layout import width
from tests.unit.server.asking import Json
from tests.unit.server.commanding import Run, Shown, answer
from tests.unit.server.results import DELIVERY, EVENT, ID, TOKEN


def test_events_and_status_of_a_server_that_does_not_run(command: Run) -> None:
    command("init")
    assert command("events", "list")[1] == "Nothing came in yet.\n"
    listed = answer(command("events", "list", "--limit", "5", "--before", "9", "--json"))
    assert (listed["events"], listed["complete"]) == ([], True)
    assert command("events", "list", "is:faild")[0] == 1
    assert command("events", "list", "kind:message_*", "-is:private")[1] == "Nothing came in yet.\n"
    assert "no option --limt" in command("events", "list", "--limt", "5")[2]
    assert command("events", "list", "--limit", "0")[0] == 2
    assert command("events", "list", "--limit", "501")[0] == 2
    status, _, err = command("events", "list", "--channel", "x&limit=1")
    assert (status, "no channel is named 'x&limit=1'" in err) == (1, True)
    state = answer(command("status", "--json"))
    assert state["running"] is False
    assert state["settings"]["data_dir"]["source"] == "RELAY_SERVER_DATA_DIR"
    assert "Not running" in command("status")[1]
    assert answer(command("subscription", "list", "--json")) == {"subscriptions": []}


@pytest.mark.parametrize("length", [1, 30, 400])
@pytest.mark.parametrize("columns", [60, 80, 120])
def test_an_event_is_two_lines_however_many_are_subscribed(
    shown: Shown, monkeypatch: pytest.MonkeyPatch, length: int, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    many = [DELIVERY | {"subscription": f"João {n}"} for n in range(9)]
    wide = EVENT | {"request_target": "/" + "k" * length, "deliveries": many}
    found = {"events": [wide, EVENT | {"size": 2_048}], "older": 6, "newest": 7}
    text = shown(events.show_events, found)
    told = text.splitlines()
    begun = [line for line in told if line.startswith(f"7  {short_id(ID)}  2026-07-02 14:00:10")]
    assert len(begun) == 2
    assert len(told) <= 4 + 2 + 3
    assert all(width(line) <= columns for line in told)
    assert told[-2:] == ["", "Older ones: --before 6"]
    for part in (
        "created  #42",
        "  retrying 9; POST",
        "  retrying 503; POST /webhook?a=%2F, 2 KiB",
    ):
        assert part in text


@pytest.mark.parametrize(
    ("deliveries", "said"),
    [
        ([], "nobody subscribed then"),
        ([{"state": "pending", "attempt": 0, "status": None}], "waiting"),
        ([{"state": "under_way", "attempt": 1, "status": None}], "under way"),
        (
            [{"state": "delivered", "attempt": 1, "status": 200}] * 8 + [{"state": "dead"}],
            "delivered 8, dead 1",
        ),
    ],
)
def test_what_became_of_an_event(shown: Shown, deliveries: list[Json], said: str) -> None:
    one = EVENT | {"deliveries": [DELIVERY | delivery for delivery in deliveries]}
    assert said in shown(events.show_events, {"events": [one], "older": None})


def test_nothing_came_in_yet(shown: Shown) -> None:
    assert shown(events.show_events, {"events": [], "newest": 0}) == "Nothing came in yet.\n"


def test_an_event_whole(shown: Shown) -> None:
    text = shown(events.show_event, EVENT)
    for part in (
        ID,
        "chatwoot, sequence 7",
        "POST /webhook?a=%2F",
        "Content-Type: application/json",
        "Authorization: •••",
        '"content": "Olá 👋"',
        "503 (text/plain, 4 bytes):",
        "target lost: reset",
        "ana: retrying 503: the target answers 503, next attempt at 2026-07-02 ",
    ):
        assert part in text
    assert not {"sent before as", "damaged"} & set(text.replace("  ", "\n").splitlines())


def test_steps_of_a_hand_off_are_said(shown: Shown) -> None:
    step = {"subscription": "ana", "step": "note", "at": 1, "done": True, "text": "note 8"}
    begun = step | {"step": "open", "done": False, "text": ""}
    text = shown(events.show_event, EVENT | {"hand_off": [step, begun]})

    assert "hand-off of ana: note: note 8" in text
    assert "hand-off of ana: open: begun, and not known to be done" in text


def test_an_event_that_was_sent_before_and_one_that_is_damaged(shown: Shown) -> None:
    text = shown(events.show_event, EVENT | {"repeat_of": "evt_1", "damaged": True})

    assert re.search("sent before as +evt_1", text)
    assert "sent to nobody" in text


def test_an_event_that_was_edited_and_one_that_is_pinned(shown: Shown) -> None:
    edited = EVENT | {"edited_from": "evt_1", "made_by": "ana", "pinned": "audio"}
    text = shown(events.show_event, edited)
    assert re.search("edited from +evt_1 by ana", text)
    assert re.search("pinned as +audio", text)
    assert "by somebody here" in shown(events.show_event, edited | {"made_by": ""})


def test_an_attempt_of_a_replay_is_marked(shown: Shown) -> None:
    text = " ".join(shown(events.show_event, EVENT).split())
    assert "ana (replay 3) 2 " in text
    assert "ana 1 " in text


@pytest.mark.parametrize(
    ("body", "part"),
    [
        (None, "(20 bytes that are no text: --body sends them to a file or a pipe)"),
        ("plain", "plain"),
        ("[" * 100_000, "… 80000 characters more"),
        ('{"n":' + "9" * 5_000 + "}", "999"),
        ('"\\ud800"', "\ufffd"),
        ("line\nline", "line\nline"),
        ("x" * 20_001, "… 1 characters more"),
    ],
)
def test_any_body(shown: Shown, body: str | None, part: str) -> None:
    assert part in shown(events.show_event, EVENT | {"body": body})


def test_brackets_are_no_markup(shown: Shown) -> None:
    odd = "[red]x[/red] [link=http://evil]y[/] [/]"
    text = shown(events.show_event, EVENT | {"kind": odd, "body": odd})
    assert text.count(odd) == 2
    assert "[bold]z" in shown(channels.show_tokens, {"tokens": [TOKEN | {"name": "[bold]z"}]})


def test_a_terminal_gets_no_bytes_that_it_would_obey(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = dataclasses.replace(Console.of_process(), is_terminal=True)
    monkeypatch.setattr(Console, "of_process", lambda: terminal)
    for body in (None, "\x1b]0;pwned\x07", "\x9b31m"):
        with pytest.raises(InvalidValue, match="a terminal would take for commands"):
            events.show_event(EVENT | {"part": "body", "body": body, "body_base64": "/w=="})


def test_the_latest_of_none_is_not_found(command: Run) -> None:
    """It is a path of the API, too, with another answer."""
    command("init")
    status, out, err = command("events", "show", "latest")
    assert (status, out) == (1, "")
    assert "no event has the id 'latest'" in err


def test_only_what_is_tried_again_is_given_up() -> None:
    """The one subscription for which that is so; of several one is named."""

    class Answers:
        def __init__(self, *deliveries: tuple[str, str, int, int | None]) -> None:
            names = "subscription", "state", "attempt", "replay"
            self.deliveries = [dict(zip(names, one, strict=True)) for one in deliveries]
            self.asked: list[tuple[str, str]] = []

        async def call(self, method: str, target: str, body: Json | None = None) -> Json:
            self.asked.append((method, target))
            if method == "GET":
                return {"id": ID, "channel": "chatwoot", "deliveries": self.deliveries}
            assert body == {"event": ID}
            return {"subscription": target.split("/")[3]}

    def given_up(api: Answers, name: str | None = None) -> Json:
        work: Any = events.events_give_up(ID, name)
        return asyncio.run(work(api))

    others = ("bia", "delivered", 1, None), ("cy", "pending", 0, None), ("dan", "waiting", 2, 7)
    api = Answers(("ana", "waiting", 3, None), *others)
    assert given_up(api) == {"subscription": "ana"}
    assert api.asked[-1] == ("POST", "channels/chatwoot/subscriptions/ana/give-up")
    assert given_up(Answers(*others), "eva") == {"subscription": "eva"}
    with pytest.raises(NothingSelected):
        given_up(Answers(*others))
    with pytest.raises(InvalidValue, match="ana, eva"):
        given_up(Answers(("ana", "waiting", 3, None), ("eva", "under_way", 1, None)))
