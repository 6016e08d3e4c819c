"""From nothing to a bot that answers, as its README says: `bot new`, `bot run`, its stack.

Its tests are run where it is made from the wheel: `test_client_wheel.py`.
"""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import pytest
import yaml

from tests.support.processes import CLIENT, Running, run
from tests.support.waiting import until

# What the developer's own bot may be told by this environment, and a bot under test must not.
NOTHING = dict.fromkeys(("CHATWOOT_URL", "CHATWOOT_TOKEN", "CHATWOOT_WEBHOOK_SECRET"), "")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "padaria"
    made = run([CLIENT, "bot", "new", folder, "--json"], {})
    assert (made.returncode, json.loads(made.stdout)["folder"]) == (0, str(folder)), made.stderr
    return folder


@contextmanager
def bot_of(project: Path, port: int = 0) -> Iterator[Running]:
    """The project's bot, as a program."""
    reply = f"{project / 'bot.py'}:reply"
    command: list[str | Path] = [CLIENT, "bot", "run", reply, "--port", str(port)]
    told = NOTHING | {"BOT_LEDGER": str(project / "bot.db"), "BOT_BURST_SECONDS": "0.05"}
    bot = Running(command, project / "bot", told)
    try:
        yield bot
    finally:
        bot.end()


async def listening(bot: Running) -> str:
    """Its address, once it listens."""
    await until(lambda: "/webhook" in bot.output or not bot.alive)
    [url] = re.findall(r"Listening on (\S+)/webhook", bot.output)
    return str(url)


async def test_from_nothing_to_an_answer(project: Path) -> None:
    """It says what it would answer, how it is, and stops in good order."""
    with bot_of(project) as bot:
        url = await listening(bot)
        assert "Answers are only printed" in bot.output
        async with aiohttp.ClientSession() as session:
            body = (project / "message.json").read_bytes()
            async with session.post(f"{url}/webhook", data=body) as answer:
                assert (answer.status, await answer.json()) == (
                    200,
                    {"did": "it is to be answered"},
                )
            async with session.get(f"{url}/health/ready") as health:
                assert health.status == 200
            await until(lambda: "would hand over" in bot.output)
            async with session.get(f"{url}/metrics") as metrics:
                assert 'relay_bot_turns_total{end="handed"} 1.0' in await metrics.text()
            async with session.post(f"{url}/webhook", data=b"{}") as answer:
                assert answer.status == 400
        bot.terminate()
        assert await bot.exit_status() == 0
    assert "#318  would answer: I am calling somebody. 🙋" in bot.output
    assert "Stopping" in bot.output
    forgotten = run([CLIENT, "bot", "forget", "2", "55"], {"BOT_LEDGER": str(project / "bot.db")})
    assert forgotten.stdout.startswith("Erased, lines: ")


@pytest.mark.parametrize(
    "words",
    [("ruff", "check"), ("ruff", "format", "--check", "--line-length", "100")],
    ids=" ".join,
)
def test_what_it_writes_is_in_form(project: Path, words: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", *words, "--isolated"]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_stack_deploys_one_bot_with_its_secrets_as_files(project: Path) -> None:
    stack = yaml.safe_load((project / "docker-stack.yml").read_text())
    bot = stack["services"]["bot"]

    assert bot["deploy"]["replicas"] == 1
    assert bot["deploy"]["update_config"]["order"] == "stop-first"
    assert {one["source"] for one in bot["secrets"]} == set(stack["secrets"])
    assert not any("TOKEN" in name and not name.endswith("_FILE") for name in bot["environment"])
    assert stack["networks"]["relay"]["name"] == "relay-internal"
    assert "@" not in (project / "Dockerfile").read_text()


async def test_whose_answer_failed_is_said(project: Path) -> None:
    (project / "bot.py").write_text("async def reply(talk):\n    raise ValueError('no model')\n")
    with bot_of(project) as bot:
        url = await listening(bot)
        body = (project / "message.json").read_bytes()
        async with aiohttp.ClientSession() as session, session.post(f"{url}/webhook", data=body):
            await until(lambda: "ValueError: no model" in bot.errors)
    assert "  error  the reply failed  account=2  conversation=318  turn=1\n" in bot.errors


async def test_a_port_in_use_is_named_with_what_to_do(project: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with bot_of(project, port) as bot:
            assert await bot.exit_status() == 1
    assert f"port {port} is in use" in bot.errors
    assert "relay-client connect" in bot.errors
