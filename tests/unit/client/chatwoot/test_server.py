"""A bot as a server: what it lets in, what it answers to who posts, and what its screen shows."""

from __future__ import annotations

import asyncio
import functools
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from relay_chatwoot.signature import SIGNATURE, TIMESTAMP, sign
from relay_client.chatwoot import Bot, BotSettings, Reply
from relay_client.chatwoot.ledger import IN_MEMORY
from relay_client.chatwoot.server import serving
from relay_terminal.words import speak
from tests.support.waiting import until
from tests.unit.client.chatwoot.bots import Gate, repeat
from tests.unit.client.chatwoot.fixtures import changed

SECRET = "FIXTUREwebhookSECRET0001"
MESSAGE = "agent_bot_message_created"
INCOMING = changed(MESSAGE, id=1, content="Oi!")


def signed(body: bytes, *, secret: str = SECRET, age_s: int = 0, **relay: str) -> dict[str, str]:
    """Chatwoot's headers for a body, and Relay's."""
    when = str(int(time.time()) - age_s)
    fields = {TIMESTAMP: when, SIGNATURE: sign(secret, when, body)}
    return fields | {name.replace("_", "-"): value for name, value in relay.items()}


@dataclass
class Front:
    """A bot that listens and prints its answers."""

    url: str
    lines: list[str]
    session: aiohttp.ClientSession

    async def post(
        self, body: bytes, headers: dict[str, str], path: str = "/webhook"
    ) -> tuple[int, str]:
        """The status of the answer, and its code or what was done."""
        async with self.session.post(self.url + path, data=body, headers=headers) as answer:
            told = json.loads(await answer.text())
            return answer.status, told["did"] if "did" in told else told["error"]["code"]

    async def get(self, path: str) -> tuple[int, str]:
        """The status, and the body."""
        async with self.session.get(self.url + path) as answer:
            return answer.status, await answer.text()


@asynccontextmanager
async def fronted(
    reply: Reply = repeat, burst_s: float = 0.01, say: Callable[[str], None] | None = None
) -> AsyncIterator[Front]:
    """A bot without a Chatwoot, behind a signature."""
    lines: list[str] = []
    settings = BotSettings(secrets=(SECRET,), ledger=Path(IN_MEMORY), burst_s=burst_s)
    async with (
        Bot(reply, settings, say=say or lines.append) as bot,
        serving(bot, "127.0.0.1", 0) as port,
        aiohttp.ClientSession() as session,
    ):
        yield Front(f"http://127.0.0.1:{port}", lines, session)


async def test_who_is_let_in() -> None:
    """Who has no secret cannot have the bot take a message, nor have it skip one."""
    hours_s = 9 * 3600
    received = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - hours_s))
    async with fronted() as front:
        refused = [
            await front.post(INCOMING, headers)
            for headers in (
                {},
                signed(INCOMING, secret="another"),
                signed(INCOMING + b" "),
                signed(INCOMING, age_s=hours_s),
            )
        ]
        assert refused == [(401, "bad_signature")] * 4
        # It waited nine hours for this machine: Relay took it in when it was signed.
        late = signed(INCOMING, age_s=hours_s, Relay_Received_At=received)
        assert await front.post(INCOMING, late, "/webhook/below") == (200, "it is to be answered")
        assert await front.post(INCOMING, signed(INCOMING)) == (200, "it was taken before")


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[1]", b"null", b"{}", b"[" * 100_000])
async def test_what_is_no_webhook_is_refused(body: bytes) -> None:
    async with fronted() as front:
        assert await front.post(body, signed(body)) == (400, "unreadable_event")
        assert "no webhook of Chatwoot" in front.lines[0]


async def test_a_screen_that_nobody_reads_keeps_no_customer_waiting() -> None:
    """As of `bot run | head -1`, or with a full disk below the file that it is written to."""
    lines = list[str]()

    def say(line: str) -> None:
        lines.append(line)
        raise BrokenPipeError

    async with fronted(say=say) as front:
        for number, text in enumerate(("Oi!", "Alô?")):
            body = changed(MESSAGE, id=number, content=text)
            assert (await front.post(body, signed(body)))[0] == 200
            answer = f"#318  would answer: You said: {text}"
            await until(functools.partial(lines.__contains__, answer))


@pytest.mark.parametrize(
    ("body", "sign", "said"),
    [
        (
            INCOMING,
            lambda _: {},
            "não está assinado (regras de automação e macros do Chatwoot nunca são)",
        ),
        (b"{}", signed, "o corpo não é um webhook do Chatwoot: não diz qual é o evento"),
    ],
    ids=["unsigned", "unreadable"],
)
async def test_why_something_is_refused_is_said_in_the_reader_s_language(
    body: bytes, sign: Callable[[bytes], dict[str, str]], said: str
) -> None:
    settings = BotSettings(secrets=(SECRET,), ledger=Path(IN_MEMORY))
    async with Bot(repeat, settings) as bot:
        speak("pt-BR")
        answer = await bot.handle(sign(body), body)
        speak("")
    assert answer.did == said


async def test_two_bots_do_not_talk_to_each_other() -> None:
    """Though one says that its message comes in."""
    body = changed(MESSAGE, id=1, sender={"id": 3, "name": "Robô", "type": "agent_bot"})
    async with fronted() as front:
        assert await front.post(body, signed(body)) == (200, "the bot wrote it")


async def test_words_of_customers_cannot_forge_lines() -> None:
    """Line breaks, terminal codes and turned text do not reach the screen; emoji do."""
    body = changed(MESSAGE, id=1, content="a\n\x1b[2Jb\u202ec 👩‍🍳 ção")
    async with fronted() as front:
        await front.post(body, signed(body))
        await until(lambda: len(front.lines) == 2)

    assert front.lines[0].endswith("it is to be answered")
    answer = front.lines[1]
    assert answer.startswith("#318  would answer: You said: a")
    assert answer.endswith("👩‍🍳 ção")
    assert answer.replace("\u200d", "").isprintable()


async def test_what_is_under_way_gets_its_end() -> None:
    """A bot that is stopped takes nothing more, and lets a reply end."""
    gate = Gate()
    async with fronted(gate.reply) as front:
        await front.post(INCOMING, signed(INCOMING))
        await gate.asked(1)
        asyncio.get_running_loop().call_later(0.05, gate.open)

    assert front.lines[-1] == "#318  would answer: You said: Oi!"


async def test_it_says_how_it_is() -> None:
    async with fronted() as front:
        assert (await front.get("/health/live"))[0] == 200
        assert await front.get("/health/ready") == (200, '{"status": "ready"}')
        await front.post(b"{}", {})
        status, page = await front.get("/metrics")

    assert status == 200
    assert 'relay_bot_webhooks_total{outcome="refused"} 1.0' in page
    assert "relay_bot_alarm 0.0" in page
