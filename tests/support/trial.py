"""A trial: a relay, its clients, a target and senders, all real, judged by one ledger.

    async with open_trial(tmp_path, chance("a name")) as trial:
        client = await trial.connect()
        async with trial.talking() as talk:
            await talk.accepts(50)
            trial.relay.server.kill()
            await trial.relay.start()
        verdict = await trial.verdict()

Clients come through `trial.proxy`. Every conversation is one sender, which goes on where it was
answered, and says again, under the same delivery id, what was not; now and then it does not, as
Chatwoot's account webhooks are sent once.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from tests.support.ledger import Ledger, Said, Verdict
from tests.support.processes import Json, Running
from tests.support.proxy import Proxy, open_proxy
from tests.support.relay import Constant, Relay, running
from tests.support.senders import exchange
from tests.support.target import OK, Answering, Arrival, Target, open_target
from tests.support.waiting import LONG_S, until

CONVERSATIONS = 12
PAUSE_S = 0.01
GIVE_UP_S = 5.0  # as Chatwoot does
TRIES = 40
STUCK_AFTER_S = 45.0
MEASURE_S = 0.1
READER = "ana"
QUICK_RETURN: Constant = ("relay_client.backoff", "LONGEST_S", 0.5)
WORDS = ("olá", "coração", "ação", "😀", "não", "日本", "\\ud83c", "\0\u2028", '"quoted"', "")


class Trial:
    """Everything of one.

    Attributes:
        rng: What happens at random in it.
        token: The reader's.
        clients: Every client that was started.
        port: Where senders post to.
        late_s: How long at the most the machine took for what takes no time; see `measuring`.
    """

    def __init__(self, relay: Relay, target: Target, proxy: Proxy, rng: random.Random) -> None:
        self.relay = relay
        self.target = target
        self.proxy = proxy
        self.rng = rng
        self.ledger = Ledger()
        self.token = ""
        self.clients: list[Running] = []
        self.port = relay.port
        self.late_s = 0.0
        self.answer_with(busy(rng))

    def answer_with(self, answer: Answering) -> None:
        """Let the target answer so, and the ledger note it."""
        self.target.answer = self.ledger.reader(READER).listening(answer)

    async def set_policy(self, **policy: object) -> None:
        await self.relay.control("PATCH", "channels/chatwoot", {"policy": policy})

    async def connect(self, *arguments: str) -> Running:
        """Start a client of the reader, and wait until it is subscribed."""
        client = await self.relay.connect(self.token, *self._arguments(*arguments))
        self.clients.append(client)
        return client

    def begin_connect(self, *arguments: str) -> Running:
        """The same, without waiting."""
        client = self.relay.begin_connect(self.token, *self._arguments(*arguments))
        self.clients.append(client)
        return client

    @asynccontextmanager
    async def talking(
        self, conversations: int = CONVERSATIONS, pause_s: float = PAUSE_S
    ) -> AsyncIterator[Talk]:
        """Senders that go on for as long as the block, and then say their last sentence."""
        talk = Talk(self, conversations, pause_s)
        try:
            yield talk
            await talk.stop()
        finally:
            await talk.cancel()

    @asynccontextmanager
    async def measuring(self) -> AsyncIterator[None]:
        """Find out meanwhile how late the machine is with what a webhook needs of it."""
        task = asyncio.create_task(self._measure(), name="lateness")
        try:
            yield
        finally:
            task.cancel()

    async def _measure(self) -> None:
        """Wake up, ask the server for what it always knows, and have some bytes on the disk."""
        raw, file = b"GET /health/live HTTP/1.1\r\nHost: relay\r\n\r\n", self.relay.folder / "bytes"
        while True:
            began = time.monotonic()
            await asyncio.sleep(MEASURE_S)
            with suppress(OSError, asyncio.IncompleteReadError):  # the server is away
                await exchange(self.port, raw)
                await asyncio.to_thread(sync_bytes, file)
                self.late_s = max(self.late_s, time.monotonic() - began - MEASURE_S)

    async def dead(self, reader: str = READER) -> set[str]:
        """Event ids of what it gave up for a reader."""
        listed = await self.relay.control("GET", f"dead?limit=500&subscription={reader}")
        return {one["event_id"] for one in listed["dead"]}

    async def settle(self, stuck_after_s: float = STUCK_AFTER_S) -> None:
        """Wait until nothing is to come any more, for as long as it gets less.

        Raises:
            TimeoutError: For so long nothing was settled.
        """
        least = await self.relay.backlog() + 1
        while least:
            async with asyncio.timeout(stuck_after_s):
                while (left := await self.relay.backlog()) >= least:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)  # there is nothing to wait for but the answer
            least = left
        await until(lambda: not self.target.under_way, stuck_after_s)

    async def verdict(
        self, reader: str = READER, *, strict: bool = True, stuck_after_s: float = STUCK_AFTER_S
    ) -> Verdict:
        """Let everything settle, and judge what a reader got."""
        try:
            await self.settle(stuck_after_s)
        except TimeoutError:
            left = await self.relay.backlog()
            raise AssertionError(
                f"{left} deliveries do not settle; clients: {[c.errors for c in self.clients]}"
            ) from None
        log = self.ledger.reader(reader)
        return self.ledger.judge(log, dead=await self.dead(reader), strict=strict)

    def _arguments(self, *arguments: str) -> tuple[str, ...]:
        return ("--url", self.proxy.url, "--to", self.target.address, *arguments)


class Talk:
    """Senders at work.

    Attributes:
        accepted: How many webhooks they got a 2xx for.
    """

    def __init__(self, trial: Trial, conversations: int, pause_s: float) -> None:
        self.accepted = 0
        self._trial = trial
        self._pause_s = pause_s
        self._going = True
        self._tasks = [
            asyncio.create_task(self._converse(number, random.Random(trial.rng.random())))
            for number in range(conversations)
        ]

    async def accepts(self, count: int, within_s: float = LONG_S) -> None:
        """Wait until so many more were answered 2xx."""
        goal = self.accepted + count
        await until(lambda: self.accepted >= goal, within_s)

    async def stop(self) -> None:
        """Let each conversation end its last sentence."""
        self._going = False
        await asyncio.gather(*self._tasks)

    async def cancel(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _converse(self, conversation: int, rng: random.Random) -> None:
        ledger = self._trial.ledger
        number = 1 + max((s.number for s in ledger.said if s.key == str(conversation)), default=0)
        while self._going:
            said, raw = sentence(self._trial.relay.send_token, conversation, number, rng)
            ledger.say(said)
            tries = 1 if rng.random() < 0.2 else TRIES
            for _ in range(tries):
                if await self._post(said, raw) or not self._going:
                    break
                await asyncio.sleep(0.05)  # the server is away: the pace of a sender
            number += 1
            await asyncio.sleep(self._pause_s)

    async def _post(self, said: Said, raw: bytes) -> bool:
        """Send it; whether it was answered for good."""
        port = self._trial.port
        try:
            async with asyncio.timeout(GIVE_UP_S):
                answer = await exchange(port, raw)
        except ConnectionRefusedError:
            # Who is led to another server meanwhile asks that: nobody has had this one.
            return self._trial.port != port and await self._post(said, raw)
        except (OSError, asyncio.IncompleteReadError):  # of which a timeout is one
            return False
        accepted = 200 <= answer.status < 300
        self._trial.ledger.answered(said, answer.status, answer.json["id"] if accepted else None)
        self.accepted += accepted
        return accepted


def sync_bytes(file: Path) -> None:
    """Write some bytes, with an fsync."""
    with file.open("wb") as opened:
        opened.write(bytes(4_096))
        opened.flush()
        os.fsync(opened.fileno())


def sentence(token: str, conversation: int, number: int, rng: random.Random) -> tuple[Said, bytes]:
    """A webhook of a conversation, and its bytes on the wire; a few are large."""
    body = _body(conversation, number, rng)
    name = str(uuid.UUID(int=rng.getrandbits(128)))
    path = f"/webhook/%C3%A7%2F/?x={number}&y=%20;a=&&"
    fields = [
        (b"Content-Type", b"application/json"),
        (b"X-Chatwoot-Delivery", name.encode()),
        (b"X-Note", f"não é só {rng.choice(('olá', '😀', '日本'))}".encode()),
        (b"x-note", b"twice"),
        (b"X-Latin-1", b"a\xe7\xe3o"),
    ]
    raw = b"\r\n".join([
        f"POST {path} HTTP/1.1".encode(),
        b"Host: relay.example.com",
        *(b"%b: %b" % field for field in fields),
        f"Authorization: Bearer {token}".encode(),
        b"Content-Length: %d" % len(body),
        b"",
        body,
    ])  # fmt: skip
    return Said(str(conversation), number, body, path, tuple(fields), name), raw


def _body(conversation: int, number: int, rng: random.Random) -> bytes:
    """JSON, written so that reading and writing it again would change it."""
    [length] = rng.choices((rng.randrange(400), rng.randrange(3_000), 70_000), (70, 28, 2))
    text = " ".join(rng.choice(WORDS) for _ in range(length // 4))
    content = json.dumps(text, ensure_ascii=rng.random() < 0.5)
    talk = f'"conversation":{{"x": 1.50e0, "id":{conversation}}}'
    said = f'"id" : {number},  "event":"message_created"'
    return f'{{ {said}, "content": {content}, {talk} }}\n'.encode()


def busy(rng: random.Random, up_to_s: float = 0.02) -> Answering:
    """A target that takes a moment for each webhook."""

    async def answer(_: Arrival) -> bytes:
        await asyncio.sleep(rng.uniform(0.0, up_to_s))  # the work that a target does
        return OK

    return answer


STRICT: Json = {"retry_delays_s": [0.02] * 30, "other_tries": 30, "strict_order": True}

# Silence is noticed, and a lease runs out, within seconds.
QUICK_LIVENESS: tuple[Constant, ...] = (
    ("relay_protocol.limits", "HEARTBEAT_S", 1.0),
    ("relay_protocol.limits", "WORKING_INTERVAL_S", 0.7),
    ("relay_protocol.limits", "LEASE_S", 2.5),
)


@asynccontextmanager
async def open_trial(
    folder: Path, rng: random.Random, *, constants: tuple[Constant, ...] = (), **settings: str
) -> AsyncIterator[Trial]:
    """A relay that runs, a target, a proxy; constants have other values where they are used."""
    folder.mkdir(parents=True, exist_ok=True)
    relay = Relay(folder, **settings)
    relay.constants = [one for one in constants if not one[0].startswith("relay_client")]
    client = [one for one in constants if not one[0].startswith("relay_server")]
    relay.client_constants = [*client, QUICK_RETURN]
    async with running(relay), open_target() as target, open_proxy(relay.port) as proxy:
        trial = Trial(relay, target, proxy, rng)
        trial.token = await relay.make_token(READER, "subscribe")
        yield trial
