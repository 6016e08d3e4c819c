"""Webhooks as Chatwoot sends them."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
import uuid
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from tests.support.senders import head, request
from tests.support.target import Arrival

FOLDER = Path(__file__).parents[2] / "relay_chatwoot" / "samples"
NAMES = tuple(sorted(path.stem for path in FOLDER.glob("*.json")))
UNSIGNED = frozenset({"automation_event_message_created", "macro_executed"})
SECRET = "FIXTUREwebhookSECRET0001"
HOST = "relay.example.com"

Headers = list[tuple[str, str]]


def fixture(name: str) -> bytes:
    """A fixture's body."""
    return (FOLDER / f"{name}.json").read_bytes()


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """What Chatwoot writes into X-Chatwoot-Signature."""
    signed = timestamp.encode() + b"." + body
    return f"sha256={hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()}"


def headers(
    body: bytes,
    *,
    signed: bool = True,
    secret: str = SECRET,
    timestamp: int | None = None,
    delivery: str | None = None,
    authorization: str | None = None,
) -> Headers:
    """Chatwoot 4.15.1's header fields, in its order."""
    when = str(round(time.time()) if timestamp is None else timestamp)
    fields = [
        ("Accept-Encoding", "gzip;q=1.0,deflate;q=0.6,identity;q=0.3"),
        ("Accept", "application/json"),
        ("User-Agent", "Ruby"),
        ("Host", HOST),
        ("Content-Type", "application/json"),
    ]
    if authorization is not None:
        fields.append(("Authorization", authorization))
    if signed:
        fields += [
            ("X-Chatwoot-Delivery", delivery or str(uuid.uuid4())),
            ("X-Chatwoot-Timestamp", when),
            ("X-Chatwoot-Signature", signature(secret, when, body)),
        ]
    return [*fields, ("Content-Length", str(len(body)))]


def webhook(target: str, body: bytes, fields: Headers) -> bytes:
    """A webhook's bytes on the wire."""
    return head(f"POST {target} HTTP/1.1", fields) + body


def message(token: str, conversation: int, number: int, target: str = "/webhook") -> bytes:
    """A small webhook, the so-manieth of a conversation, on the wire."""
    body = {"event": "message_created", "id": number, "conversation": {"id": conversation}}
    return request(target, json.dumps(body).encode(), token=token)


def spoken(arrivals: Iterable[Arrival]) -> dict[int, list[int]]:
    """The numbers that came of each conversation, in the order they came."""
    found: dict[int, list[int]] = defaultdict(list)
    for arrival in arrivals:
        body = json.loads(arrival.body)
        found[body["conversation"]["id"]].append(body["id"])
    return found
