"""Chatwoot's webhooks, ready to be sent: README.md tells what each is."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

from relay_chatwoot.signature import SIGNATURE, TIMESTAMP, sign
from relay_client.errors import UsageError
from relay_terminal.words import _

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


def named(word: str) -> str:
    """The sample of a name, or the plainest one of a kind.

    Raises:
        UsageError: There is none.
    """
    import difflib

    known = kinds()
    if word in known:
        return word
    of_kind = [name for name, kind in known.items() if kind == word]
    if of_kind:
        return min(of_kind, key=lambda name: (not name.startswith(word), len(name), name))
    near = difflib.get_close_matches(word, [*known, *known.values()], 1)
    hint = _("relay-client send --list shows the samples there are.")
    if near:
        hint = _("Did you mean {name}?").format(name=near[0])
    raise UsageError(_("{word!r} is no file and no sample").format(word=word), hint)


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
