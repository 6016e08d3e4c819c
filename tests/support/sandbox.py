"""A folder in which commands are typed as a page has them: a shell, a home, ports, a real relay."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from tests.support.forking import BEGAN, make_shims
from tests.support.processes import clean_environment, free_port, stat_of

ROOT = Path(__file__).parents[2]
EVENT = "evt_01f0c6a2-7b1e-7c3d-8e4f-0123456789ab"
BEGINNING = """
trap 'echo "$?: $BASH_COMMAND" >> "$SANDBOX/failed"' ERR
set -E
docker() {
    case "$*" in
        *--entrypoint*) return ;;
        exec*|run*) ;;
        "service scale relay_server=0") stop; return ;;
        "service scale relay_server=1") command relay-server serve; return ;;
        image*) echo simple_webhook; return ;;
        *) return ;;
    esac
    while [ $# -gt 0 ] && [ "$1" != relay-server ] && [ "${1#relay-tunnel:}" = "$1" ]; do
        shift
    done
    [ $# -eq 0 ] || command relay-server "${@:2}"
}
git() { :; }
relay() { command relay-server "$@"; }
pip() { :; }
pipx() { curl --output "$SANDBOX/wheel" "$2"; }
python3() { if [ "$1 $2" = "-m venv" ]; then :; else command python3 "$@"; fi; }
uuidgen() { echo 00000000-0000-4000-8000-000000000000; }
curl() {
    case " $* " in *" -sN "*) command curl --max-time 2 "$@" || [ $? = 28 ]; return ;; esac
    command curl --max-time 20 --silent --fail-with-body "$@"
}
stop() {
    kill -TERM "$(head -1 "$SANDBOX/pids")"
    while [ -e "$RELAY_SERVER_DATA_DIR/control.sock" ]; do sleep 0.1; done
}
newest() {
    EVENT=$(curl --unix-socket "$RELAY_SERVER_DATA_DIR/control.sock" \\
        'http://relay/api/v1/events?limit=1' | sed -n 's/.*"id":"\\(evt_[^"]*\\)".*/\\1/p') || :
}
"""


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
        for name in ("relay_chatwoot", "relay_client", "examples", "docs", "docker-stack.yml"):
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
            # Within quotes that a shell looks into for nothing.
            "'https://relay:rly_…@relay.example.com/webhook'": '"$URL/webhook"',
            "https://relay:rly_…@relay.example.com": f"http://relay:$(cat $SANDBOX/first)@{relay}",
            "https://relay.example.com": f"http://{relay}",
            "localhost:8802": f"localhost:{self.port}",
            "localhost:8000": f"localhost:{self.target}",
            "localhost:8001": f"localhost:{self.nobody}",
            "chatwootai_webhook_server:8001": f"127.0.0.1:{self.target}",
            "bot:8001": f"127.0.0.1:{self.target}",
            "bot-whatsapp:8000": f"127.0.0.1:{self.target}",
            "bot-site:8000": f"127.0.0.1:{self.target}",
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
            for line in (self.folder / "left").read_text().splitlines():
                pid, began = line.split()
                if stat_of(int(pid))[BEGAN : BEGAN + 1] == [began]:
                    os.kill(int(pid), signal.SIGKILL)
