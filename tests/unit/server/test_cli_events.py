"""`relay-server events`: asked, and shown whole."""

from __future__ import annotations

import re

import pytest

from relay_server.cli import channels, events
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
def test_wide_tables_keep_ids_and_times_whole(shown: Shown, length: int) -> None:
    wide = EVENT | {
        "kind": "k" * length,
        "key": "🦆" * length,
        "deliveries": [DELIVERY | {"subscription": "João da Silva " * length}] * 3,
    }
    text = shown(events.show_events, {"events": [wide, EVENT | {"id": ID[:-1] + "c"}]})
    lines = text.splitlines()
    assert sum(ID in line for line in lines) == 1
    assert sum(ID[:-1] + "c" in line for line in lines) == 1
    assert len(re.findall(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ", text, re.MULTILINE)) == 2
    assert text.count("k") >= length, "nothing is cut away"


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
        "503: busy",
        "target lost: reset",
        "ana: retrying, next attempt ",
        "(the target answers 503)",
    ):
        assert part in text
    assert not {"sent before as", "damaged"} & set(text.replace("  ", "\n").splitlines())


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
        (None, "(20 bytes that are no text; --json gives them in base64)"),
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
