"""Chatwoot's webhooks, ready to be sent: README.md tells what each is."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

from relay_chatwoot.signature import SIGNATURE, TIMESTAMP, sign

FOLDER = Path(__file__).parent
# Automation rules and macros sign nothing, and give no delivery id.
UNSIGNED = frozenset({"automation_event_message_created", "macro_executed"})


def kinds() -> dict[str, str]:
    """What each sample is, in Chatwoot's word, by its name."""
    files = sorted(FOLDER.glob("*.json"))
    return {file.stem: str(json.loads(file.read_bytes())["event"]) for file in files}


def read(name: str) -> bytes:
    """A sample's body."""
    return (FOLDER / f"{name}.json").read_bytes()


def headers(delivery: bool = True) -> list[tuple[str, str]]:
    """Chatwoot 4.15.1's header fields, in its order, but for those that go with the connection.

    Args:
        delivery: With a new delivery id.
    """
    fields = [
        ("Accept-Encoding", "gzip;q=1.0,deflate;q=0.6,identity;q=0.3"),
        ("Accept", "application/json"),
        ("User-Agent", "Ruby"),
        ("Content-Type", "application/json"),
    ]
    return [*fields, ("X-Chatwoot-Delivery", str(uuid.uuid4()))] if delivery else fields


def signature(secret: str, now_s: int, body: bytes) -> list[tuple[str, str]]:
    """The fields by which Chatwoot signs a body."""
    return [(TIMESTAMP, str(now_s)), (SIGNATURE, sign(secret, str(now_s), body))]
