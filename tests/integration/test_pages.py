"""Every page, run as it is written: its commands in their order, in one shell, with a real relay.

Addresses, ids and tokens of a page stand for those of the sandbox; docker and pip do nothing there,
but for what they are to run. A block that cannot run says why, in a comment that no reader sees:
`<!-- not run: why -->`.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.forking import make_shims
from tests.support.processes import clean_environment, free_port
from tests.support.target import BROKEN, always, open_target
from tests.support.waiting import until

ROOT = Path(__file__).parents[2]
PAGES = [
    *("README.md", "docs/tutorial/*.md", "docs/how-to/*.md", "docs/reference/*.md"),
    "examples/*/README.md",
]
BLOCK = re.compile(
    r"(?P<unrun><!-- not run: (?P<why>[^>]+) -->\n+)?"
    r"^(?P<indent> *)```(?P<language>sh|console)\n(?P<text>.*?)^ *```",
    re.MULTILINE | re.DOTALL,
)
WHOLE_PAGE = re.compile(r"\A<!-- no block is run: (?P<why>[^>]+) -->")
MOST_UNRUN = 8  # blocks and pages, of all that there are
EVENT = "evt_01f0c6a2-7b1e-7c3d-8e4f-0123456789ab"
# What these end with, otherwise than with 0, is what a reader gets as well.
ANSWERS: dict[str, str] = {}
BEGINNING = """
trap 'echo "$?: $BASH_COMMAND" >> "$SANDBOX/failed"' ERR
set -E
docker() {
    case "$1" in exec|run) ;; *) return 0 ;; esac
    while [ $# -gt 0 ] && [ "$1" != relay-server ] && [ "${1#relay-tunnel:}" = "$1" ]; do
        shift
    done
    [ $# -eq 0 ] || command relay-server "${@:2}"
}
git() { :; }
pip() { :; }
pipx() { curl --fail --silent --output "$SANDBOX/wheel" "$2"; }
python3() { if [ "$1 $2" = "-m venv" ]; then :; else command python3 "$@"; fi; }
uuidgen() { echo 00000000-0000-4000-8000-000000000000; }
curl() { command curl --max-time 20 --silent --fail-with-body "$@"; }
newest() {
    EVENT=$(curl --unix-socket "$RELAY_SERVER_DATA_DIR/control.sock" \\
        'http://relay/api/v1/events?limit=1' | sed -n 's/.*"id":"\\(evt_[^"]*\\)".*/\\1/p') || :
}
"""
# A relay with three subscriptions, one of which has had nothing but failures.
GIVEN = """
relay-server init >/dev/null
relay-server channel set chatwoot --retry-delays none --other-tries 1 >/dev/null
relay-server serve
relay-server channel create support >/dev/null
URL=http://relay:$(cat "$SANDBOX/first")@127.0.0.1:$RELAY_SERVER_PORT
relay-server token create maria --scope subscribe --channel chatwoot >/dev/null
RELAY_CLIENT_TOKEN=$(cat "$SANDBOX/last") RELAY_CLIENT_URL=http://127.0.0.1:$RELAY_SERVER_PORT \\
    relay-client connect --to localhost:$BROKEN
relay-server token create developer2 --scope admin --scope send >/dev/null
export TOKEN=$(cat "$SANDBOX/last")
relay-client login http://127.0.0.1:$RELAY_SERVER_PORT >/dev/null
for name in maria-desktop developer2; do
    relay-client connect --to localhost:$TARGET --as $name
done
for name in message_created_incoming message_updated message_created_incoming contact_created; do
    curl --output "$SANDBOX/id" --data-binary @relay_client/samples/$name.json $URL/webhook
    echo '{"event": "message_created", "content": "refund"}' > changed.json
done
"""


def blocks(page: Path) -> list[tuple[str, str]]:
    """A page's commands, and why they are not run; empty where they are."""
    text = page.read_text("utf-8")
    whole = WHOLE_PAGE.match(text)
    why = whole["why"] if whole else ""
    return [(commands(one), one["why"] or why) for one in BLOCK.finditer(text)]


def commands(block: re.Match[str]) -> str:
    """What a reader types: of a `console` block what stands behind a prompt, and what goes on."""
    if block["language"] == "sh":
        return block["text"]
    return re.sub(r"^[$#] ", "", block["text"], flags=re.MULTILINE)


RUN = {
    str(page.relative_to(ROOT)): found
    for pattern in PAGES
    for page in sorted(ROOT.glob(pattern))
    if (found := blocks(page)) and any(not why for _, why in found)
}


class Sandbox:
    """A folder with a home, both commands, and the ports of what a page speaks of."""

    def __init__(self, folder: Path, forking: Path, target: int, broken: int) -> None:
        self.folder = folder
        self.port, self.ops_port, self.nobody = free_port(), free_port(), free_port()
        self.target, self.broken = target, broken
        for part in ("tmp", "home/relay-venv/bin", "work"):
            (folder / part).mkdir(parents=True)
        make_shims(forking, folder, folder / "home/relay-venv/bin")
        (folder / "home/relay-venv/bin/pip").symlink_to("/bin/true")
        for name in ("relay_client", "examples", "docs", "docker-stack.yml"):
            (folder / "work" / name).symlink_to(ROOT / name)

    @property
    def environment(self) -> dict[str, str]:
        home = self.folder / "home"
        return clean_environment(
            {
                "HOME": str(home),
                "PATH": f"{home}/relay-venv/bin:{Path(sys.executable).parent}:{os.environ['PATH']}",
                "SANDBOX": str(self.folder),
                "TARGET": str(self.target),
                "BROKEN": str(self.broken),
                "RELAY_SERVER_DATA_DIR": str(self.folder / "data"),
                "RELAY_SERVER_PORT": str(self.port),
                "RELAY_SERVER_OPS_PORT": str(self.ops_port),
                "RELAY_SERVER_FORWARD_ALLOW": "127.0.0.1",
                "RELAY_CLIENT_CHATWOOT_URL": "https://chat.example.com",
            }
        )

    def mapped(self, text: str) -> str:
        """Commands as they are written, with what the sandbox has in the place of examples."""
        relay = f"127.0.0.1:{self.port}"
        for written, here in {
            "https://relay:rly_…@relay.example.com": f"http://relay:$(cat $SANDBOX/first)@{relay}",
            "https://relay.example.com": f"http://{relay}",
            "localhost:8802": f"localhost:{self.port}",
            "localhost:8000": f"localhost:{self.target}",
            "localhost:8001": f"localhost:{self.nobody}",
            "chatwootai_webhook_server:8001": f"127.0.0.1:{self.target}",
            "bot:8001": f"127.0.0.1:{self.target}",
            "rly_…": "$(cat $SANDBOX/first)",
            "rly_...": "$TOKEN",
            "/tmp/relay": "$SANDBOX/tmp/relay",
            "/somewhere/safe": "$SANDBOX/tmp",
            "/data/": "$SANDBOX/tmp/",
            EVENT: "$EVENT",
            "evt_…": "$EVENT",
            EVENT[-8:]: '"${EVENT: -8}"',
        }.items():
            text = text.replace(written, here)
        return text

    def run(self, script: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-c", BEGINNING + script],
            cwd=self.folder / "work",
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=150,
        )

    def end(self) -> None:
        """End what a page left running."""
        with suppress(FileNotFoundError):
            for pid in (self.folder / "pids").read_text().split():
                with suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)


@pytest.fixture(scope="module")
def forking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where both commands are run, with what they import at hand."""
    address = tmp_path_factory.mktemp("forking") / "socket"
    with subprocess.Popen(
        [sys.executable, "-m", "tests.support.forking", address], cwd=ROOT
    ) as one:
        yield address
        one.kill()


@pytest.fixture
async def sandbox(forking: Path, tmp_path: Path) -> AsyncIterator[Sandbox]:
    await until(forking.exists)
    async with open_target() as target, open_target() as broken:
        broken.answer = always(BROKEN)
        made = Sandbox(tmp_path, forking, target.port, broken.port)
        try:
            yield made
        finally:
            made.end()


@pytest.mark.parametrize("page", RUN)
async def test_every_command_of_a_page_runs_as_written(page: str, sandbox: Sandbox) -> None:
    is_begun_there = any("relay-server init" in text for text, _ in RUN[page])
    script = "" if is_begun_there else GIVEN
    for number, (text, why) in enumerate(RUN[page]):
        if not why:
            script += f"\necho '--- block {number}'; newest\n{sandbox.mapped(text)}"

    done = await asyncio.to_thread(sandbox.run, script)

    failed = sandbox.folder / "failed"
    lines = failed.read_text().splitlines() if failed.exists() else []
    unexpected = [line for line in lines if not any(known in line for known in ANSWERS)]
    assert not unexpected, "\n".join([*unexpected, "", done.stdout])
    assert "Traceback" not in done.stdout


def test_few_blocks_are_not_run_and_each_says_why() -> None:
    found = dict[str, set[str]]()
    for pattern in PAGES:
        for page in ROOT.glob(pattern):
            for _, why in blocks(page):
                if why:
                    found.setdefault(page.name, set()).add(why)
    assert sum(map(len, found.values())) <= MOST_UNRUN, found
    assert all(len(why) > 10 for reasons in found.values() for why in reasons)
