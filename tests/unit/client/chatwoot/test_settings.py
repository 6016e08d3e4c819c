"""What a bot is told, and what its project is made of: what cannot be is said."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from relay_client import cli
from relay_client.chatwoot import BotSettings, read_settings
from relay_client.chatwoot.ledger import IN_MEMORY
from relay_client.chatwoot.project import write_project
from relay_client.chatwoot.server import load_reply
from relay_client.errors import NothingFound, UsageError

BOTH = {"CHATWOOT_URL": "https://chat.example.com/app", "CHATWOOT_TOKEN": "abc"}


def test_without_a_word_it_prints_its_answers_and_keeps_nothing() -> None:
    """Else what was only printed would count as answered once there is a Chatwoot."""
    assert read_settings({}) == BotSettings(ledger=Path(IN_MEMORY))
    assert read_settings(BOTH).ledger == Path("bot.db")
    assert read_settings({"BOT_LEDGER": "x.db"}).ledger == Path("x.db")


def test_secrets_may_be_in_files(tmp_path: Path) -> None:
    """And are in no text of the settings."""
    file = tmp_path / "token"
    file.write_text("abc\n")
    told = {
        "CHATWOOT_TOKEN_FILE": str(file),
        "CHATWOOT_WEBHOOK_SECRET": "one, two",
        "CHATWOOT_BOT": "9",
    }
    settings = read_settings({"CHATWOOT_URL": "chat.example.com", **told})

    assert (settings.url, settings.token) == ("https://chat.example.com", "abc")
    assert (settings.secrets, settings.bot) == (("one", "two"), 9)
    assert not {"abc", "one"} & set(repr(settings).replace("'", " ").split())


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"CHATWOOT_URL": "https://chat.example.com"}, "CHATWOOT_TOKEN is not"),
        ({"CHATWOOT_TOKEN": "abc"}, "CHATWOOT_URL is not"),
        (BOTH | {"CHATWOOT_URL": "ftp://chat"}, "no address by http"),
        (BOTH | {"CHATWOOT_TOKEN_FILE": "x"}, "both set"),
        ({"CHATWOOT_TOKEN_FILE": "/nonexistent"}, "/nonexistent"),
        ({"CHATWOOT_TOKEN_FILE": "/dev/null"}, "is empty"),
        ({"CHATWOOT_BOT": "Robô"}, "a number from 0"),
        ({"CHATWOOT_BOT": "9.5"}, "a whole number"),
        ({"BOT_REPLY_SECONDS": "0"}, "a number from 1 to 3600"),
        ({"BOT_BURST_SECONDS": "nan"}, "a number from 0 to 60"),
    ],
)
def test_what_a_bot_cannot_be_told(told: dict[str, str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        read_settings(told)


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("no_such_module:reply", "cannot be loaded"),
        ("nowhere/bot.py:reply", "cannot be loaded: No such file"),
        ("half.py:reply", "never closed .half.py, line 1"),
        ("json:dumps", "names no async function"),
        ("json:loud", "names no async function"),
        ("json", "names no async function"),
    ],
)
def test_what_is_no_reply(
    where: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "half.py").write_text("async def reply(talk:\n")
    monkeypatch.setattr(sys, "path", [*sys.path])
    with pytest.raises(UsageError, match=said):
        load_reply(where)


@pytest.mark.parametrize(
    ("where", "is_elsewhere"), [("bot:reply", True), ("bot.py:reply", True), ("half:reply", False)]
)
def test_who_is_in_another_folder_is_told(
    where: str, is_elsewhere: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not whose bot misses a library."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "half.py").write_text("import no_such_model\n")
    with pytest.raises(UsageError) as refused:
        load_reply(where)
    assert ("Go to the bot's folder" in refused.value.hint) is is_elsewhere


def test_nothing_is_erased_from_a_ledger_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in another folder than the bot's: whoever was asked to erase it must not think it done."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NothingFound, match="no ledger at"):
        CliRunner().invoke(cli.whole(), ["bot", "forget", "2", "1187"], catch_exceptions=False)
    assert not list(tmp_path.iterdir())


def test_where_no_project_is_written(tmp_path: Path) -> None:
    for name in ("a b", "_bot", "-x", "a___b", "pão"):
        with pytest.raises(UsageError, match="names no bot"):
            write_project(tmp_path / name)
    write_project(tmp_path / "Robo-1")
    with pytest.raises(UsageError, match="is not empty"):
        write_project(tmp_path / "Robo-1")
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="file cannot be written: File exists"):
        write_project(tmp_path / "file")
