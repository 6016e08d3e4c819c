"""Asking the relay for events once more."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from relay_client import replays
from relay_client.console import Console
from relay_client.errors import RelayProblem, UsageError
from relay_client.settings import ClientSettings, Configuration
from tests.unit.client.support import REPLAY, TOKEN, FakeRelay, fake_relay

SOURCES = dict.fromkeys(ClientSettings.model_fields, "default")


@pytest.fixture
def console() -> Console:
    """What is printed can be read."""
    return Console(io.StringIO(), io.StringIO())


def configuration(relay: FakeRelay, **settings: Any) -> Configuration:
    """A relay, a token, and what else is set."""
    given = ClientSettings.model_validate({"url": relay.url, "token": TOKEN} | settings)
    return Configuration(given, SOURCES, Path(), colour=False)


def printed(console: Console) -> str:
    """What is on standard output."""
    assert isinstance(console.out, io.StringIO)
    return console.out.getvalue()


def chosen(**options: Any) -> dict[str, Any]:
    """A selection by options alone."""
    return replays.selection(**({"events": (), "since": None, "until": None} | options))


async def test_events_by_id_are_of_their_own_channel(console: Console) -> None:
    """And for the subscription that connect reads: the token's name."""
    async with fake_relay() as relay:
        selection = chosen(events=["evt_1"], kind=None, dead=False, text=None)
        await replays.run_replay(selection, None, configuration(relay), console, as_json=False)

    [(call, body)] = relay.asked
    assert call == "POST /api/v1/replays"
    assert body == {"channel": None, "subscription": "ana", "selection": {"events": ["evt_1"]}}
    assert "Replay 3 for ana of chatwoot: at most 1,200 events, 200 a second." in printed(console)
    assert "relay-client connect" in printed(console), "nobody is connected"


async def test_by_condition_the_token_makes_the_channel_clear(console: Console) -> None:
    """Or `--channel` does; `--as` names the subscription."""
    async with fake_relay() as relay:
        selection = chosen(key="42", dead=True)
        await replays.run_replay(selection, 5.0, configuration(relay), console, as_json=True)
        named = configuration(relay, channel="shop", name="desktop")
        await replays.run_replay(selection, None, named, console, as_json=True)
        relay.whoami["channels"] = ["one", "two"]
        with pytest.raises(UsageError, match="one, two") as unclear:
            await replays.run_replay(selection, None, configuration(relay), console, as_json=True)

    first, second = (body for _, body in relay.asked)
    assert (first["channel"], first["subscription"]) == ("chatwoot", "ana")
    assert (first["selection"], first["rate_per_s"]) == ({"key": "42", "dead": True}, 5)
    assert (second["channel"], second["subscription"]) == ("shop", "desktop")
    assert "--channel" in unclear.value.hint
    assert json.loads(printed(console).splitlines()[0]) == {"replays": [REPLAY]}


def test_times_are_read() -> None:
    """A span back, or a moment; the wrong option is named."""
    found = chosen(since="beginning", until="2026-07-02T14:00:10Z")
    assert found == {"received_from": 0, "received_before": 1_783_000_810_000}
    assert chosen(until="now")["received_before"] - chosen(since="1h")["received_from"] > 3_500_000
    with pytest.raises(UsageError, match="--until 'yesterday'"):
        chosen(until="yesterday")


async def test_replays_are_listed_and_stopped(console: Console) -> None:
    """Stopping lists what there is then."""
    async with fake_relay() as relay:
        await replays.run_replays(None, configuration(relay), console, as_json=False)
        await replays.run_replays(3, configuration(relay), console, as_json=True)
        with pytest.raises(RelayProblem, match="no such thing"):
            await replays.run_replays(4, configuration(relay), console, as_json=False)

    calls = [call for call, _ in relay.asked]
    assert calls == [
        "GET /api/v1/replays",
        "DELETE /api/v1/replays/3",
        "GET /api/v1/replays",
        "DELETE /api/v1/replays/4",
    ]
    heading, line, last = printed(console).splitlines()
    assert heading.split()[0] == "REPLAY"
    assert " ".join(line.split()) == "3 chatwoot ana waits for its client 12.5 % 5"
    assert json.loads(last)["replays"][0]["number"] == 3
