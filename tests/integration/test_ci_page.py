"""The script of the page on CI, run as it stands there."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.support.processes import CLIENT, clean_environment, free_port
from tests.support.relay import Relay

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "ci.md"
BOT = """
from http.server import BaseHTTPRequestHandler, HTTPServer

class Bot(BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response({status})
        self.end_headers()

HTTPServer(("127.0.0.1", {port}), Bot).serve_forever()
"""


@pytest.mark.parametrize(("answers", "status"), [(200, 0), (500, 8)])
async def test_ten_lines_of_shell_test_a_bot(
    relay: Relay, tmp_path: Path, answers: int, status: int
) -> None:
    """They end with 0 for one that takes the webhook, and say what is wrong with one that fails."""
    await relay.said("channel", "set", "chatwoot", "--retry-delays", "none")
    body = {"name": "ci", "scopes": ["send", "subscribe"], "channels": ["chatwoot"]}
    token = (await relay.control("POST", "tokens", body))["token"]
    [script] = re.findall(r"```sh\n(#!/bin/sh\n.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert script.count("\n") == 10
    port = free_port()
    (tmp_path / "bot.py").write_text(BOT.format(status=answers, port=port))
    (tmp_path / "test_bot.sh").write_text(script.replace("localhost:8000", f"localhost:{port}"))
    environment = clean_environment(relay.client_environment(token))
    environment["PATH"] = f"{CLIENT.parent}{os.pathsep}{os.environ['PATH']}"

    done = await asyncio.to_thread(
        subprocess.run,
        ["sh", "test_bot.sh"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=200,
    )

    assert done.returncode == status, done
    assert ("delivered 200" in done.stdout) is (status == 0), done
    assert ("the target answered 500" in done.stderr) is (status == 8), done
    subscriptions = (await relay.control("GET", "status"))["subscriptions"]
    assert [(one["name"][:3], one["temporary"]) for one in subscriptions] == [("ci-", True)]
