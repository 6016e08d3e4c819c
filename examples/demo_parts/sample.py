"""A webhook as Chatwoot sends it: a fixture's bytes with Chatwoot's headers, new for each post."""

from __future__ import annotations

import base64
import http.client
import json
import time
import uuid
from dataclasses import dataclass
from urllib.parse import SplitResult, unquote, urlsplit

from examples.demo_parts.errors import DemoFailed
from examples.demo_parts.programs import ROOT
from relay_chatwoot.signature import sign

FOLDER = ROOT / "relay_chatwoot" / "samples"
FILE = FOLDER / "agent_bot_message_created.json"
SECOND_FILE = FOLDER / "message_created_incoming_attachments.json"
BOT = {"id": 1, "name": "Robô do Pão 🤖", "type": "agent_bot"}
SIGNING_SECRET = "FIXTUREwebhookSECRET0001"
ANSWER_S = 10.0


@dataclass(frozen=True, slots=True)
class Sample:
    """A webhook's body, and what to know it by.

    Attributes:
        id: Of the message.
        conversation: As the programs show it, e.g. `"#318"`.
    """

    body: bytes
    id: int
    event: str
    conversation: str
    customer: str
    words: str

    @classmethod
    def read(cls) -> Sample:
        """Read the fixture."""
        body = FILE.read_bytes()
        fields = json.loads(body)
        return cls(
            body,
            fields["id"],
            fields["event"],
            f"#{fields['conversation']['id']}",
            fields["sender"]["name"],
            fields["content"],
        )


def bots_message() -> bytes:
    """The webhook of what the bot answered: Chatwoot sends one of each message."""
    fields = json.loads(FILE.read_bytes())
    fields |= {"id": fields["id"] + 1, "message_type": "outgoing", "sender": BOT}
    return json.dumps(fields | {"content": "I am calling somebody. 🙋"}).encode()


def unreadable_message() -> bytes:
    """Another customer's message, which the bot does not take: its id is a word."""
    fields = json.loads(SECOND_FILE.read_bytes()) | {"id": "word"}
    return json.dumps(fields | {"content": "Oi! Meu pedido já saiu?"}).encode()


@dataclass(frozen=True, slots=True)
class Answer:
    """When the post began, and when the relay had answered it, in monotonic seconds."""

    began_at: float
    ended_at: float


def post(url: str, body: bytes) -> Answer:
    """Post a webhook to a URL as `relay-server init` prints it.

    Raises:
        DemoFailed: It was not answered, or not with 200.
    """
    parts = urlsplit(url)
    began_at = time.monotonic()
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=ANSWER_S)
    try:
        connection.putrequest("POST", parts.path, skip_host=True, skip_accept_encoding=True)
        for name, value in _headers(parts, body):
            connection.putheader(name, value)
        connection.endheaders(body)
        answer = connection.getresponse()
        said = answer.read()
    except (OSError, http.client.HTTPException) as exc:
        raise DemoFailed(f"The relay did not answer the webhook: {exc!r}") from exc
    finally:
        connection.close()
    if answer.status != 200:
        raise DemoFailed(f"The relay answered {answer.status}: {said.decode(errors='replace')}")
    return Answer(began_at, time.monotonic())


def _headers(url: SplitResult, body: bytes) -> list[tuple[str, str]]:
    """What Chatwoot 4.15 sends, in its order."""
    timestamp = str(int(time.time()))
    pair = f"{unquote(url.username or '')}:{unquote(url.password or '')}"
    return [
        ("Accept-Encoding", "gzip;q=1.0,deflate;q=0.6,identity;q=0.3"),
        ("Accept", "application/json"),
        ("User-Agent", "Ruby"),
        ("Host", url.netloc.rpartition("@")[2]),
        ("Content-Type", "application/json"),
        ("Authorization", "Basic " + base64.b64encode(pair.encode()).decode()),
        ("X-Chatwoot-Delivery", str(uuid.uuid4())),
        ("X-Chatwoot-Timestamp", timestamp),
        ("X-Chatwoot-Signature", sign(SIGNING_SECRET, timestamp, body)),
        ("Content-Length", str(len(body))),
    ]
