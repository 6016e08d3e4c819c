"""Every screen of both commands, on real terminals: no line is wider, and no word is broken."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from relay_terminal.layout import width
from relay_terminal.words import LOCALE
from tests.support.sandbox import ROOT, Sandbox

CODES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
PAINT = re.compile(r"\x1b\[[0-9;]*m")
CUT_TIME = re.compile(r"(?<!\S)[0-9]{4}-[0-9]{2}-[0-9]{2}(?=  |$)")  # a date without its clock
WIDE = 120  # cells
# What wide screens may say beyond narrow ones.
SAID = [*LOCALE.rglob("*.po*"), *(ROOT / "relay_chatwoot/samples").glob("*.json")]
# Beginnings of lines that are to be copied, and so stay whole.
COPIED = re.compile(r"\s*(relay-(client|server) |curl |https?://|rly_|/)")
SCREENS = {
    "relay-server": (
        *("status", "status --settings", "channel list", "channel show chatwoot", "token list"),
        *("invite list", "subscription list", "subscription show chatwoot maria-desktop"),
        *("forward list", "events list", "events show latest", "replays list", "replays show 1"),
        *("dead list", "audit list", "index", "--help", "channel set --help", "replay --help"),
        *("doctor", "drift list", "chatwoot status", "replay --all --dry-run", "events show nope"),
    ),
    "relay-client": (
        *("status", "channels", "events list", "events show latest", "dead", "replays", "pins"),
        *("subscription list", "whoami", "why 318", "replay --all --dry-run", "events show none"),
        *("--help", "connect --help", "events list --help", "doctor --to localhost:$NOBODY"),
        *("send --help", "wait --help"),
    ),
}
# Long names, everything that a terminal could stumble over, and something of each kind.
GIVEN = r"""
relay-server init >/dev/null
relay-server channel set chatwoot --retry-delays none --other-tries 1 >/dev/null
relay-server serve
relay-server channel create a-channel-with-a-name-that-is-as-long-as-names-get >/dev/null
URL=http://relay:$(cat "$SANDBOX/first")@127.0.0.1:$RELAY_SERVER_PORT
relay-server invite a-developer-with-a-long-name --channel chatwoot >/dev/null
relay-client login http://127.0.0.1:$RELAY_SERVER_PORT >/dev/null
relay-client connect --to localhost:$BROKEN
relay-client connect --to localhost:$TARGET --as maria-desktop
relay-server forward create chatwoot http://127.0.0.1:1/webhook --name production >/dev/null
relay-server subscription pause chatwoot maria-desktop >/dev/null
for name in message_created_incoming message_created_private_note message_updated; do
    curl --output "$SANDBOX/id" --data-binary @relay_chatwoot/samples/$name.json $URL/webhook
done
printf '{"event":"message_created","id":1,"conversation":{"id":318},"account":{"id":2},' > body
printf '"content":"\\u001b[31m\\u202e%s","sender":{"type":"contact","name":"%s"}}' \
    "a word and another, again and again and again, ação, 会話, e\u0301 🎉" \
    "João 👩‍👩‍👧 da Conceição $(printf 'de Almeida %.0s' 1 2 3 4)" >> body
curl --output "$SANDBOX/id" --data-binary @body $URL/webhook
curl --output "$SANDBOX/id" --data-binary "$(printf '\033]0;x\007')" \
    "$URL/webhook/a/path/that/is/long?and=a-query-that-is-longer&with=%1b%5b31m"
relay-client pin latest "a pin with a name of several words" >/dev/null
relay-client replay latest >/dev/null
"""


@pytest.fixture
async def told(sandbox: Sandbox) -> Sandbox:
    """A relay in which there is something of each kind."""
    done = await asyncio.to_thread(sandbox.run, GIVEN)
    assert not (sandbox.folder / "failed").exists(), done.stdout
    return sandbox


def screens(sandbox: Sandbox, cells: int, **environment: str) -> Iterator[tuple[str, str]]:
    """What each command shows on a terminal of so many columns."""
    for program, commands in SCREENS.items():
        for command in commands:
            line = command.replace("$NOBODY", str(sandbox.nobody))
            yield (
                f"{program} {command}",
                shown(sandbox, [program, *line.split()], cells, environment),
            )


def shown(sandbox: Sandbox, command: list[str], cells: int, environment: dict[str, str]) -> str:
    """All that a command writes to a terminal."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 50, cells, 0, 0))
    given = {**sandbox.environment, "TERM": "xterm-256color", **environment}
    del given["COLUMNS"]
    program = sandbox.folder / "home/relay-venv/bin" / command[0]
    process = subprocess.Popen(
        [str(program), *command[1:]],
        cwd=sandbox.folder / "work",
        env=given,
        stdin=slave,
        stdout=slave,
        stderr=slave,
    )
    os.close(slave)
    written = b""
    while piece := _read(master):
        written += piece
    os.close(master)
    process.wait()
    return written.decode().replace("\r\n", "\n")


def _read(master: int) -> bytes:
    try:
        return os.read(master, 65_536)
    except OSError:  # nobody has its other end open any more
        return b""


def words(text: str) -> set[str]:
    return {
        word.casefold()
        for word in re.findall(r"(?<![\w-])[^\W\d_]{4,}(?![\w-])", CODES.sub("", text))
    }


def flaws(text: str, cells: int, known: set[str]) -> list[str]:
    """Lines that are too wide, and times and words that are not whole: a half is none of those."""
    found = list[str]()
    for line in CODES.sub("", text).splitlines():
        longest = max(map(width, line.split()), default=0)
        indent = width(line) - width(line.lstrip())
        if width(line) > cells and not COPIED.match(line) and indent + longest < cells:
            found.append(line)
        if CUT_TIME.search(line):
            found.append(line)
        cut = words(line[: line.find("…")]) if "…" in line else words(line)
        found += [f"{word}: {line}" for word in cut - known if "…" not in line]
    return found


@pytest.mark.timeout(600)  # dozens of commands
@pytest.mark.parametrize(
    ("language", "colour", "narrow"),
    [("en_US.UTF-8", "NO_COLOR", 60), ("pt_BR.UTF-8", "COLOUR", 80)],
)
async def test_every_screen_fits_its_terminal(
    told: Sandbox, language: str, colour: str, narrow: int
) -> None:
    environment = {"LANGUAGE": language, colour: "1"}
    wrong = list[str]()
    wide = dict(await asyncio.to_thread(list, screens(told, WIDE, **environment)))
    small = dict(await asyncio.to_thread(list, screens(told, narrow, **environment)))
    said = words("\n".join(file.read_text("utf-8") for file in SAID))
    for cells, seen, others in ((WIDE, wide, small), (narrow, small, wide)):
        for command, text in seen.items():
            known = words(others[command]) | (said if cells == WIDE else set())
            _keep(f"{language[:2]}-{cells}-{command}", text)
            wrong += [f"{command} at {cells}: {one}" for one in flaws(text, cells, known)]
            assert "Traceback" not in text, command
            assert not (PAINT.search(text) and colour == "NO_COLOR"), command
    assert wrong == []


def _keep(name: str, text: str) -> None:
    """For eyes: what is seen stands in files of a folder that is named."""
    if folder := os.environ.get("SCREENS"):
        Path(folder, name.replace("/", "-").replace(" ", "_")).write_text(text)
