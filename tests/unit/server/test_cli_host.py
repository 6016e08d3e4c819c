"""`relay-server init`, `status`, `health`, `backup` and the command itself."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import re
import socket
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from relay_http.addresses import is_in_clear
from relay_server import health
from relay_server.auth import digest
from relay_server.cli import host, status
from relay_server.files import SOCKET_NAME
from relay_server.values import Scope
from tests.support.processes import free_port
from tests.support.waiting import until_true
from tests.unit.server.commanding import Run, Shown, answer, catalog, listening, say_nothing
from tests.unit.server.results import INIT, STATUS, SUBSCRIPTION

MAIN = "from relay_server.cli import main; main()"
# What drawing, sealing, another store, traces and other commands need; 2 MiB each, or more.
HEAVY = {"cryptography", "jinja2", "multiprocessing", "opentelemetry", "psycopg", "pydantic"}
HEAVY |= {"pygments", "relay_server.cli.whole", "rich", "websockets"}
MOST_MODULES = 760  # that a server which is ready has imported, the system's included


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


@pytest.mark.parametrize(
    ("failure", "said"),
    [
        ("", "The canary was delivered in 8 ms, at "),
        ("it was refused: the disk is full (503)", "it was refused: the disk is full (503)"),
    ],
)
def test_status_says_how_the_canary_went(shown: Shown, failure: str, said: str) -> None:
    last = {"ok": not failure, "at": 1_783_000_810_123, "took_ms": 8, "failure": failure}
    text = " ".join(shown(status.show_status, {**STATUS, "canary": last}).split())
    assert said in text
    assert ("The canary failed at " in text) is bool(failure)


def test_status_shows_servers_that_share_a_store(shown: Shown) -> None:
    replica = {"version": "1.0", "since": 0, "spool_oldest_at": None, "stuck": 0}
    replica["announced"] = False
    database = {
        "primary": "db1:5432",
        "timeline": 3,
        "standbys": [
            {"name": "two", "state": "streaming", "sync": "sync", "lag_bytes": 2_048, "lag_ms": 7},
            {"name": "", "state": "", "sync": "", "lag_bytes": None, "lag_ms": None},
        ],
        "replicas": [
            replica | {"name": "a/1", "alive": True, "seen_ms": 2_000, "spooled": 3},
            replica | {"name": "b/2", "alive": False, "seen_ms": 7_200_000, "spooled": 41},
            replica | {"name": "c/3", "alive": False, "seen_ms": 7_200_000, "spooled": 0},
        ],
        "unreached": [],
    }
    store = {"taking": True, "reason": "", "database": database}
    text = " ".join(shown(status.show_status, STATUS | {"store": store}).split())
    assert "The server b/2 is gone, with 41 webhooks in its spool." in text
    assert "c/3 is gone" not in text
    assert "a/1 1.0 2 s ago 3 0" in text
    assert "The primary is db1:5432, of timeline 3." in text
    assert "two streaming yes 2" in text
    assert "- ? ? -" in text
    assert "GRANT pg_monitor" in text
    assert "--share" not in text, "a server alone has nobody to reach"


@pytest.mark.parametrize("why", ["another server answers at http://lb", "", None])
def test_status_says_which_server_cannot_reach_which(shown: Shown, why: str | None) -> None:
    replica = {"version": "1.0", "alive": True, "seen_ms": 0, "spooled": 0, "stuck": 0}
    missed = {"by": "a/1", "other": "b/2", "since": 1_783_000_810_123, "why": why, "fix": "mend it"}
    database = {
        "primary": "db1:5432",
        "timeline": 3,
        "standbys": [],
        "replicas": [
            replica | {"name": "a/1", "announced": True},
            replica | {"name": "b/2", "announced": why is not None},
        ],
        "unreached": [missed] if why else [],
    }
    store = {"taking": True, "reason": "", "database": database}
    text = " ".join(shown(status.show_status, STATUS | {"store": store}).split())
    assert ("a/1 cannot reach b/2 since " in text) is bool(why)
    assert (f": {why} mend it" in text) is bool(why)
    assert ("b/2: no other server knows where to reach it." in text) is (why is None)
    assert ("the one they came to last serves its own" in text) is (why != "")


def test_what_to_do_next_after_init(shown: Shown) -> None:
    text = shown(host.show_init, INIT)
    lines = [line.strip() for line in text.splitlines()]
    for line in (
        "relay-server serve",
        INIT["webhook_url"],
        INIT["webhook_url_query"],
        "relay-client login https://relay.example.com",
        "relay-client connect --to localhost:8000",
    ):
        assert line in lines
    again = INIT | dict.fromkeys(("send_token", "subscribe_token", "webhook_url"), None)
    text = shown(host.show_init, again | {"running": True})
    assert "rly_" not in text
    assert "exists already" in text
    assert "https://relay:TOKEN@relay.example.com/webhook" in text
    assert "Restart" not in text
    assert "relay-server serve" not in text
    assert "token revoke chatwoot && relay-server init" in text
    assert "Chatwoot must reach" not in text
    assert "--public-url" in shown(host.show_init, INIT | {"has_public_url": False})


@pytest.mark.parametrize(
    ("url", "warned"),
    [
        ("https://relay.example.com", False),
        ("http://relay.example.com", True),
        ("http://10.0.0.7:8802/relay", True),
        ("http://localhost:8802", False),
        ("http://127.0.0.1:8802", False),
    ],
)
def test_init_warns_of_a_public_url_without_tls(shown: Shown, url: str, *, warned: bool) -> None:
    in_clear = is_in_clear(url)
    text = shown(host.show_init, INIT | {"url": url, "in_clear": in_clear})
    assert (f"Warning: {url} is without TLS" in " ".join(text.split())) is warned


def test_without_init_commands_say_so(command: Run, data_dir: Path) -> None:
    for arguments in (("status",), ("channel", "list"), ("token", "list"), ("events", "list")):
        status, out, err = command(*arguments)
        assert (status, out) == (1, "")
        assert "relay-server init" in err
    assert not data_dir.exists()


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


async def test_health_does_not_wait_for_who_says_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "TIMEOUT_S", 0.1)
    async with asyncio.timeout(20), listening(tmp_path / SOCKET_NAME, say_nothing):
        assert await asyncio.to_thread(health.state, tmp_path) is None


async def test_a_server_that_is_ready_costs_a_health_check_few_imports(tmp_path: Path) -> None:
    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    load = "import sys; from relay_server.__main__ import main; sys.argv[1:] = ['health']; main()"
    program = f"{load}; assert sys.modules.keys().isdisjoint({{'typer', 'structlog', 'asyncio'}})"
    environment = os.environ | {"RELAY_SERVER_DATA_DIR": str(tmp_path)}
    async with listening(tmp_path / SOCKET_NAME, say):
        command = [sys.executable, "-c", program]
        done = await asyncio.to_thread(
            subprocess.run, command, env=environment, capture_output=True
        )
    assert (done.returncode, done.stdout) == (0, b"ready\n"), done.stderr


@pytest.mark.slow
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


def test_serving_loads_nothing_to_draw_with_and_commands_can() -> None:
    load = "import sys, relay_server.log, relay_server.app"
    drawing = "{'rich', 'jinja2', 'markupsafe'}"
    program = f"{load}; assert sys.modules.keys().isdisjoint({drawing}); import rich.table"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0


def test_a_server_keeps_no_other_command_in_memory() -> None:
    load = "import sys; from relay_server.cli import main; sys.argv[1:] = ['serve', '--help']"
    listing = "import atexit; atexit.register(lambda: print(*sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", f"{load}; {listing}; main()"], capture_output=True, text=True
    )
    assert "--public-url" in done.stdout
    loaded = {name for name in done.stdout.split() if name.startswith("relay_server.cli.")}
    assert loaded.isdisjoint(f"relay_server.cli.{name}" for name in ("whole", "events", "channels"))


async def test_an_idle_server_is_small(data_dir: Path) -> None:
    """It has imported nothing that only drawing, sealing, other stores and commands need."""
    program = f"import atexit, sys; atexit.register(lambda: print(*sys.modules)); {MAIN}"
    ports = ("--port", str(free_port()), "--ops-port", str(free_port()))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", program, "serve", "--init", *ports),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    await until_true(partial(asyncio.to_thread, lambda: health.state(data_dir) == health.READY))
    process.terminate()
    output, _ = await process.communicate()

    loaded = output.decode().splitlines()[-1].split()
    assert "relay_server.listening" in loaded
    assert HEAVY.intersection(loaded) == set()
    assert len(loaded) <= MOST_MODULES, len(loaded)


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

    monkeypatch.setattr("relay_server.cli.command._work", broken)
    assert command("status")[0] == 0


def test_a_data_dir_may_be_named_by_a_flag(command: Run, tmp_path: Path) -> None:
    other = tmp_path / "other"
    assert answer(command("--data-dir", str(other), "init", "--json"))["data_dir"] == str(other)
    assert (other / "relay.db").exists()


@pytest.mark.parametrize(
    ("percent", "worrying", "drop_oldest", "said"),
    [
        (79.9, False, False, None),
        (None, False, False, None),
        (80.0, False, False, "80 % full; what was delivered goes when room is needed"),
        (80.0, True, False, "chatwoot is 80 % full; at 100 % webhooks are refused"),
        (93.5, True, True, "chatwoot is 93.5 % full; at 100 % the oldest events go"),
    ],
)
def test_a_channel_that_is_nearly_full(
    shown: Shown, percent: float | None, worrying: bool, drop_oldest: bool, said: str | None
) -> None:
    config = {"full_percent": percent, "worrying": worrying, "drop_oldest": drop_oldest}
    channel = STATUS["channels"][0] | config
    text = shown(status.show_status, STATUS | {"channels": [channel]})
    assert "819 MiB" in text
    assert (said or "chatwoot is ") in text or said is None
    assert (said is None) == ("% full;" not in text)
    assert worrying == ("% full; at" in text)


def test_what_somebody_must_see_to_comes_first(shown: Shown) -> None:
    """And the settings not at all: there are many, and they change rarely."""
    away = {"away_since": 1_783_000_810_000, "away_long": True, "connected": False, "dead": 2}
    group = {"count": 7, "last_at": 1_783_000_810_000, "says": "it is cut off", "fix": "paste it"}
    found = STATUS | {
        "subscriptions": [SUBSCRIPTION | away | {"paused": "410"}],
        "refused": {"groups": [group, group | {"count": 1, "last_at": 0}]},
    }
    text = shown(status.show_status, found)
    before, _, tables = text.partition("CHANNEL ")
    for said in (
        "ana of chatwoot: 2 dead deliveries",
        "ana of chatwoot is paused: 410.",
        "ana of chatwoot is away since 2026-07-02",
        "8 requests were refused since the start, the last at 2026-07-02",
        "relay-server subscription delete chatwoot ana",
    ):
        assert said in " ".join(before.split())
    assert "away since" in tables
    assert "paused" in tables
    assert "default" not in text


def test_settings_stay_whole_in_80_columns(shown: Shown) -> None:
    """A name to be copied is not broken; nothing reads like a program's own value."""
    name = "max_connections_per_address"
    settings = {
        name: {"value": 1_024, "source": "default"},
        "forward_allow": {"value": ["bot", "10.0.0.0/8"], "source": "RELAY_SERVER_FORWARD_ALLOW"},
        "tls_key_file": {"value": None, "source": "default"},
        "trusted_proxies": {"value": [], "source": "default"},
    }
    text = shown(status.show_status, {"settings": settings})
    assert f"{name}  1024" in text
    assert "bot, 10.0.0.0/8" in text
    assert re.search(r"tls_key_file +- ", text)
    assert re.search(r"trusted_proxies +- ", text)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0 s"),
        (7_200, "2 h"),
    ],
)
def test_how_long_it_runs(shown: Shown, seconds: int, said: str) -> None:
    text = shown(status.show_status, STATUS | {"uptime_s": seconds})
    assert f"Running for {said} at https://relay.example.com, version 1.0." in text


def test_a_store_without_a_token_says_so_before_a_server_runs(command: Run) -> None:
    command("init")
    assert "no token was ever made" not in command("status")[1]
    for name in ("chatwoot", "developer"):
        command("token", "revoke", name)
    assert "Not ready: no token was ever made" in command("status")[1]


def test_a_server_that_does_not_run(shown: Shown) -> None:
    text = shown(status.show_status, STATUS | {"running": False})
    assert "Not running: relay-server serve starts it." in text
