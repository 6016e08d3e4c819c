"""The command as a program: exit statuses, signals, and what it costs."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from asyncio.subprocess import PIPE, Process
from pathlib import Path

import pytest

from relay_terminal.beginning import INTERRUPTED
from tests.support.raw_target import OK, make_delivery, raw_target
from tests.support.waiting import until
from tests.unit.client.support import REPLAY, TOKEN, fake_relay

ROOT = Path(__file__).parents[3]
MAIN = "from relay_client.cli import main; main()"
LISTING = f"import atexit, sys; atexit.register(lambda: print(*sys.modules)); {MAIN}"
MOST_MODULES = 510  # that a client which brings webhooks to a file imports, the system's included
# What other commands, screens and bots need; 2 MiB each, or more.
HEAVY = {"cryptography", "jinja2", "multiprocessing", "pydantic", "pygments", "rich", "textual"}


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """No settings but a config directory of the test's own."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("RELAY_CLIENT_")}
    folders = {
        name: str(tmp_path) for name in ("RELAY_CLIENT_CONFIG_DIR", "RELAY_CLIENT_STATE_DIR")
    }
    return kept | folders | {"PYTHONPATH": str(ROOT)}


async def start(environment: dict[str, str], *arguments: str, code: str = MAIN) -> Process:
    """Start `relay-client`."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        code,
        *arguments,
        env=environment,
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE,
    )


async def run(
    environment: dict[str, str], *arguments: str, stdin: bytes = b""
) -> tuple[int | None, str, str]:
    """Run `relay-client` to its end: status, output, errors."""
    process = await start(environment, *arguments)
    out, err = await process.communicate(stdin)
    return process.returncode, out.decode(), err.decode()


@pytest.mark.slow  # a process each
@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["--help"], 0, "connect"),
        (["--version"], 0, "relay-client "),
        (["connect", "--help"], 0, "--to"),
        (["nonsense"], 2, "nonsense"),
        (["connect", "--nonsense"], 2, "nonsense"),
        (["connect", "--concurrency", "x"], 2, "must be a whole number"),
        (["whoami"], 2, "no relay is set"),
        (["connect", "--url", "http://127.0.0.1:9", "--token", "t"], 2, "--to localhost:8000"),
        (["whoami", "--url", "http://127.0.0.1:9", "--token", "t"], 3, "cannot be reached"),
        (["status", "--url", "http://127.0.0.1:9", "--token", "t"], 3, "cannot be reached"),
        (["resume", "--url", "http://127.0.0.1:9", "--token", "t"], 3, "cannot be reached"),
        (["doctor", "--url", "http://127.0.0.1:9", "--token", "t"], 3, "FAILED"),
    ],
)
async def test_exit_statuses(
    environment: dict[str, str], arguments: list[str], status: int, words: str
) -> None:
    """Documented ones, and never a traceback."""
    got, out, err = await run(environment, *arguments)

    assert got == status
    assert words in out + err
    assert "Traceback" not in err


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no SIGINT to one process")
@pytest.mark.slow
async def test_who_waits_no_longer_for_a_replay_is_told_that_it_goes_on(
    environment: dict[str, str],
) -> None:
    async with fake_relay() as relay:
        look = "GET /api/v1/replays/3"
        relay.answers[look] = REPLAY
        access = ("--url", relay.url, "--token", TOKEN)
        process = await start(environment, "replay", "evt_1", "--wait", *access)
        await until(lambda: look in [call for call, _ in relay.asked])
        process.send_signal(signal.SIGINT)
        _out, err = await process.communicate()

    assert process.returncode == INTERRUPTED
    assert err.decode() == "The replay goes on. To end it: relay-client replays stop 3\n"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no SIGINT to one process")
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_one_signal_finishes_what_is_under_way_and_the_next_ends_at_once(
    environment: dict[str, str], number: signal.Signals
) -> None:
    """The relay gets its result, and the status is 0; or 1 without waiting for it."""
    release = asyncio.Event()

    async def answer_late(request: bytes, writer: asyncio.StreamWriter) -> None:
        await release.wait()
        writer.write(OK)

    for signals, status in ((1, 0), (2, 1)):
        async with fake_relay() as relay, raw_target() as target:
            target.answer = answer_late
            release.clear()
            environment |= {"RELAY_CLIENT_URL": relay.url, "RELAY_CLIENT_TOKEN": TOKEN}
            to = f"127.0.0.1:{target.port}"
            process = await start(environment, "connect", "--to", to, "--json")
            await (await relay.connected()).deliver(make_delivery())
            await until(lambda: target.requests)
            process.send_signal(number)
            assert process.stdout is not None
            while b'"stopping"' not in await process.stdout.readline():
                pass
            if signals == 2:
                process.send_signal(number)
            else:
                release.set()

            assert await process.wait() == status
            release.set()
            assert [outcome.delivered for _, outcome in relay.settled] == [True] * (2 - signals)


async def test_a_closed_output_ends_it_quietly(environment: dict[str, str]) -> None:
    """As in `relay-client connect | head -1`."""
    async with fake_relay() as relay, raw_target() as target:
        environment |= {"RELAY_CLIENT_URL": relay.url, "RELAY_CLIENT_TOKEN": TOKEN}
        process = await start(environment, "connect", "--to", f"127.0.0.1:{target.port}")
        connection = await relay.connected()
        assert process.stdout is not None
        assert process.stderr is not None
        await process.stdout.readline()
        process._transport.get_pipe_transport(1).close()  # type: ignore[attr-defined]
        await connection.deliver(make_delivery())

        assert await process.wait() == 0
        assert await process.stderr.read() == b""


async def test_an_idle_client_is_small(environment: dict[str, str]) -> None:
    """It has imported nothing of what other commands, screens and bots need."""
    async with fake_relay() as relay, raw_target() as target:
        environment |= {"RELAY_CLIENT_URL": relay.url, "RELAY_CLIENT_TOKEN": TOKEN}
        arguments = ("connect", "--output", "plain", "--to", f"127.0.0.1:{target.port}")
        process = await start(environment, *arguments, code=LISTING)
        connection = await relay.connected()
        await connection.deliver(make_delivery())
        await until(lambda: relay.settled)
        process.terminate()
        output, _errors = await process.communicate()

    loaded = output.decode().splitlines()[-1].split()
    of_ours = {f"relay_client.{name}" for name in ("commands", "doctor", "feed", "trust")}
    assert (HEAVY | of_ours).intersection(loaded) == set()
    assert len(loaded) <= MOST_MODULES, len(loaded)


@pytest.mark.skipif(sys.platform == "win32", reason="counts CPU time by os.wait4")
def test_help_loads_none_of_what_only_work_needs(environment: dict[str, str]) -> None:
    """So it answers at once: each of these costs as much as all the rest."""
    ran = subprocess.run(
        [sys.executable, "-c", LISTING, "--help"],
        capture_output=True,
        env=environment,
        check=True,
        text=True,
    )
    loaded = set(ran.stdout.splitlines()[-1].split())

    assert "typer" in loaded
    assert loaded.isdisjoint(
        {"aiohttp", "asyncio", "httptools", "msgspec", "pydantic", "websockets"}
    )
