"""What the commands do, from `init` on, and how they end."""

from __future__ import annotations

import asyncio
import errno
import io
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from relay_server import cli, log
from relay_server.auth import digest
from relay_server.cli import host
from relay_server.cli.asking import print_json
from relay_server.places import SOCKET_NAME
from relay_server.store.sqlite.opening import open_sqlite
from relay_server.values import Catalog, Scope

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data dir that the environment names."""
    monkeypatch.setenv("RELAY_SERVER_DATA_DIR", str(tmp_path / "data"))
    return tmp_path / "data"


@pytest.fixture
def command(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    """Runs `relay-server …` in this process: status, stdout, stderr."""
    assert not data_dir.exists()
    monkeypatch.setenv("RELAY_SERVER_FORWARD_ALLOW", "bot")
    monkeypatch.setattr(log, "set_up", lambda *_, **__: None)  # it holds for the whole process

    def run(*arguments: str, text: str = "") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["relay-server", *arguments])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return run


def catalog(data_dir: Path) -> Catalog:
    """Channels and tokens as they are on disk."""

    async def read() -> Catalog:
        store = await open_sqlite(data_dir)
        try:
            return store.catalog
        finally:
            await store.close()

    return asyncio.run(read())


def answer(run: tuple[int, str, str]) -> Any:
    """The JSON of a command that succeeded."""
    status, out, err = run
    assert (status, err) == (0, "")
    return json.loads(out)


def test_init_makes_what_is_missing_and_says_what_to_do(command: Run, data_dir: Path) -> None:
    made = answer(command("init", "--public-url", "https://relay.example.com", "--json"))
    assert made["webhook_url"] == f"https://relay:{made['send_token']}@relay.example.com/webhook"
    assert made["webhook_url_query"].endswith(f"/webhook?token={made['send_token']}")
    assert made["client_command"].startswith("relay-client login https://relay.example.com && ")
    assert made["running"] is False
    tokens = catalog(data_dir).tokens
    sender, reader = (
        tokens[digest(made[name].encode())] for name in ("send_token", "subscribe_token")
    )
    assert (sender.channels, sender.scopes) == (frozenset({"chatwoot"}), frozenset({Scope.SEND}))
    assert (reader.channels, reader.scopes) == (
        frozenset({"chatwoot"}),
        frozenset({Scope.SUBSCRIBE}),
    )

    again = answer(command("init", "--json"))
    assert again["url"] == "https://relay.example.com", "it was kept"
    assert {again[n] for n in ("send_token", "subscribe_token", "webhook_url")} == {None}
    assert catalog(data_dir).tokens == tokens


def test_init_does_not_forget_what_was_said_before(command: Run, data_dir: Path) -> None:
    answer(command("init", "--public-url", "https://relay.example.com", "--json"))
    status, out, err = command("init", "--public-url", "https://other.example.com")
    assert (status, out) == (2, "")
    assert "set public_url in it yourself" in err
    status, _, err = command("init", "--public-url", "relay.example.com")
    assert status == 2
    assert "RELAY_SERVER_PUBLIC_URL" in err


def test_init_for_another_default_channel(
    command: Run, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RELAY_SERVER_DEFAULT_CHANNEL", "orders")
    made = answer(command("init", "--json"))
    assert made["channel"] == "orders"
    assert set(catalog(data_dir).channels) == {"orders"}


def test_without_init_commands_say_so(command: Run, data_dir: Path) -> None:
    for arguments in (("status",), ("channel", "list"), ("token", "list"), ("events", "list")):
        status, out, err = command(*arguments)
        assert (status, out) == (1, "")
        assert "relay-server init" in err
    assert not data_dir.exists()


def test_channels(command: Run, tmp_path: Path) -> None:
    command("init")
    secret = tmp_path / "secret"
    secret.write_text("  one\n")
    made = answer(
        command(
            *("channel", "create", "github", "--sender", "other", "--no-token", "--json"),
            *("--hmac-secret-file", str(secret), "--hmac-secret-file", "-", "--hmac-log-only"),
            *("--allow-from", "10.0.0.0/8", "--allow-from", "::1", "--max-body-bytes", "1000"),
            *("--key-pointer", "/a", "--retention-days", "0.5"),
            text="two\nrest",
        )
    )
    assert made["sender_auth"] == ["hmac:chatwoot (log only)", "ip"]
    assert (made["max_body_bytes"], made["retention_days"]) == (1_000, 0.5)

    changes = ("--no-hmac", "--token", "--allow-from", "", "--max-body-bytes", "0", "--json")
    changed = answer(command("channel", "set", "github", *changes))
    assert (changed["sender_auth"], changed["max_body_bytes"]) == (["token"], 1_048_576)
    assert (changed["key_pointer"], changed["sender"]) == ("/a", "other")

    status, out, err = command("channel", "delete", "github", text="n\n")
    assert (status, out.strip()) == (1, "")
    assert "Delete github with all its events?" in err
    assert command("channel", "delete", "github", "--yes")[:2] == (0, "Deleted github.\n")
    status, _, err = command("channel", "show", "github")
    assert (status, "no channel is named 'github'" in err) == (1, True)
    assert "relay-server channel list" in err


def test_names_that_are_no_paths_lead_nowhere_else(command: Run, data_dir: Path) -> None:
    answer(command("init", "--json"))
    before = catalog(data_dir)
    for name in ("../tokens/chatwoot", "x?y", "a/b", "..", "%2e%2e", "x#y", "é", ""):
        for arguments in (
            ("channel", "delete", name, "--yes"),
            ("channel", "show", name),
            ("token", "revoke", name),
            ("events", "show", name),
            ("subscription", "delete", name, name, "--yes"),
        ):
            status, out, err = command(*arguments)
            assert (status, out) == (1, ""), arguments
            assert err.startswith("relay-server: "), arguments
    assert catalog(data_dir) == before


def test_tokens(command: Run, data_dir: Path) -> None:
    command("init")
    arguments = ("--scope", "send", "--scope", "subscribe", "--channel", "chatwoot")
    made = answer(command("token", "create", "bob", *arguments, "--json"))
    assert set(made) >= {"name", "token", "scopes", "channels"}
    assert digest(made["token"].encode()) in catalog(data_dir).tokens
    listed = answer(command("token", "list", "--json"))
    assert [t["name"] for t in listed["tokens"]] == ["bob", "chatwoot", "developer"]
    assert made["token"] not in json.dumps(listed)
    status, _, err = command("token", "create", "bob", "--scope", "send")
    assert (status, "exists already" in err) == (1, True)
    assert "Revoked bob." in command("token", "revoke", "bob")[1]
    assert command("token", "create", "x")[0] == 2, "a scope is asked for"


def test_events_and_status_of_a_server_that_does_not_run(command: Run) -> None:
    command("init")
    assert command("events", "list")[1] == "Nothing came in yet.\n"
    assert answer(command("events", "list", "--limit", "5", "--before", "9", "--json")) == {
        "events": []
    }
    assert command("events", "list", "--limit", "0")[0] == 2
    assert command("events", "list", "--limit", "501")[0] == 2
    status, _, err = command("events", "list", "--channel", "x&limit=1")
    assert (status, "no channel is named 'x&limit=1'" in err) == (1, True)
    state = answer(command("status", "--json"))
    assert state["running"] is False
    assert state["settings"]["data_dir"]["source"] == "RELAY_SERVER_DATA_DIR"
    assert "Not running" in command("status")[1]
    assert answer(command("subscription", "list", "--json")) == {"subscriptions": []}


def test_a_backup_opens_again(command: Run, data_dir: Path, tmp_path: Path) -> None:
    made = answer(command("init", "--json"))
    copy = tmp_path / "copy" / "relay.db"
    copy.parent.mkdir()
    assert answer(command("backup", str(copy), "--json")) == {"file": str(copy)}
    assert digest(made["send_token"].encode()) in catalog(copy.parent).tokens
    status, out, err = command("backup", str(copy))
    assert (status, out) == (1, "")
    assert str(copy) in err


def test_subscriptions(command: Run, data_dir: Path) -> None:
    command("init")

    async def subscribe() -> None:
        store = await open_sqlite(data_dir)
        await store.subscribe("chatwoot", "João e ana", None, 1)
        await store.close()

    asyncio.run(subscribe())
    [found] = answer(command("subscription", "list", "--json"))["subscriptions"]
    assert (found["name"], found["connected"]) == ("João e ana", False)
    status, out, _ = command("subscription", "delete", "chatwoot", "João e ana", "--yes")
    assert (status, out) == (0, "Forgot João e ana of chatwoot.\n")
    assert answer(command("subscription", "list", "--json")) == {"subscriptions": []}


@pytest.mark.parametrize(
    ("said", "status"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 0),
        (b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n", 1),
        (b"SSH-2.0-OpenSSH_9.2\r\n", 1),
        (b"", 1),
    ],
)
async def test_health(command: Run, data_dir: Path, said: bytes, status: int) -> None:
    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(said)
        await writer.drain()
        writer.close()

    data_dir.mkdir()
    server = await asyncio.start_unix_server(say, data_dir / SOCKET_NAME)
    ended, out, err = await asyncio.to_thread(command, "health")
    server.close()
    assert ended == status
    assert (out, bool(err)) == (("ready\n", False) if status == 0 else ("", True))


def test_health_asks_the_server_of_this_data_dir_alone(
    command: Run, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever holds the ops port may be another."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        monkeypatch.setenv("RELAY_SERVER_OPS_PORT", str(other.getsockname()[1]))
        status, out, err = command("health")
    assert (status, out) == (1, "")
    assert f"nothing answers on {data_dir / SOCKET_NAME}" in err


def test_json_is_alone_on_stdout_whatever_the_store_has_to_say(
    command: Run, data_dir: Path
) -> None:
    """Without a server the command opens the store itself."""
    answer(command("init", "--json"))
    full = os.environ | {"RELAY_SERVER_MAX_STORE_BYTES": "1"}
    program = "import sys; from relay_server.cli import main; sys.argv[0] = 'relay-server'; main()"
    for line in ("channel list --json", "token create x --scope send --json", "status --json"):
        done = subprocess.run(
            [sys.executable, "-c", program, *line.split()], env=full, capture_output=True
        )
        assert (done.returncode, bool(json.loads(done.stdout))) == (0, True)
        assert b"webhooks are refused" in done.stderr


def test_settings_that_are_wrong_end_with_2(command: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RELAY_SERVER_PROT", "1")
    for arguments in (("status",), ("serve",), ("init",), ("health",)):
        status, out, err = command(*arguments)
        assert (status, out) == (2, "")
        assert "RELAY_SERVER_PROT is not a setting" in err
        assert "docs/reference/settings.md" in err


def test_the_command_itself(command: Run) -> None:
    status, out, _ = command("--version")
    assert (status, out.startswith("relay-server ")) == (0, True)
    status, out, err = command()
    assert "serve" in out + err
    assert command("nonsense")[0] == 2
    for group in ("channel", "token", "subscription", "events"):
        assert "list" in "".join(command(group)[1:])


def test_a_reader_that_has_seen_enough_is_no_error(
    command: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    monkeypatch.setattr(host, "work", broken)
    assert command("status")[0] == 0


def test_a_data_dir_may_be_named_by_a_flag(command: Run, tmp_path: Path) -> None:
    other = tmp_path / "other"
    assert answer(command("--data-dir", str(other), "init", "--json"))["data_dir"] == str(other)
    assert (other / "relay.db").exists()


def test_what_is_asked_before_it_is_done(command: Run) -> None:
    answer(command("init", "--json"))
    answer(command("forward", "create", "chatwoot", "http://bot:8001/", "--json"))
    for line in ("forward delete chatwoot forward", "dead discard --all"):
        status, out, err = command(*line.split(), text="n\n")
        assert (status, out.strip()) == (1, ""), line
        assert "[y/N]" in err
    assert len(answer(command("forward", "list", "--json"))["forwards"]) == 1
    assert command("forward", "delete", "chatwoot", "forward", text="y\n")[0] == 0
    assert answer(command("forward", "list", "--json"))["forwards"] == []


@pytest.mark.parametrize(
    "line",
    [
        "dead replay",
        "dead replay evt_1 --all",
        "dead discard --yes",
        "subscription set chatwoot ana --like-channel --hold-s 5",
        "replays stop x",
        "replays stop 0",
    ],
)
def test_what_makes_no_sense_is_wrong_usage(command: Run, line: str) -> None:
    assert command(*line.split())[:2] == (2, "")


def test_a_replay_begins_with_the_server(command: Run) -> None:
    answer(command("init", "--json"))
    status, _, err = command("replay", "--all")
    assert (status, "nobody has subscribed" in err) == (1, True)
    answer(command("forward", "create", "chatwoot", "http://bot:8001/", "--json"))
    status, out, _ = command("replay", "--all", "--rate-per-s", "5")
    assert (status, "It begins with the server" in out) == (0, True)
    assert "for forward of chatwoot: everything; at most 0 events, 5 a second" in out
    status, _, err = command("replay", "--since", "yesterday")
    assert (status, "--since: 'yesterday' is not a time" in err) == (1, True)


def test_policies_and_quotas_by_command(command: Run) -> None:
    answer(command("init", "--json"))
    line = "channel set chatwoot --retry-delays 5s,2m --strict-order --max-bytes 2G --drop-oldest"
    changed = answer(command(*line.split(), "--dead-days", "3", "--json"))
    assert changed["policy"]["retry_delays_s"] == [5, 120]
    assert changed["policy"]["strict_order"] is True
    assert (changed["max_bytes"], changed["drop_oldest"]) == (2**31, True)
    shown = command("channel", "show", "chatwoot")[1]
    for part in ("5s,2m", "at most 2 GiB", "the oldest go", "3 days"):
        assert part in shown
    bare = answer(command("channel", "set", "chatwoot", "--max-bytes", "0", "--json"))
    assert (bare["max_bytes"], bare["drop_oldest"]) == (None, True)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("João 👋", "João 👋"),
        ("a\x9b31mb", "\\u009b"),
        ("\u202eevil", "\\u202e"),
        ("\x7f", "\\u007f"),
    ],
)
def test_json_steers_no_terminal(name: str, shown: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A person may look at it, too; whoever reads it gets the same."""
    print_json({"name": name})
    out = capsys.readouterr().out
    assert shown in out
    assert out.rstrip("\n").isprintable()
    assert json.loads(out) == {"name": name}


@pytest.mark.parametrize(
    ("line", "status", "said"),
    [
        ("channel set chatwoot --rate-per-s nan", 1, "no numbers"),
        ("channel set chatwoot --hold-s inf", 1, "no numbers"),
        ("replay", 2, "--all"),
    ],
)
def test_what_is_no_number_or_nothing_is_said_in_words(
    command: Run, line: str, status: int, said: str
) -> None:
    """Not in those of a JSON parser, nor in those of the API."""
    assert command("init")[0] == 0
    found, _, errors = command(*line.split())
    assert found == status
    assert said in errors
    assert "JSON" not in errors
