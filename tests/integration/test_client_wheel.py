"""A laptop without a clone installs the client from the relay: it logs in, and makes a bot."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path

from tests.support.processes import run
from tests.support.relay import Relay
from tests.support.senders import request

# What the client depends on is this Python's; the packages are those that came from the relay.
PROGRAM = "import sys, relay_client.cli as cli; print(cli.__file__); cli.main()"


async def test_the_command_on_the_page_installs_a_client_that_works(
    relay: Relay, tmp_path: Path
) -> None:
    """The tests of the bot that it makes pass with nothing else."""
    page = await relay.send(request("/client", method="GET", token=None))
    [path] = re.findall(r"pipx install http://\S+?(/client/\S+\.whl)", page.body.decode())
    folder = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "install", "--no-index", "--no-deps", "--target"]
    installed = await asyncio.to_thread(run, [*pip, folder, relay.url + path], {})
    assert installed.returncode == 0, installed.stderr

    status, said, _ = await asyncio.to_thread(
        relay.command, "invite", "eva", "--channel", "chatwoot"
    )
    assert status == 0
    [code] = re.findall(r"/i/\w+", said)
    environment = {"PYTHONPATH": str(folder), "RELAY_CLIENT_CONFIG_DIR": str(tmp_path / "config")}
    client = [sys.executable, "-P", "-c", PROGRAM]
    done = await asyncio.to_thread(run, [*client, "login", relay.url + code], environment)
    assert (done.returncode, str(folder) in done.stdout) == (0, True), done.stderr
    assert "as eva" in done.stdout

    project = tmp_path / "padaria"
    done = await asyncio.to_thread(run, [*client, "bot", "new", project], environment)
    assert done.returncode == 0, done.stderr
    tests = [sys.executable, "-P", "-m", "unittest", "discover", "-s", str(project)]
    done = await asyncio.to_thread(run, tests, environment)
    assert done.returncode == 0, done.stderr
    assert "Ran 6 tests" in done.stderr
