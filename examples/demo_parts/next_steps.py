"""What to try while the demo stays up: commands that work as they are printed."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from dataclasses import astuple
from pathlib import Path
from typing import Any

from examples.demo_parts.ports import Ports, free_port_above
from examples.demo_parts.programs import beside_python
from examples.demo_parts.sample import FILE, Sample

HEADING, COMMAND = "bold", "cyan"
# curl would send even a request to localhost through these
PROXIES = ("http_proxy", "all_proxy", "ALL_PROXY")


def next_steps(
    made: Mapping[str, Any], token: str, link: str, ports: Ports, bot: Path
) -> list[tuple[str, str]]:
    """Lines, each with its style.

    Args:
        made: What `relay-server init --json` gave.
        token: A second developer's.
        link: Logs in to the dashboard.
        ports: Those in use.
        bot: The folder of its project.
    """
    second_port = free_port_above(ports.app_port, astuple(ports))
    return [
        ("What to try next", HEADING),
        ("", ""),
        ("1. Look at it in a browser: what came, live, and what became of it. This link", HEADING),
        ("   works once, within a minute; d and Enter here prints a new one:", HEADING),
        (link, COMMAND),
        ("   There: chatwoot, then the row of conversation 322, which the bot refused.", HEADING),
        ("   It says why. Press e, make the message's id a number, 2, and Send: 200.", HEADING),
        ("", ""),
        ("2. Send a webhook yourself, from another terminal:", HEADING),
        (curl(made["webhook_url_query"]), COMMAND),
        ("", ""),
        ("3. See webhooks wait: type r and Enter here to stop the bot, send a few, and", HEADING),
        ("   type r and Enter again. They arrive in order; none is lost.", HEADING),
        ("", ""),
        ("4. Be a second developer, with an app and a token of your own: each gets all.", HEADING),
        ("   These two each want a terminal; then send again.", HEADING),
        (second_bot(bot, second_port), COMMAND),
        (second_client(made["url"], token, second_port), COMMAND),
        ("", ""),
        ("Ctrl-C ends the demo, and removes what it made.", HEADING),
    ]


def curl(url: str) -> str:
    """Posts the sample as a message of its own each time: a bot answers a message once."""
    direct = ["--noproxy", "*"] if any(map(os.environ.get, PROXIES)) else []
    kind = ["-H", "Content-Type: application/json"]
    posts = shlex.join(["curl", *direct, *kind, "--data-binary", "@-", url])
    return f"sed s/{Sample.read().id}/$(date +%s)/g {shlex.quote(str(FILE))} | {posts}"


def second_bot(bot: Path, port: int) -> str:
    """Starts another bot of the same project, whose ledger is gone with it."""
    words = [beside_python("relay-client"), "bot", "run", reply_of(bot), "--port", str(port)]
    return f"BOT_LEDGER=:memory: {shlex.join(words)}"


def reply_of(bot: Path) -> str:
    """What `relay-client bot run` is told of a project's folder."""
    return f"{bot / 'bot.py'}:reply"


def second_client(url: str, token: str, port: int) -> str:
    """Connects it, past any login that the user has."""
    flags = ["--url", url, "--token", token, "--to", f"localhost:{port}"]
    return shlex.join([beside_python("relay-client"), "connect", *flags])
