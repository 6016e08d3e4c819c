"""The commands that ask the relay something, or keep something here."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from relay_client import cli, saved_login
from relay_client.commands import account, events, replaying, replays, subscriptions
from relay_client.errors import (
    ClientError,
    ExitStatus,
    NothingFound,
    RelayProblem,
    TokenRefused,
    UsageError,
)
from relay_terminal.console import Console
from tests.unit.client.support import (
    REPLAY,
    TOKEN,
    asked,
    configuration,
    console,
    fake_relay,
    printed,
)


@pytest.fixture
def told() -> Console:
    """What a command printed."""
    return console()


@pytest.mark.parametrize("from_file", [True, False])
async def test_login_checks_and_keeps_the_token(
    from_file: bool, tmp_path: Path, told: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read from a file, or from standard input."""
    file = tmp_path / "token"
    file.write_text(TOKEN + "\n")
    monkeypatch.setattr("sys.stdin", io.StringIO(TOKEN + "\n"))
    async with fake_relay() as relay:
        await cli.run_login(
            relay.url + "/",
            file if from_file else None,
            configuration(relay.url, folder=tmp_path),
            told,
            as_json=False,
        )

        assert saved_login.load(tmp_path) == {"url": relay.url, "token": TOKEN}
    assert "as ana" in printed(told)
    assert TOKEN not in printed(told)


async def test_login_keeps_nothing_that_is_refused(
    tmp_path: Path, told: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong token, or one that may not read."""
    async with fake_relay() as relay:
        settings = configuration(relay.url, folder=tmp_path)
        monkeypatch.setattr("sys.stdin", io.StringIO("wrong\n"))
        with pytest.raises(TokenRefused):
            await cli.run_login(relay.url, None, settings, told, as_json=False)

        relay.whoami["scopes"] = ["send"]
        monkeypatch.setattr("sys.stdin", io.StringIO(TOKEN + "\n"))
        with pytest.raises(ClientError, match="may only send"):
            await cli.run_login(relay.url, None, settings, told, as_json=False)

        monkeypatch.setattr("sys.stdin", io.StringIO("\n"))
        with pytest.raises(UsageError, match="no token"):
            await cli.run_login(relay.url, None, settings, told, as_json=False)
        with pytest.raises(UsageError, match="ftp"):
            await cli.run_login("ftp://x", None, settings, told, as_json=False)
    assert saved_login.load(tmp_path) == {}


def test_logout_forgets(tmp_path: Path, told: Console) -> None:
    """And says whether there was anything."""
    saved_login.save(tmp_path, {"url": "https://a.example", "token": "t"})
    env = {"RELAY_CLIENT_CONFIG_DIR": str(tmp_path)}

    for _ in range(2):
        CliRunner().invoke(
            cli.whole(), ["logout", "--json"], obj=told, env=env, catch_exceptions=False
        )

    assert [json.loads(line) for line in printed(told).splitlines()] == [
        {"logged_out": True},
        {"logged_out": False},
    ]


async def test_whoami_says_who_and_where_settings_come_from(told: Console) -> None:
    """The token itself is never shown."""
    async with fake_relay() as relay:
        await asked(account.whoami, configuration(relay.url), told, as_json=False)
        await asked(account.whoami, configuration(relay.url), told, as_json=True)

    text, _, last = printed(told).rstrip().rpartition("\n")
    assert "ana, may subscribe" in text
    assert "flag" in text
    whole = json.loads(last)
    assert whole["name"] == "ana"
    assert whole["settings"]["url"]["source"] == "flag"
    assert TOKEN not in printed(told)


@pytest.mark.parametrize(
    ("values", "path"),
    [
        ({}, "/api/v1/channels/chatwoot/subscriptions/ana/resume"),
        ({"channel": "a b", "name": "x/y"}, "/api/v1/channels/a%20b/subscriptions/x%2Fy/resume"),
    ],
)
async def test_resume_goes_to_the_tokens_subscription_or_a_named_one(
    values: dict[str, Any], path: str, told: Console
) -> None:
    """Whatever signs its name has."""
    async with fake_relay() as relay:
        named = configuration(relay.url, **values)
        await asked(subscriptions.resume, named, told, as_json=False)
        await asked(subscriptions.resume, named, told, as_json=True)

    assert relay.resumed == [path, path]
    text, _, last = printed(told).rstrip().rpartition("\n")
    assert "goes on" in text
    assert json.loads(last) == {
        "channel": values.get("channel", "chatwoot"),
        "subscription": values.get("name", "ana"),
        "resumed": True,
    }


async def test_resume_asks_which_channel_where_it_is_not_clear(told: Console) -> None:
    async with fake_relay() as relay:
        relay.whoami["channels"] = ["a", "b"]
        with pytest.raises(UsageError) as caught:
            await asked(subscriptions.resume, configuration(relay.url), told, as_json=False)

    assert "--channel" in caught.value.hint
    assert relay.resumed == []


async def test_channels_are_listed_with_their_urls(told: Console) -> None:
    """Ready to be pasted."""
    async with fake_relay() as relay:
        await asked(account.channels, configuration(relay.url), told, as_json=False)
        await asked(account.channels, configuration(relay.url), told, as_json=True)

        assert f"{relay.url}/webhook" in printed(told)
    assert "token, hmac:chatwoot" in printed(told)
    last = json.loads(printed(told).splitlines()[-1])
    assert last["channels"][0]["name"] == "chatwoot"


async def test_status_says_how_everything_is(told: Console) -> None:
    """The relay, channels, subscriptions, settings."""
    async with fake_relay() as relay:
        await asked(account.status, configuration(relay.url), told, as_json=False)
        await asked(account.status, configuration(relay.url), told, as_json=True)

    text = printed(told)
    assert "is up for 2 h, version 1.0" in text
    assert "connected ×2, target down, paused: the target answered 410, since 20" in text
    assert "81.5 %" in text
    assert "WAITING  DEAD" in text
    assert json.loads(text.splitlines()[-1])["client_settings"]["token"]["source"] == "flag"


async def test_a_pause_is_not_overlooked() -> None:
    """Its whole line is in another colour."""
    told = Console(io.StringIO(), io.StringIO(), is_terminal=True, colour=True)
    async with fake_relay() as relay:
        await asked(account.status, configuration(relay.url), told, as_json=False)

    [line] = [line for line in printed(told).splitlines() if "paused:" in line]
    assert line.startswith("\x1b[31mchatwoot")


@pytest.mark.parametrize("name", ["latest", "@cake"])
async def test_an_event_that_is_not_there_has_a_status_of_its_own(name: str) -> None:
    nothing: dict[str, Any] = {"event": None, "pins": [], "scanned_to": 0, "complete": True}
    async with fake_relay() as relay:
        relay.answers = {"GET /api/v1/events/latest": nothing, "GET /api/v1/pins": nothing}
        with pytest.raises(NothingFound) as caught:
            await asked(events.show_event, configuration(relay.url), console(), event=name)
    assert caught.value.exit_status is ExitStatus.NOTHING_FOUND


# Events once more

EVENT = "evt_01f0c6a2-7b1e-7c3d-8e4f-0123456789ab"


async def chosen(**options: Any) -> dict[str, Any]:
    """The selection that these options make."""
    async with fake_relay() as relay:
        await asked(replaying.replay, configuration(relay.url), console(), **options)
        return dict(relay.asked[0][1]["selection"])


async def test_events_by_id_are_of_their_own_channel(told: Console) -> None:
    """And for the subscription that connect reads: the token's name."""
    async with fake_relay() as relay:
        await asked(replaying.replay, configuration(relay.url), told, words=[EVENT])

    [(call, body)] = relay.asked
    assert call == "POST /api/v1/replays"
    assert body == {"channel": None, "subscription": "ana", "selection": {"events": [EVENT]}}
    assert "Replay 3 for ana of chatwoot: at most 1,200 events, 200 a second." in printed(told)
    assert "relay-client connect" in printed(told), "nobody is connected"


async def test_by_condition_the_token_makes_the_channel_clear(told: Console) -> None:
    """Or `--channel` does; `--as` names the subscription."""
    async with fake_relay() as relay:
        mine, which = configuration(relay.url), {"key": "42", "dead": True}
        await asked(replaying.replay, mine, told, as_json=True, rate_per_s=5.0, **which)
        named = configuration(relay.url, channel="shop", name="desktop")
        await asked(replaying.replay, named, told, as_json=True, **which)
        relay.whoami["channels"] = ["one", "two"]
        with pytest.raises(UsageError, match="one, two") as unclear:
            await asked(replaying.replay, mine, told, as_json=True, **which)

    first, second = (body for _, body in relay.asked)
    assert (first["channel"], first["subscription"]) == ("chatwoot", "ana")
    assert (first["selection"], first["rate_per_s"]) == ({"key": "42", "dead": True}, 5)
    assert (second["channel"], second["subscription"]) == ("shop", "desktop")
    assert "--channel" in unclear.value.hint
    assert json.loads(printed(told).splitlines()[0]) == {"replays": [REPLAY]}


async def test_a_dry_run_says_what_it_would_be(told: Console) -> None:
    """The first of them come last in the answer, and first on screen."""
    first = {"id": "evt_1", "received_at": 0, "kind": "message_created", "key": "318"}
    second = first | {"id": "evt_2", "kind": "", "key": ""}
    sample = [event | {"method": "POST", "request_target": "/webhook"} for event in (second, first)]
    async with fake_relay() as relay:
        relay.plan = {"at_most": 2, "sample": sample, "complete": False}
        await asked(replaying.replay, configuration(relay.url), told, q="bolo", dry_run=True)

    assert (relay.asked, len(relay.planned)) == ([], 1)
    said, _, one, two, end = printed(told).splitlines()
    assert said == "It would be at most 2 events."
    assert one.endswith("  evt_1  message_created  #318")
    assert two.endswith("  evt_2  POST /webhook  -")
    assert end.startswith("Nothing was begun")


async def test_times_are_read() -> None:
    """A span back, or a moment; the wrong option is named."""
    found = await chosen(received_since="beginning", until="2026-07-02T14:00:10Z")
    assert found == {"received_from": 0, "received_before": 1_783_000_810_000}
    span = await chosen(until="now", received_since="1h")
    assert 3_599_000 < span["received_before"] - span["received_from"] < 3_601_000
    with pytest.raises(UsageError, match="--until 'yesterday'"):
        await chosen(until="yesterday")


async def test_replays_are_listed_and_stopped(told: Console) -> None:
    """Stopping lists what there is then."""
    async with fake_relay() as relay:
        await asked(replays.list_replays, configuration(relay.url), told, as_json=False)
        await asked(replays.list_replays, configuration(relay.url), told, as_json=True, stop=3)
        with pytest.raises(RelayProblem, match="no such thing"):
            await asked(replays.list_replays, configuration(relay.url), told, as_json=False, stop=4)

    calls = [call for call, _ in relay.asked]
    assert calls == [
        "GET /api/v1/replays",
        "DELETE /api/v1/replays/3",
        "GET /api/v1/replays",
        "DELETE /api/v1/replays/4",
    ]
    heading, line, last = printed(told).splitlines()
    assert heading.split()[0] == "REPLAY"
    assert " ".join(line.split()) == "3 chatwoot ana waits for its client 12.5 % 5 0"
    assert json.loads(last)["replays"][0]["number"] == 3


@pytest.mark.parametrize(
    ("given", "said"), [({}, "which events"), ({"all_": True, "key": "4"}, "no other condition")]
)
async def test_a_replay_of_nothing_in_particular_is_a_usage_error(
    given: dict[str, object], said: str
) -> None:
    """Said here, in words of this command: the relay knows no `--all`."""
    with pytest.raises(UsageError, match=said) as caught:
        await chosen(**given)
    assert caught.value.exit_status is ExitStatus.USAGE
    assert "--all" in caught.value.hint


@pytest.mark.parametrize("rate", [float("nan"), float("inf")])
async def test_a_rate_is_a_number(rate: float) -> None:
    with pytest.raises(UsageError, match="--rate-per-s"):
        await chosen(all_=True, rate_per_s=rate)


WAITING = {
    "channel": "chatwoot",
    "name": "ana",
    "backlog": 12,
    "oldest_waiting_at": 1,
    "own": True,
    "away_since": 1_700_000_000_000,
    "away_long": True,
}
ANA = "/api/v1/channels/chatwoot/subscriptions/ana"


async def test_what_waits_is_shown_before_it_is_skipped(
    told: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Skipped after a yes; without anybody to ask it takes --yes."""
    questions = list[str]()
    monkeypatch.setattr(subscriptions, "confirmed", lambda text, yes: questions.append(text))
    async with fake_relay() as relay:
        relay.answers = {f"GET {ANA}": WAITING, f"POST {ANA}/skip": {"skipped": 12}}
        config = configuration(relay.url, name="ana")
        await asked(subscriptions.skip, config, told, event=None, yes=False)
        await asked(subscriptions.skip, config, told, event=None, yes=True, as_json=True)

    assert questions[0].startswith("12 webhooks wait, the oldest for")
    lines = printed(told).splitlines()
    assert lines[0] == "12 webhooks skipped."
    assert json.loads(lines[-1]) == {"channel": "chatwoot", "subscription": "ana", "skipped": 12}


async def test_what_fails_again_and_again_is_given_up(told: Console) -> None:
    id_ = "evt_01f0c6a2-7b1e-7c3d-8e4f-0123456789ab"
    dead = {"subscription": "ana", "state": "dead", "reason": "given up by ana"}
    async with fake_relay() as relay:
        relay.answers = {
            f"GET /api/v1/events/{id_}": {"id": id_, "channel": "chatwoot"},
            f"POST {ANA}/give-up": dead,
        }
        config = configuration(relay.url, name="ana")
        await asked(subscriptions.give_up, config, told, event=id_)
        await asked(subscriptions.give_up, config, told, event=id_, as_json=True)

    lines = printed(told).splitlines()
    assert lines[0] == "ana does not get 456789ab again: it is dead."
    assert json.loads(lines[-1]) == dead


async def test_ones_own_subscriptions_are_listed_and_deleted(told: Console) -> None:
    """Nobody else's; one that has been away for long is pointed at by `status`."""
    other = {**WAITING, "name": "bob", "own": False}
    status = {"version": "1.0", "channels": [{"name": "chatwoot"}]}
    async with fake_relay() as relay:
        relay.answers = {
            "GET /api/v1/status": {**status, "subscriptions": [WAITING, other]},
            f"GET {ANA}": WAITING,
            f"DELETE {ANA}": {},
        }
        config = configuration(relay.url)
        await asked(subscriptions.list_subscriptions, config, told, channel=None)
        await asked(account.status, config, told)
        await asked(subscriptions.delete_subscription, config, told, named="ana", yes=True)

    output = printed(told)
    listed, _, rest = output.partition("is up for")
    assert "ana" in listed
    assert "bob" not in listed
    assert "relay-client subscription delete ana --channel chatwoot" in rest
    assert "delete bob" not in rest
    assert output.splitlines()[-1] == "Deleted ana."


async def test_a_relay_without_subscriptions_has_a_status(told: Console) -> None:
    status = {"version": "1.0", "channels": [{"name": "chatwoot"}], "subscriptions": []}
    async with fake_relay() as relay:
        relay.answers = {"GET /api/v1/status": status}
        await asked(account.status, configuration(relay.url), told)

    assert "chatwoot" in printed(told)
