"""The commands that ask the relay, or keep something."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from relay_client import commands, saved_login
from relay_client.api import Api
from relay_client.console import Console
from relay_client.errors import (
    ClientError,
    RelayProblem,
    RelayUnreachable,
    TokenRefused,
    UsageError,
)
from relay_client.relay import Relay
from relay_client.settings import ClientSettings, Configuration
from tests.unit.client.support import TOKEN, fake_relay

SOURCES = dict.fromkeys(ClientSettings.model_fields, "default") | {"url": "flag", "token": "flag"}


@pytest.fixture
def console() -> Console:
    """What is printed can be read; nobody answers questions."""
    return Console(io.StringIO(), io.StringIO())


def configuration(url: str, folder: Path = Path(), token: str = TOKEN) -> Configuration:
    """A relay and a token."""
    settings = ClientSettings.model_validate({"url": url, "token": token})
    return Configuration(settings, SOURCES, folder, colour=False)


def printed(console: Console) -> str:
    """What is on standard output."""
    assert isinstance(console.out, io.StringIO)
    return console.out.getvalue()


@pytest.mark.parametrize("from_file", [True, False])
async def test_login_checks_and_keeps_the_token(
    from_file: bool, tmp_path: Path, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read from a file, or from standard input."""
    file = tmp_path / "token"
    file.write_text(TOKEN + "\n")
    monkeypatch.setattr("sys.stdin", io.StringIO(TOKEN + "\n"))
    async with fake_relay() as relay:
        await commands.run_login(
            relay.url + "/",
            file if from_file else None,
            configuration(relay.url, tmp_path),
            console,
            as_json=False,
        )

        assert saved_login.load(tmp_path) == {"url": relay.url, "token": TOKEN}
    assert "as ana" in printed(console)
    assert TOKEN not in printed(console)


async def test_login_keeps_nothing_that_is_refused(
    tmp_path: Path, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong token, or one that may not read."""
    async with fake_relay() as relay:
        settings = configuration(relay.url, tmp_path)
        monkeypatch.setattr("sys.stdin", io.StringIO("wrong\n"))
        with pytest.raises(TokenRefused):
            await commands.run_login(relay.url, None, settings, console, as_json=False)

        relay.whoami["scopes"] = ["send"]
        monkeypatch.setattr("sys.stdin", io.StringIO(TOKEN + "\n"))
        with pytest.raises(ClientError, match="may only send"):
            await commands.run_login(relay.url, None, settings, console, as_json=False)

        monkeypatch.setattr("sys.stdin", io.StringIO("\n"))
        with pytest.raises(UsageError, match="no token"):
            await commands.run_login(relay.url, None, settings, console, as_json=False)
        with pytest.raises(UsageError, match="ftp"):
            await commands.run_login("ftp://x", None, settings, console, as_json=False)
    assert saved_login.load(tmp_path) == {}


def test_logout_forgets(tmp_path: Path, console: Console) -> None:
    """And says whether there was anything."""
    saved_login.save(tmp_path, {"url": "https://a.example", "token": "t"})

    for _ in range(2):
        commands.run_logout(configuration("https://a.example", tmp_path), console, as_json=True)

    assert [json.loads(line) for line in printed(console).splitlines()] == [
        {"logged_out": True},
        {"logged_out": False},
    ]


async def test_whoami_says_who_and_where_settings_come_from(console: Console) -> None:
    """The token itself is never shown."""
    async with fake_relay() as relay:
        await commands.run_whoami(configuration(relay.url), console, as_json=False)
        await commands.run_whoami(configuration(relay.url), console, as_json=True)

    text, _, last = printed(console).rstrip().rpartition("\n")
    assert "ana, may subscribe" in text
    assert "flag" in text
    whole = json.loads(last)
    assert whole["name"] == "ana"
    assert whole["settings"]["url"]["source"] == "flag"
    assert TOKEN not in printed(console)


@pytest.mark.parametrize(
    ("values", "path"),
    [
        ({}, "/api/v1/channels/chatwoot/subscriptions/ana/resume"),
        ({"channel": "a b", "name": "x/y"}, "/api/v1/channels/a%20b/subscriptions/x%2Fy/resume"),
    ],
)
async def test_resume_goes_to_the_tokens_subscription_or_a_named_one(
    values: dict[str, str], path: str, console: Console
) -> None:
    """Whatever signs its name has."""
    async with fake_relay() as relay:
        settings = ClientSettings.model_validate({"url": relay.url, "token": TOKEN, **values})
        named = Configuration(settings, SOURCES, Path(), colour=False)
        await commands.run_resume(named, console, as_json=False)
        await commands.run_resume(named, console, as_json=True)

    assert relay.resumed == [path, path]
    text, _, last = printed(console).rstrip().rpartition("\n")
    assert "goes on" in text
    assert json.loads(last) == {
        "channel": values.get("channel", "chatwoot"),
        "subscription": values.get("name", "ana"),
        "resumed": True,
    }


async def test_resume_asks_which_channel_where_it_is_not_clear(console: Console) -> None:
    async with fake_relay() as relay:
        relay.whoami["channels"] = ["a", "b"]
        with pytest.raises(UsageError) as caught:
            await commands.run_resume(configuration(relay.url), console, as_json=False)

    assert "--channel" in caught.value.hint
    assert relay.resumed == []


async def test_channels_are_listed_with_their_urls(console: Console) -> None:
    """Ready to be pasted."""
    async with fake_relay() as relay:
        await commands.run_channels(configuration(relay.url), console, as_json=False)
        await commands.run_channels(configuration(relay.url), console, as_json=True)

        assert f"{relay.url}/webhook" in printed(console)
    assert "token, hmac:chatwoot" in printed(console)
    last = json.loads(printed(console).splitlines()[-1])
    assert last["channels"][0]["name"] == "chatwoot"


async def test_status_says_how_everything_is(console: Console) -> None:
    """The relay, channels, subscriptions, settings."""
    async with fake_relay() as relay:
        await commands.run_status(configuration(relay.url), console, as_json=False)
        await commands.run_status(configuration(relay.url), console, as_json=True)

    text = printed(console)
    assert "is up for 2 h, version 1.0" in text
    assert "connected ×2, target down, PAUSED: the target answered 410" in text
    assert "81.5 %" in text
    assert "3 webhooks" in text
    assert json.loads(text.splitlines()[-1])["client_settings"]["token"]["source"] == "flag"


async def test_a_pause_is_not_overlooked() -> None:
    """Its whole line is in another colour."""
    console = Console(io.StringIO(), io.StringIO(), is_terminal=True, colour=True)
    async with fake_relay() as relay:
        await commands.run_status(configuration(relay.url), console, as_json=False)

    [line] = [line for line in printed(console).splitlines() if "PAUSED" in line]
    assert line.startswith("\x1b[31mchatwoot")


async def test_refusals_and_absence_are_different_errors() -> None:
    """Each with its exit status."""
    async with fake_relay() as relay:
        async with Api(Relay(relay.url, "wrong")) as api:
            with pytest.raises(TokenRefused) as refused:
                await api.whoami()
        async with Api(Relay(relay.url, TOKEN)) as api:
            with pytest.raises(RelayProblem, match="no such thing") as problem:
                await api.event("evt_2")
        relay.whoami = {"unexpected": True}
        async with Api(Relay(relay.url, TOKEN)) as api:
            with pytest.raises(RelayProblem, match="no relay"):
                await api.whoami()
    async with Api(Relay("http://127.0.0.1:9", TOKEN)) as api:
        with pytest.raises(RelayUnreachable, match="refused") as away:
            await api.whoami()

    statuses = [error.value.exit_status for error in (refused, problem, away)]
    assert statuses == [4, 1, 3]
    assert problem.value.hint == "Look elsewhere."
