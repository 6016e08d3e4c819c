"""Surroundings that a program is started in: no home, closed descriptors, other encodings."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.support.chatwoot import message
from tests.support.processes import CLIENT, SERVER, clean_environment
from tests.support.relay import Relay
from tests.support.senders import request
from tests.support.target import Target

NOBODY = 54_321  # a user id that no system has


@pytest.mark.parametrize("closed", ["<&-", "<&- >&-", "<&- >&- 2>&-"])
async def test_without_standard_streams_both_serve_and_stop(
    relay: Relay, target: Target, closed: str
) -> None:
    """No file, socket or event loop takes their numbers."""
    relay.server.terminate()
    assert await relay.server.exit_status() == 0
    prefix = ["/bin/sh", "-c", f'exec "$@" {closed}', "sh"]
    relay.server_prefix, relay.client_prefix = [*prefix], [*prefix]
    await relay.start()
    await relay.send(message(relay.send_token, 1, 1))
    token = await relay.make_token("ana", "subscribe")
    since = ("--since", "beginning", "--to", target.address)
    client = relay.begin_client(token, "connect", "--output", "plain", *since)
    await target.received(1)

    client.terminate()
    assert await client.exit_status() == 0
    relay.server.terminate()
    assert await relay.server.exit_status() == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="takes the right to become another user")
@pytest.mark.parametrize(
    ("command", "variable"),
    [
        ([SERVER, "status"], "RELAY_SERVER_DATA_DIR"),
        ([SERVER, "health"], "RELAY_SERVER_DATA_DIR"),
        ([CLIENT, "whoami"], "RELAY_CLIENT_CONFIG_DIR"),
    ],
)
def test_an_unknown_user_without_a_home(command: list[str | Path], variable: str) -> None:
    become = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]

    def run(**environment: str) -> str:
        ended = subprocess.run(
            [*become, *command], env=environment, capture_output=True, timeout=200
        )
        assert ended.returncode in (1, 2)
        return ended.stderr.decode()

    assert "this user has no home" in run()
    assert variable in run()
    assert "home" not in run(**{variable: "/nowhere"})


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
async def test_an_emoji_on_a_terminal_that_knows_none(relay: Relay, encoding: str) -> None:
    body = json.dumps({"text": "Hello 👋"}, ensure_ascii=False).encode()
    event = (await relay.send(request(f"/webhook?token={relay.send_token}", body))).json["id"]
    surroundings = {"PYTHONUTF8": "0", "PYTHONIOENCODING": encoding}
    environment = clean_environment(relay.environment | surroundings)

    command = [SERVER, "events", "show", event]
    shown = await asyncio.to_thread(
        subprocess.run, command, env=environment, capture_output=True, timeout=200
    )

    assert (shown.returncode, shown.stderr) == (0, b"")
    assert "Hello ?" in shown.stdout.decode(encoding)
