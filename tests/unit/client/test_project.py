"""A project's relay.toml, logins by name, and which token goes to which relay."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from relay_client import project, saved_login, trust
from relay_client.errors import UsageError
from relay_client.settings import Configuration, load
from relay_client.trust import settle_trust
from tests.unit.client.support import console

MINE, OTHER = "https://relay.example.com", "https://evil.example"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where logins are kept."""
    monkeypatch.setattr(saved_login, "default_folder", lambda: tmp_path / "config")
    return tmp_path / "config"


@pytest.fixture
def repository(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository that somebody works in, a folder below its root, and a login of theirs."""
    root = tmp_path / "repository"
    (root / ".git").mkdir(parents=True)
    (root / "app").mkdir()
    monkeypatch.chdir(root / "app")
    saved_login.save(folder, {"url": MINE, "token": "FIXTUREmine"})
    return root


def write(folder: Path, text: str) -> None:
    (folder / "relay.toml").write_text(text)


def test_a_projects_file_says_what_its_commands_use(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Flags and the environment weigh more, a saved login less."""
    write(
        repository,
        f"""
        relay = "{MINE}"
        channel = "support"
        subscription = "tests"
        to = "localhost:8000"
        filter = "kind:message_*"
        timeout = 60
        """,
    )
    monkeypatch.setenv("RELAY_CLIENT_CHANNEL", "chatwoot")

    found = load({"name": "maria"})

    assert found.project == repository / "relay.toml"
    settings = found.settings
    assert (settings.url, settings.to, settings.timeout_s) == (MINE, ("localhost:8000",), 60.0)
    assert (settings.channel, settings.name, settings.filter) == (
        "chatwoot",
        "maria",
        "kind:message_*",
    )
    wanted = {"url": "relay.toml", "channel": "environment", "name": "flag", "token": "saved login"}
    assert {name: found.sources[name] for name in wanted} == wanted
    assert found.relay().token == "FIXTUREmine"


@pytest.mark.parametrize(
    ("to", "expected"),
    [
        ("['8000', 'support=:9000']", ("8000", "support=:9000")),
        (
            "{chatwoot = 'localhost:8000', support = ':9000'}",
            ("chatwoot=localhost:8000", "support=:9000"),
        ),
    ],
)
def test_targets_are_one_several_or_one_for_each_channel(
    repository: Path, to: str, expected: tuple[str, ...]
) -> None:
    write(repository, f"to = {to}")
    assert load({}).settings.to == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("token = 'FIXTUREtoken'", "whoever has the repository would have it"),
        ("send_token = 'FIXTUREtoken'", "whoever has the repository would have it"),
        ("chanel = 'a'", "chanel is no key"),
        ("token_file = '/etc/passwd'", "whoever has the repository would have it"),
        ("ca_file = 'x.pem'", "ca_file is no key"),
        ("to = [1]", "to has no value"),
        ("timeout = 'soon'", "timeout has no value"),
        ("timeout = -1", "timeout in relay.toml"),
        ("relay = 'nonsense'", "relay in relay.toml"),
        ("filter = ", "cannot be read"),
        ("#" * 2_000_000, "cannot be read"),
    ],
)
def test_what_a_projects_file_may_not_say(repository: Path, text: str, words: str) -> None:
    """In words, without the secret."""
    write(repository, text)

    with pytest.raises(UsageError, match=words) as caught:
        load({})
    assert "FIXTUREtoken" not in f"{caught.value} {caught.value.hint}"
    assert "chanel" not in text or caught.value.hint == "Did you mean channel?"


def test_a_file_is_looked_for_as_far_as_the_repositorys_root(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "channel = 'above'")
    assert load({}).project is None
    elsewhere = tmp_path / "elsewhere" / "below"
    elsewhere.mkdir(parents=True)
    monkeypatch.chdir(elsewhere)
    write(elsewhere.parent, "channel = 'above'")
    assert project.read_project().file is None, "neither a repository nor a home is above"
    assert project.read_project(tmp_path).settings == {"channel": "above"}


def refusal(found: Configuration) -> str:
    with pytest.raises(UsageError) as caught:
        found.relay()
    return str(caught.value)


def test_a_hostile_project_gets_no_token(
    repository: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The token is bound to the relay that it was got for; who names the relay by hand may."""
    write(repository, f"relay = '{OTHER}'")
    assert f"your token is for {MINE}" in refusal(load({}))
    assert load({}).settings.token is None
    assert load({"url": MINE}).relay().token == "FIXTUREmine"

    monkeypatch.setenv("RELAY_CLIENT_TOKEN", "FIXTUREenv")
    assert "alone names" in refusal(load({}))
    monkeypatch.delenv("RELAY_CLIENT_TOKEN")
    monkeypatch.setenv("RELAY_CLIENT_SEND_TOKEN", "FIXTUREsend")
    assert "alone names" in refusal(load({}))
    monkeypatch.delenv("RELAY_CLIENT_SEND_TOKEN")

    saved_login.save(folder, {"url": OTHER, "token": "FIXTUREother"}, "other")
    assert load({}).relay().token == "FIXTUREother", "a login of that relay is its own"


def test_logins_by_name(repository: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A project's file may name one; flag and environment weigh more."""
    for name in ("work", "home"):
        url = f"https://{name}.example"
        saved_login.save(folder, {"url": url, "token": f"FIXTURE{name}"}, name)
    assert load({}).settings.url == MINE
    write(repository, "profile = 'home'")
    assert load({}).relay().token == "FIXTUREhome"
    monkeypatch.setenv("RELAY_CLIENT_PROFILE", "work")
    assert load({}).relay().url == "https://work.example"
    with pytest.raises(UsageError, match="no login nobody"):
        load({"profile": "nobody"})
    with pytest.raises(UsageError, match="no profile"):
        load({"profile": "../x"})
    assert saved_login.forget(folder, "work")
    assert saved_login.load(folder)["url"] == MINE


def test_targets_elsewhere_are_asked_about_once(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until they are others; and refused where nobody can be asked."""
    asked = list[str]()
    monkeypatch.setattr(trust, "confirmed", lambda text, yes: asked.append(text))
    person, nobody = dataclasses.replace(console(), asks=True), console()

    write(repository, "to = ['8000', 'support=192.0.2.1:80']\nchannel = 'chatwoot'")
    with pytest.raises(UsageError, match=r"sent to http://192\.0\.2\.1:80, which is not") as caught:
        settle_trust(load({}), nobody, trusts=False)
    assert "--trust" in caught.value.hint
    settle_trust(load({}), person, trusts=False)
    settle_trust(load({}), person, trusts=False)
    settle_trust(load({"timeout_s": 5}), nobody, trusts=False)
    assert len(asked) == 1

    write(repository, "to = '192.0.2.2:80'")
    settle_trust(load({"to": ["192.0.2.1:80"]}), nobody, trusts=False)  # it is one's own
    settle_trust(load({}), nobody, trusts=True)
    settle_trust(load({}), nobody, trusts=False)
    assert len(asked) == 2


@pytest.mark.parametrize("to", ["localhost:8000", ":8000", "127.0.0.1:80", "[::1]:80"])
def test_targets_on_this_machine_are_not_asked_about(repository: Path, to: str) -> None:
    write(repository, f"to = '{to}'")
    settle_trust(load({}), console(), trusts=False)
