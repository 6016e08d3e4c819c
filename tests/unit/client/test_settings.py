"""Flags, environment, saved login and defaults."""

from __future__ import annotations

import stat
import sys
from pathlib import Path

import pytest

from relay_client import saved_login
from relay_client.errors import UsageError
from relay_client.routes import Route, parse_since
from relay_client.settings import ClientSettings, load, read_token
from relay_http.target import Target

LOGIN = {"url": "https://relay.example.com", "token": "FIXTUREtoken"}
NOW_MS = 1_783_000_810_000  # 2026-07-02T14:00:10Z


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
    assert settings.token.reveal() == "environment"
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
    assert configuration.settings.token.reveal() == "from-file"
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


@pytest.mark.parametrize("empty", ["", " ", "\r\n"])
def test_what_is_empty_is_not_set(monkeypatch: pytest.MonkeyPatch, empty: str) -> None:
    """As a line `NAME=` in a file for the environment leaves it; an empty filter is one for all."""
    names = set(ClientSettings.declared()) - {"config_dir", "filter"}
    for name in names:
        monkeypatch.setenv(f"RELAY_CLIENT_{name.upper()}", empty)
    monkeypatch.setenv("RELAY_CLIENT_FILTER", empty)
    monkeypatch.setenv("NO_COLOR", "")

    configuration = load({})

    assert configuration.settings == ClientSettings(
        config_dir=configuration.settings.config_dir, filter=""
    )
    assert {configuration.sources[name] for name in names} == {"default"}
    assert configuration.colour


def test_blanks_and_case_are_forgiven(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RELAY_CLIENT_TOKEN", "word\r")
    monkeypatch.setenv("RELAY_CLIENT_OUTPUT", " Plain ")

    settings = load({}).settings

    assert settings.token is not None
    assert settings.token.reveal() == "word"
    assert settings.output == "plain"
    assert load({"output": "JSON"}).settings.output == "json"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("\ufeffword\r\n".encode(), ""),
        ("word".encode("utf-16"), "it is UTF-16, as PowerShell's > writes it"),
        (b"w\xf6rd", "it is not UTF-8"),
        (b"", "holds no token"),
    ],
)
def test_a_token_file_as_an_editor_leaves_it(folder: Path, content: bytes, said: str) -> None:
    file = folder / "token"
    file.write_bytes(content)
    if said:
        with pytest.raises(UsageError, match=said):
            read_token(file)
    else:
        assert read_token(file) == "word"


@pytest.mark.skipif(sys.platform == "win32", reason="has no /dev/zero")
def test_a_token_file_without_an_end() -> None:
    with pytest.raises(UsageError, match="/dev/zero cannot be read: it has more than 1048576"):
        read_token(Path("/dev/zero"))


def test_a_user_without_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is needed where a folder in it is meant, and nowhere else."""
    for name in ("HOME", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("os.getuid", lambda: 54_321)
    load({})
    monkeypatch.delenv("RELAY_CLIENT_CONFIG_DIR")
    with pytest.raises(UsageError, match="no home") as refused:
        load({})
    assert "RELAY_CLIENT_CONFIG_DIR" in refused.value.hint


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
    assert all(one.meta.description for one in ClientSettings.declared().values())


# The login that is kept


def test_a_login_is_kept_for_its_owner_alone(tmp_path: Path) -> None:
    """And replaces an earlier one."""
    folder = tmp_path / "config" / "relay-client"
    saved_login.save(folder, {**LOGIN, "token": "old"})
    file = saved_login.save(folder, LOGIN)

    assert saved_login.load(folder) == LOGIN
    assert [entry.name for entry in folder.iterdir()] == [file.name]
    if sys.platform != "win32":
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_login_is_forgotten(tmp_path: Path) -> None:
    """Once; then there is none."""
    saved_login.save(tmp_path, LOGIN)

    assert [saved_login.forget(tmp_path), saved_login.forget(tmp_path)] == [True, False]
    assert saved_login.load(tmp_path) == {}


@pytest.mark.parametrize("content", ["", "[]", "{", "\x00"])
def test_a_damaged_login_is_named(tmp_path: Path, content: str) -> None:
    """With what to do about it."""
    saved_login.save(tmp_path, LOGIN).write_text(content)

    with pytest.raises(UsageError, match=r"login\.json") as caught:
        saved_login.load(tmp_path)
    assert "logout" in caught.value.hint


# Where deliveries go, and times


@pytest.mark.parametrize(
    ("text", "route"),
    [
        ("localhost:8000", Route(Target("localhost", 8000))),
        ("http://localhost:8000/", Route(Target("localhost", 8000))),
        ("chatwoot=127.0.0.1:80/bot/in", Route(Target("127.0.0.1", 80, "/bot/in"), "chatwoot")),
        ("https://localhost:19443/webhook", Route(Target("localhost", 19443, "/webhook", True))),
        ("a=HTTPS://bot.example", Route(Target("bot.example", 443, secure=True), "a")),
        ("http://[::1]/x", Route(Target("::1", 80, "/x"))),
        ("a-b.c=[::1]:8000", Route(Target("::1", 8000), "a-b.c")),
        ("my_host.example.:1", Route(Target("my_host.example.", 1))),
        ("h:1/x=y", Route(Target("h", 1, "/x=y"))),
        ("canais=h:1/a%2Fb", Route(Target("h", 1, "/a%2Fb"), "canais")),
        ("8000", Route(Target("localhost", 8000))),
        ("a=:8000/x", Route(Target("localhost", 8000, "/x"), "a")),
        ("localhost", Route(Target("localhost", 80))),
    ],
)
def test_a_route_is_read(text: str, route: Route) -> None:
    """With and without a channel and a path."""
    assert Route.parse(text) == route


@pytest.mark.parametrize(
    "text",
    [
        "",
        "localhost:",
        "elsewhere",
        "800000",
        "localhost:0",
        "localhost:65536",
        "localhost:80 00",
        "https://",
        "ftp://localhost:8000",
        "https:/localhost:8000",
        "https://user@localhost:8000",
        "user@localhost:8000",
        "localhost:8000/a?b",
        "localhost:8000/a#b",
        "localhost:8000/../b",
        "localhost:8000/%2e./b",
        "localhost:8000/..;x/b",
        "localhost:8000/a b",
        "localhost:8000/\r\nX: y",
        "é:8000",
        "=localhost:8000",
        "a b=localhost:8000",
    ],
)
def test_what_is_no_route_is_named(text: str) -> None:
    """The message has what was given."""
    with pytest.raises(UsageError, match="--to"):
        Route.parse(text)


@pytest.mark.parametrize(
    ("text", "unix_ms"),
    [
        ("now", None),
        ("beginning", 0),
        ("90s", NOW_MS - 90_000),
        ("5m", NOW_MS - 300_000),
        ("2h", NOW_MS - 7_200_000),
        ("3d", NOW_MS - 259_200_000),
        ("999999d", 0),
        ("2026-07-02T14:00:10Z", NOW_MS),
        ("2026-07-02T11:00:10.5-03:00", NOW_MS + 500),
    ],
)
def test_a_time_is_read(text: str, unix_ms: int | None) -> None:
    """Into Unix milliseconds."""
    assert parse_since(text, NOW_MS) == unix_ms


@pytest.mark.parametrize("text", ["", "2 h", "-2h", "2w", "yesterday", "2026-07-02T14:00:10"])
def test_what_is_no_time_is_named(text: str) -> None:
    """A time without a zone could be any of two dozen."""
    with pytest.raises(UsageError, match="--from"):
        parse_since(text, NOW_MS)
