"""Asks a data dir's own server how it is, through its control socket.

Containers and monitors ask every few seconds, for ever: this and what it imports is all that a
server that answers costs them.
"""

from __future__ import annotations

import json
import socket
from pathlib import Path

from relay_server.files import SOCKET_NAME, short_path

TIMEOUT_S = 3.0  # after which `health` says that nothing answers
READY = "ready"
# What else a server says of itself, and what that means.
STATES = {
    "starting": "it starts",
    "stopping": "it stops",
    "uninitialized": "no token was ever made, so nobody can send: run relay-server init",
}
MAX_ANSWER_BYTES = 65_536  # of its answer; no server of ours says more


def state(data_dir: Path) -> str | None:
    """How the server on a data dir says that it is.

    Returns:
        `ready`; one of `STATES`; what else it answers; None where nothing answers.
    """
    raw = b""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(TIMEOUT_S)
        try:
            with short_path(data_dir / SOCKET_NAME) as path:
                connection.connect(path)
            connection.sendall(b"GET /health/ready HTTP/1.0\r\nHost: relay\r\n\r\n")
            while len(raw) < MAX_ANSWER_BYTES and (part := connection.recv(MAX_ANSWER_BYTES)):
                raw += part
        except OSError:
            return None
    return _read(raw)


def _read(raw: bytes) -> str | None:
    head, _, body = raw.partition(b"\r\n\r\n")
    version, _, status = head.partition(b" ")
    if not version.startswith(b"HTTP/") or not status[:3].isdigit():
        return None
    if status.startswith(b"200"):
        return READY
    try:
        return str(json.loads(body)["status"])
    except (ValueError, KeyError, TypeError):
        return status[:3].decode()
