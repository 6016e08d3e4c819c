"""Writes a bot's project: the bot, its tests, and what deploys it."""

from __future__ import annotations

import re
from pathlib import Path

from relay_client import __version__, samples
from relay_client.errors import UsageError
from relay_terminal.words import _

TEMPLATES = Path(__file__).parent / "project"
ENDING = ".template"
HIDDEN = ("gitignore", "dockerignore")
SAMPLE = "agent_bot_message_created"
# An image, a secret and a host in a swarm are named after it: this is what all three take.
NAME = re.compile(r"[A-Za-z0-9]+(?:[-_][A-Za-z0-9]+)*")


def write_project(folder: Path) -> list[str]:
    """Write a project into a new folder, or an empty one; gives the names of its files.

    Raises:
        UsageError: Something is there, or it cannot be written.
    """
    name = folder.absolute().name
    if NAME.fullmatch(name) is None:
        text = _("{name!r} names no bot: letters, digits, - and _ between them are expected")
        raise UsageError(text.format(name=name))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise UsageError(_("{folder} is not empty: name a new one").format(folder=folder))
        files = _files(name.lower())
        for file, content in files.items():
            (folder / file).write_bytes(content)
    except OSError as exc:
        text = _("{folder} cannot be written: {why}").format(folder=folder, why=exc.strerror)
        raise UsageError(text) from exc
    return sorted(files)


def _files(name: str) -> dict[str, bytes]:
    found = {"message.json": samples.read(SAMPLE)}
    for template in TEMPLATES.glob(f"*{ENDING}"):
        file = template.name.removesuffix(ENDING)
        text = template.read_text(encoding="utf-8")
        text = text.replace("@NAME@", name).replace("@VERSION@", __version__)
        found[f".{file}" if file in HIDDEN else file] = text.encode()
    return found
