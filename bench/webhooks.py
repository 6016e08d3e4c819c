"""Chatwoot webhooks for the load: the fixtures' bytes, but for conversation and delivery id."""

import base64
import hashlib
import hmac
import json
import secrets
import time
from pathlib import Path
from urllib.parse import unquote, urlsplit

from bench.errors import BenchError

CONVERSATIONS = 200
FIRST_CONVERSATION_ID = 1000
SIGNING_SECRET = b"FIXTUREwebhookSECRET0001"
FIXTURES = Path(__file__).parents[1] / "relay_chatwoot" / "samples"
UNSIGNED_EVENTS = ("automation_event.", "macro.")  # Chatwoot sends these without a delivery id


class Webhooks:
    """Ready-made requests; only the delivery id and the X-Bench header differ from one to the next.

    X-Bench carries four numbers: run, conversation, sequence, and the time the webhook was due
    in nanoseconds of CLOCK_MONOTONIC, which all processes of a machine share.
    """

    def __init__(self, url: str, run: int, fixtures: Path = FIXTURES) -> None:
        self.run = run
        bodies = load_bodies(fixtures)
        self._parts = [
            [_request_parts(url, with_conversation(body, own, FIRST_CONVERSATION_ID + number))
             for body, own in bodies]
            for number in range(CONVERSATIONS)
        ]  # fmt: skip

    def request(self, conversation: int, sequence: int, due_ns: int) -> bytes:
        """A whole HTTP request; `sequence` is unique in the run, from 0 on."""
        parts = self._parts[conversation]
        head, tail = parts[sequence % len(parts)]
        bench = b"%d %d %d %d" % (self.run, conversation, sequence, due_ns)
        return b"%b%012x\r\nX-Bench: %b\r\n%b" % (head, sequence, bench, tail)


def load_bodies(folder: Path) -> list[tuple[bytes, int]]:
    """The fixtures that belong to a conversation: (raw body, its conversation id)."""
    raw = [path.read_bytes() for path in sorted(folder.glob("*.json"))]
    bodies = [(body, own) for body in raw if (own := _conversation_id(body)) is not None]
    if not bodies:
        raise BenchError(f"No Chatwoot fixtures in {folder}. Name their folder with --fixtures.")
    return bodies


def _conversation_id(body: bytes) -> int | None:
    fields = json.loads(body)
    if fields["event"].startswith(UNSIGNED_EVENTS):
        return None
    whole = fields.get("conversation") or (fields if "messages" in fields else {})
    found = whole.get("id")
    return found if isinstance(found, int) else None


def with_conversation(body: bytes, own: int, other: int) -> bytes:
    """The same bytes, moved to another conversation; never parsed and written again."""
    for pattern in (b'"id":%d,"inbox_id"', b'"conversation_id":%d,'):
        body = body.replace(pattern % own, pattern % other)
    return body


def _request_parts(url: str, body: bytes) -> tuple[bytes, bytes]:
    """What stands before and after the changing part, headers in Chatwoot's order."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    noise = secrets.token_hex(10)
    delivery = f"{noise[:8]}-{noise[8:12]}-4{noise[12:15]}-8{noise[15:18]}-"
    timestamp = str(int(time.time()))
    signed = hmac.digest(SIGNING_SECRET, timestamp.encode() + b"." + body, hashlib.sha256)
    head = (
        f"POST {target} HTTP/1.1\r\n"
        "Accept-Encoding: gzip;q=1.0,deflate;q=0.6,identity;q=0.3\r\n"
        "Accept: application/json\r\n"
        "User-Agent: Ruby\r\n"
        f"Host: {host}\r\n"
        f"Content-Type: application/json\r\n{_authorization(url)}"
        f"X-Chatwoot-Delivery: {delivery}"
    )
    tail = (
        f"X-Chatwoot-Timestamp: {timestamp}\r\n"
        f"X-Chatwoot-Signature: sha256={signed.hex()}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode(), tail.encode() + body


def _authorization(url: str) -> str:
    """The Basic header that `https://user:password@host/` asks for, or nothing."""
    parts = urlsplit(url)
    if parts.username is None:
        return ""
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return f"Authorization: Basic {base64.b64encode(pair.encode()).decode()}\r\n"
