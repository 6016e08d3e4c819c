"""Flags, environment, saved login and defaults."""

from __future__ import annotations

from pathlib import Path

import pytest

from relay_client import saved_login
from relay_client.errors import UsageError
from relay_client.settings import ClientSettings, load


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A config directory of the test's own, and an environment without other settings."""
    monkeypatch.setenv("RELAY_CLIENT_CONFIG_DIR", str(tmp_path))
    monkeypatch.delenv("NO_COLOR", raising=False)
    return tmp_path


def test_flags_outweigh_environment_outweighs_login_outweighs_default(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And each value knows where it came from."""
    saved_login.save(folder, {"url": "https://login.example", "token": "login"})
    monkeypatch.setenv("RELAY_CLIENT_TOKEN", "environment")
    monkeypatch.setenv("RELAY_CLIENT_TIMEOUT_S", "7")

    configuration = load({"timeout_s": 9.0, "channel": None, "to": ()})

    settings, sources = configuration.settings, configuration.sources
    assert settings.url == "https://login.example"
    assert settings.token is not None
    assert settings.token.get_secret_value() == "environment"
    assert settings.timeout_s == 9.0
    assert settings.concurrency == 8
    assert [sources[name] for name in ("url", "token", "timeout_s", "concurrency")] == [
        "saved login",
        "environment",
        "flag",
        "default",
    ]


def test_a_token_is_read_from_a_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file named by a flag outweighs a token in the environment."""
    file = folder / "token"
    file.write_text("from-file\n")
    monkeypatch.setenv("RELAY_CLIENT_TOKEN", "environment")

    configuration = load({"token_file": file})

    assert configuration.settings.token is not None
    assert configuration.settings.token.get_secret_value() == "from-file"
    assert configuration.sources["token"] == "flag"


def test_a_token_and_a_file_with_one_at_the_same_place_are_too_much(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody can tell which is meant."""
    monkeypatch.setenv("RELAY_CLIENT_TOKEN", "a")
    monkeypatch.setenv("RELAY_CLIENT_TOKEN_FILE", str(folder / "token"))

    with pytest.raises(UsageError, match="RELAY_CLIENT_TOKEN_FILE"):
        load({})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RELAY_CLIENT_TIMEOUT_S", "soon"),
        ("RELAY_CLIENT_TIMEOUT_S", "0"),
        ("RELAY_CLIENT_TIMEOUT_S", "nan"),
        ("RELAY_CLIENT_CONCURRENCY", "33"),
        ("RELAY_CLIENT_OUTPUT", "xml"),
        ("RELAY_CLIENT_SHARE", "perhaps"),
        ("RELAY_CLIENT_URL", "relay.example.com"),
        ("RELAY_CLIENT_TOKEN", "two words"),
        ("RELAY_CLIENT_TOKEN", "ção"),
        ("RELAY_CLIENT_TIMEOUT", "30"),
        ("RELAY_CLIENT_TOKEN_FILE", "/does/not/exist"),
    ],
)
def test_an_unknown_or_impossible_setting_is_named(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the value of a secret."""
    monkeypatch.setenv(name, value)

    with pytest.raises(UsageError) as caught:
        load({})
    assert name in str(caught.value) or value in str(caught.value)
    assert "two words" not in str(caught.value)


def test_an_impossible_flag_is_named_as_the_user_wrote_it() -> None:
    """Not by the setting's name."""
    with pytest.raises(UsageError, match="--timeout"):
        load({"timeout_s": -1})


def test_several_targets_fit_into_one_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Separated by commas."""
    monkeypatch.setenv("RELAY_CLIENT_TO", "localhost:8000, other=localhost:9000/x")

    assert load({}).settings.to == ("localhost:8000", "other=localhost:9000/x")


def test_sharing_and_the_state_folder_can_be_set(
    folder: Path, state_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A flag that is not given leaves the environment's word."""
    assert load({"share": None}).settings.share is False
    assert load({}).state_folder == state_folder
    monkeypatch.setenv("RELAY_CLIENT_SHARE", "true")
    monkeypatch.setenv("RELAY_CLIENT_STATE_DIR", str(folder / "elsewhere"))

    configuration = load({"share": None})

    assert configuration.settings.share is True
    assert configuration.sources["share"] == "environment"
    assert configuration.state_folder == folder / "elsewhere"
    assert load({"share": True}).sources["share"] == "flag"


def test_what_is_missing_is_said_with_what_to_do() -> None:
    """First the relay, then the token."""
    with pytest.raises(UsageError, match="no relay") as caught:
        load({}).relay()
    assert "login" in caught.value.hint

    with pytest.raises(UsageError, match="no token") as caught:
        load({"url": "https://relay.example.com"}).relay()
    assert "RELAY_CLIENT_TOKEN" in caught.value.hint


def test_a_described_token_is_hidden() -> None:
    """In every output."""
    described = load({"token": "FIXTUREsecret"}).described()

    assert "FIXTUREsecret" not in str(described)
    assert described["token"]["source"] == "flag"


def test_a_damaged_login_does_no_harm_where_it_is_not_needed(folder: Path) -> None:
    """So that `login` and `logout` can mend it."""
    (folder / "login.json").write_text("{")

    assert load({}, with_login=False).settings.url is None
    with pytest.raises(UsageError):
        load({})


def test_colours_can_be_declined(monkeypatch: pytest.MonkeyPatch) -> None:
    """As no-color.org says."""
    assert load({}).colour
    monkeypatch.setenv("NO_COLOR", "1")
    assert not load({}).colour


def test_every_setting_is_described() -> None:
    """For the reference."""
    assert all(field.description for field in ClientSettings.model_fields.values())
