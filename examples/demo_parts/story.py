"""What the demo does, step by step."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import tempfile
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from examples.demo_parts.errors import DemoFailed
from examples.demo_parts.interrupts import Interrupts
from examples.demo_parts.keys import TypedLines, typed_lines
from examples.demo_parts.next_steps import next_steps, reply_of
from examples.demo_parts.ports import Ports, choose
from examples.demo_parts.programs import (
    ROOT,
    Program,
    beside_python,
    clean_environment,
    output_of,
)
from examples.demo_parts.sample import (
    FILE,
    Answer,
    Sample,
    bots_message,
    post,
    unreadable_message,
)
from examples.demo_parts.screen import Screen

START_S = 20.0
ARRIVAL_S = 10.0
SERVER, CLIENT = beside_python("relay-server"), beside_python("relay-client")
SECOND_DEVELOPER = "maria"
STOP_ORDER = ("client", "server", "bot")  # the other way round, each would miss the next
WORDS_SHOWN = 60


def main(arguments: Sequence[str]) -> int:
    """Run the demo; returns the exit status: 0 once the webhook arrived, or after Ctrl-C."""
    screen = Screen.of_process()
    try:
        return asyncio.run(_run(choose(arguments), screen))
    except DemoFailed as exc:
        screen.say()
        screen.say(str(exc), "bold red")
        return 1


async def _run(ports: Ports, screen: Screen) -> int:
    interrupts = Interrupts()
    with tempfile.TemporaryDirectory(prefix="relay-demo-") as folder:
        demo = Demo(ports, Path(folder), screen)
        try:
            await demo.show()
            if screen.is_terminal:
                await demo.stay()
            else:
                screen.say("That was all. On a terminal the demo stays up, and says what to try.")
        except asyncio.CancelledError:
            screen.say()
        finally:
            interrupts.ignore()
            await demo.stop()
    return 0 if demo.arrived or interrupts.by_a_person else 1


class Demo:
    """A relay, a client and a bot on this machine, and a webhook that goes through them.

    Attributes:
        arrived: The webhook reached the bot.
    """

    def __init__(self, ports: Ports, folder: Path, screen: Screen) -> None:
        self.arrived = False
        self._ports = ports
        self._screen = screen
        self._running: list[Program] = []
        self._environment = clean_environment(os.environ) | {
            "RELAY_SERVER_DATA_DIR": str(folder / "data"),
            "RELAY_SERVER_PORT": str(ports.port),
            "RELAY_SERVER_OPS_PORT": str(ports.ops_port),
            "RELAY_SERVER_LOG_FORMAT": "console",
            "RELAY_CLIENT_CONFIG_DIR": str(folder / "client"),
            "RELAY_CLIENT_STATE_DIR": str(folder / "state"),
            "RELAY_CLIENT_OUTPUT": "pretty",
            "BOT_LEDGER": str(folder / "bot" / "bot.db"),
            "BOT_BURST_SECONDS": "0.5",
        }
        self._bots_folder = folder / "bot"

    async def show(self) -> None:
        """Start everything, send a webhook, and wait until the bot has it.

        Raises:
            DemoFailed: Something did not start, or the webhook did not arrive.
        """
        self._introduce()
        made = await self._init()
        await self._serve(made["url"])
        await self._make_bot()
        await self._start_bot()
        await self._connect(made)
        await self._send(made["webhook_url"])
        self._made = made

    async def stay(self) -> None:
        """Do what is typed, until Ctrl-D.

        Raises:
            DemoFailed: The server or the client ended by itself.
        """
        await self._tell_more()
        token, link = await self._second_token(), await self._link()
        self._screen.say()
        for text, style in next_steps(self._made, token, link, self._ports, self._bots_folder):
            self._screen.say(text, style)
        with typed_lines() as typed:
            while (line := await self._typed(typed)) is not None:
                await self._obey(line)

    async def stop(self) -> None:
        """End the programs in order."""
        for program in sorted(self._running, key=lambda program: STOP_ORDER.index(program.name)):
            await self._stop(program)

    def _introduce(self) -> None:
        self._screen.say("Relay: a webhook travels from Chatwoot to an app on localhost", "bold")
        self._screen.say("All of it runs on this machine, in a temporary folder that goes away.")
        self._screen.say("The tokens shown are throw-away: they are good for this demo alone.")

    async def _init(self) -> Any:
        self._screen.step("$ relay-server init")
        made = json.loads(await self._output(SERVER, "init", "--json"))
        self._screen.say(f"The URL for Chatwoot: {made['webhook_url']}")
        return made

    async def _serve(self, url: str) -> None:
        self._screen.step("$ relay-server serve")
        await self._start(self._program("server"), [SERVER, "serve"], " ready ", url)

    async def _make_bot(self) -> None:
        self._screen.step("$ relay-client bot new bot")
        await self._output(CLIENT, "bot", "new", str(self._bots_folder))

    async def _start_bot(self) -> None:
        words = ["bot", "run", "bot.py:reply", "--port", str(self._ports.app_port)]
        self._screen.step(f"$ relay-client {shlex.join(words)}")
        words[2] = reply_of(self._bots_folder)
        self._bot = self._program("bot")
        await self._start(self._bot, [CLIENT, *words], "Answers are only printed")

    async def _connect(self, made: Any) -> None:
        self._screen.step(f"$ relay-client login {made['url']}")
        said = await self._output(CLIENT, "login", made["url"], stdin=made["subscribe_token"])
        for line in said.splitlines()[:1]:  # the next one says what the demo does now
            self._screen.program_line("client", line)
        words = ["connect", "--to", f"localhost:{self._ports.app_port}"]
        self._screen.step(f"$ relay-client {shlex.join(words)}")
        self._client = self._program("client")
        await self._start(self._client, [CLIENT, *words], made["channel"], " → ")

    async def _send(self, url: str) -> None:
        sample = Sample.read()
        self._screen.say()
        self._screen.fold(f"POST {FILE.relative_to(ROOT)} to the URL for Chatwoot", "bold")
        words = textwrap.shorten(sample.words, WORDS_SHOWN, placeholder=" …")
        self._screen.fold(f"{sample.customer} writes: {words}")
        bot, client = self._bot, self._client
        at_bot = bot.seek(sample.event, sample.conversation)
        answered = bot.seek(sample.conversation, "would answer")
        at_client = client.seek(sample.event, sample.conversation)
        answer = await asyncio.to_thread(post, url, sample.body)
        arrived_at = await bot.sees(at_bot, ARRIVAL_S)
        await client.sees(at_client, ARRIVAL_S)
        self.arrived = True
        await bot.sees(answered, ARRIVAL_S)
        self._screen.say()
        self._screen.fold(_timing(answer, arrived_at), "bold green")

    async def _tell_more(self) -> None:
        """Something to look at: the bot's answer, and a message that it does not take."""
        self._screen.step("Chatwoot tells of the bot's answer; then another customer writes")
        seen = [self._client.seek("#318", " 200 "), self._client.seek("#322", " 400 ")]
        for body in (bots_message(), unreadable_message()):
            await asyncio.to_thread(post, self._made["webhook_url"], body)
        for sighting in seen:
            await self._client.sees(sighting, ARRIVAL_S)
        self._screen.say()
        said = "The bot could not read that one, and answered 400. Relay tries again."
        self._screen.fold(said, "bold")

    async def _second_token(self) -> str:
        scope = ["--scope", "subscribe", "--channel", self._made["channel"]]
        made = await self._output(SERVER, "token", "create", SECOND_DEVELOPER, *scope, "--json")
        return str(json.loads(made)["token"])

    async def _link(self) -> str:
        """What logs in to the dashboard as who has every right: once, and within a minute."""
        return str(json.loads(await self._output(SERVER, "dashboard", "--json"))["url"])

    async def _typed(self, typed: TypedLines) -> str | None:
        """Wait for a line; None at the end of input.

        Raises:
            DemoFailed: The server or the client ended by itself.
        """
        line = asyncio.create_task(typed.get())
        while not line.done():
            ends = [program.ended for program in self._running]
            either: list[asyncio.Future[Any]] = [line, *ends]
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            self._look_after_programs()
        return line.result()

    def _look_after_programs(self) -> None:
        for program in [program for program in self._running if program.ended.done()]:
            if program is not self._bot:
                raise DemoFailed(program.epitaph())
            self._running.remove(program)
            self._screen.say(f"{program.epitaph()} r and Enter starts it again.", "bold")

    async def _obey(self, line: str) -> None:
        if line.lower() == "d":
            self._screen.say(await self._link(), "cyan")
        elif line.lower() != "r":
            if line:
                self._screen.say("r and Enter stops or starts the bot, d and Enter prints", "bold")
                self._screen.say("a link to the dashboard; Ctrl-C ends.", "bold")
        elif self._bot in self._running:
            await self._stop(self._bot)
            self._screen.say("The bot is stopped. Send webhooks: they wait on the relay.", "bold")
            self._screen.say("r and Enter starts it again, and they arrive.", "bold")
        else:
            await self._start_bot_again()

    async def _start_bot_again(self) -> None:
        try:
            await self._start_bot()
        except DemoFailed as exc:
            await self._stop(self._bot)
            self._screen.say(f"{exc} r and Enter tries again.", "bold red")

    def _program(self, name: str) -> Program:
        return Program(name, self._screen.program_line)

    async def _start(self, program: Program, command: Sequence[str], *ready: str) -> None:
        """Start a program, and wait for the line that says it is ready."""
        sighting = program.seek(*ready)
        await program.start(command, self._environment)
        self._running.append(program)
        await program.sees(sighting, START_S)

    async def _stop(self, program: Program) -> None:
        self._running.remove(program)
        await program.stop()

    async def _output(self, *command: str, stdin: str = "") -> str:
        return await output_of(command, self._environment, stdin)


def _timing(answer: Answer, arrived_at: float) -> str:
    whole_ms, answer_ms = ((end - answer.began_at) * 1000 for end in (arrived_at, answer.ended_at))
    return (
        f"From POST to the bot: {whole_ms:.0f} ms. "
        f"The relay stored it on disk and answered 200 after {answer_ms:.0f} ms."
    )
