"""How a replay is started: the only place that knows the call."""

import http.client
import json
import socket
from pathlib import Path

from bench.errors import BenchError

CHANNEL = "chatwoot"
ANSWER_S = 30.0
UNKNOWN = (404, 405)  # the answer of a server that has no such call


def start_replay(data_dir: Path, rate_per_s: float) -> None:
    """Have every event of the channel replayed to all its subscriptions.

    Raises:
        BenchError: The server knows no replays, or refused this one.
    """
    selection = {"all": True}
    asked = {"channel": CHANNEL, "subscription": None, "selection": selection}
    body = json.dumps({**asked, "rate_per_s": rate_per_s})
    connection = _ControlSocket(data_dir / "control.sock")
    try:
        connection.request("POST", "/api/v1/replays", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        status, text = answer.status, answer.read().decode(errors="replace")
    except OSError as error:
        raise BenchError(f"The server's control socket does not answer: {error}") from error
    finally:
        connection.close()
    if status in UNKNOWN:
        raise BenchError(
            f"This relay-server knows no replays: POST /api/v1/replays answered {status}.\n"
            "Leave them out: python -m bench.pressure --only slow-target,stopped-reader"
        )
    if status >= 300:
        raise BenchError(f"The replay was refused with status {status}: {text}")


class _ControlSocket(http.client.HTTPConnection):
    """HTTP over the Unix socket in the server's data dir."""

    def __init__(self, path: Path) -> None:
        super().__init__("relay", timeout=ANSWER_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))
