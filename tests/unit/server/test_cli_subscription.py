"""`relay-server subscription` and `forward`: asked, and shown."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from relay_server.cli import subscriptions
from relay_server.store.sqlite.store import open_sqlite
from tests.unit.server.asking import Json
from tests.unit.server.commanding import Run, Shown, answer
from tests.unit.server.results import FORWARD, SUBSCRIPTION

PAUSED_AT = 1_783_000_810_000


def test_subscriptions(command: Run, data_dir: Path) -> None:
    command("init")

    async def subscribe() -> None:
        store = await open_sqlite(data_dir)
        await store.subscribe("chatwoot", "João e ana", None, 1)
        await store.close()

    asyncio.run(subscribe())
    [found] = answer(command("subscription", "list", "--json"))["subscriptions"]
    assert (found["name"], found["connected"]) == ("João e ana", False)
    whose = ("subscription", "set", "chatwoot", "João e ana", "--json")
    changed = answer(command(*whose, "--retry-delays", "none"))
    assert changed["own_policy"] == {"retry_delays_s": []}
    assert answer(command(*whose, "--like-channel"))["own_policy"] == {}
    assert answer(command(*whose, "--filter", "kind:message_*"))["filter"] == "kind:message_*"
    assert "João e ana of chatwoot gets only kind:message_*" in command("subscription", "list")[1]
    away = answer(command(*whose, "--away", "handoff", "--away-after", "2m", "--away-note", "oi"))
    assert [away[name] for name in ("away", "away_after_s", "away_note")] == ["handoff", 120, "oi"]
    shown = " ".join(command("subscription", "show", "chatwoot", "João e ana")[1].split())
    assert "conversations are handed to people after 2m; 0 are" in shown
    assert "`kin:` is no word" in command(*whose, "--filter", "kin:x")[1]
    assert answer(command(*whose, "--filter", ""))["filter"] == ""
    status, out, _ = command("subscription", "delete", "chatwoot", "João e ana", "--yes")
    assert (status, out) == (0, "Forgot João e ana of chatwoot.\n")
    assert answer(command("subscription", "list", "--json")) == {"subscriptions": []}


def test_a_forward_is_kept_without_a_server_too(command: Run, tmp_path: Path) -> None:
    command("init")
    secret = tmp_path / "secret"
    secret.write_text("Bearer FIXTUREsecret\n")
    create = ("forward", "create", "chatwoot", "http://bot:8001/webhook", "--json")
    made = answer(command(*create, "--header-file", f"Authorization={secret}"))
    assert (made["name"], made["headers"]) == ("forward", {"Authorization": "•••"})
    assert "subscription named 'forward'" in command(*create)[1]
    whose = ("chatwoot", "forward", "--json")
    changed = answer(command("forward", "set", *whose, "--timeout", "5", "--no-headers"))
    assert (changed["timeout_s"], changed["headers"]) == (5, {})
    assert answer(command("forward", "set", *whose, "--filter", "from:bot"))["filter"] == "from:bot"
    assert "forward of chatwoot (from:bot) -> http" in command("forward", "list")[1]
    assert answer(command("forward", "pause", *whose))["paused"] == "paused by hand"
    assert answer(command("forward", "resume", *whose))["paused"] == ""
    assert "http://bot:8001/webhook" in command("forward", "list")[1]
    refused = command("subscription", "delete", "chatwoot", "forward", "--yes")
    assert "forward delete" in refused[2]


@pytest.mark.parametrize(
    ("changes", "reader"),
    [
        ({}, "connected"),
        ({"readers": 2}, "connected ×2"),
        ({"target_down": True, "waits_for": "refused"}, "ana of chatwoot: refused"),
        ({"connected": False}, "away"),
        ({"connected": False, "away_since": 1_783_000_810_000}, "away since 2026-07-02"),
        ({"forward": "http://bot/", "tried": False}, "not tried yet"),
        ({"forward": "http://bot/", "connected": False}, "not running"),
        ({"paused": "paused by hand"}, "connected, paused"),
    ],
)
def test_who_reads(
    shown: Shown, monkeypatch: pytest.MonkeyPatch, changes: Json, reader: str
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    found = {"subscriptions": [SUBSCRIPTION | changes]}
    text = " ".join(shown(subscriptions.show_subscriptions, found).split())
    assert reader in text
    assert ("relay-server subscription resume chatwoot ana" in text) == ("paused" in reader)


@pytest.mark.parametrize(
    ("noted", "said"),
    [
        ({}, "is paused: paused by hand. This has it go on"),
        ({"paused_at": PAUSED_AT}, "is paused: paused by hand, since 2026-07-02"),
        (
            {"paused_at": PAUSED_AT, "paused_by": "boss"},
            "is paused: paused by hand, by boss since 2026-07-02",
        ),
    ],
    ids=["not noted", "on the host", "by a token"],
)
def test_who_paused_it_is_said_and_since_when(
    shown: Shown, monkeypatch: pytest.MonkeyPatch, noted: Json, said: str
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    paused = SUBSCRIPTION | {"paused": "paused by hand"} | noted
    for show, found in (
        (subscriptions.show_subscriptions, {"subscriptions": [paused]}),
        (subscriptions.show_subscription, paused),
    ):
        assert said in " ".join(shown(show, found).split())


def test_a_pause_is_not_overlooked(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    paused = SUBSCRIPTION | {"paused": "the target answered 410"}
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.delenv("NO_COLOR", raising=False)
    subscriptions.show_subscriptions({"subscriptions": [paused]})
    [line] = [x for x in capsys.readouterr().out.splitlines() if "answered 410" in x]
    assert line.startswith("\x1b[1;31mana of chatwoot is paused")


def test_subscriptions_in_80_columns(shown: Shown) -> None:
    """A reason does not break the table; it has a line of its own."""
    waits = SUBSCRIPTION | {"target_down": True, "waits_for": "10.0.0.5:8001 does not answer"}
    text = shown(subscriptions.show_subscriptions, {"subscriptions": [waits]})
    _, line, _, why = text.splitlines()
    assert line.split()[-1] == "1"
    assert why == "ana of chatwoot: 10.0.0.5:8001 does not answer"


@pytest.mark.parametrize(
    ("changes", "reader"),
    [
        ({}, "not tried yet"),
        ({"tried": True}, "connected"),
        ({"connected": False}, "not running"),
        ({"connected": False, "waits_for": "it is starting"}, "not running"),
        ({"connected": False, "paused": "410"}, "not running, paused"),
        ({"target_down": True, "waits_for": "goes away"}, "target down"),
    ],
)
def test_a_forward_in_80_columns(shown: Shown, changes: Json, reader: str) -> None:
    """A line of the table, whole; below it the URL, and why it waits."""
    one = FORWARD | changes
    text = shown(subscriptions.show_forwards, {"forwards": [one]})
    _, line, *below = text.splitlines()
    assert re.search(rf"^chatwoot  forward  {reader}  +3  +20\d\d-[0-9-]+ [0-9:]+ +1$", line)
    why = f": {one['waits_for']}" if one["waits_for"] else ""
    assert f"forward of chatwoot -> http://bot:8001/webhook{why}" in below


def test_what_was_not_paused_does_not_go_on(command: Run) -> None:
    command("init")
    command("forward", "create", "chatwoot", "http://bot:8001/webhook")
    whose = ("chatwoot", "forward")
    assert command("forward", "resume", *whose)[1] == "forward of chatwoot was not paused.\n"
    command("forward", "pause", *whose)
    assert "goes on; 0 events wait" in command("forward", "resume", *whose)[1]
    for line in (("forward", "delete", "chatwoot", "nope"), ("channel", "delete", "nope")):
        assert "nope" in command(*line)[2]
        assert "[y/N]" not in command(*line)[2]
    assert answer(command("forward", "delete", *whose, "--yes", "--json")) == {
        "channel": "chatwoot",
        "name": "forward",
    }


def test_what_a_new_forward_says_of_its_target(shown: Shown) -> None:
    down = {"connected": True, "target_down": True, "waits_for": "bot:8001 does not answer"}
    assert "bot:8001 does not answer. What comes waits" in " ".join(
        shown(subscriptions.show_forward, FORWARD | down).split()
    )
    taken = shown(subscriptions.show_forward, FORWARD | {"connected": True, "tried": True})
    assert "http://bot:8001/webhook takes connections." in taken


def test_lists_of_a_channel(command: Run) -> None:
    command("init")
    command("channel", "create", "other")
    for channel in ("chatwoot", "other"):
        command("forward", "create", channel, "http://bot:8001/webhook")
    for noun, name in (("forward", "forwards"), ("subscription", "subscriptions")):
        found = answer(command(noun, "list", "--channel", "other", "--json"))[name]
        assert [one["channel"] for one in found] == ["other"]
        assert "no channel is named 'x'" in command(noun, "list", "--channel", "x")[2]
    for whose in (("--channel", "other"), ("other",)):
        assert command("dead", "list", *whose)[1] == "Nothing is dead.\n"
    assert "no channel is named 'x'" in command("dead", "list", "--channel", "x")[2]
