"""Runs the bot: `python -m examples.chatwoot_bot [--port 8000]`."""

from __future__ import annotations

import asyncio
import errno
import io
import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType

import aiohttp
from aiohttp import web

from examples.chatwoot_bot import handlers
from examples.chatwoot_bot.app import Receiver, make_app
from examples.chatwoot_bot.chatwoot_api import ChatwootApi, PrintedAnswers
from examples.chatwoot_bot.events import Bot, Sender
from examples.chatwoot_bot.settings import Settings, UsageError, read_settings
from relay_chatwoot.signature import Signatures

HOST = "127.0.0.1"  # Relay's client is on the same machine; nobody else needs to get in
STOP_S = 10  # for replies under way when the bot is told to stop


class CannotListen(Exception):
    """The port cannot be had; says what to do."""


def main(arguments: Sequence[str]) -> int:
    """Run until Ctrl-C or SIGTERM; returns the exit status."""
    _speak_utf8()
    try:
        asyncio.run(_serve(read_settings(arguments, os.environ)))
    except UsageError as exc:
        print(exc, file=sys.stderr)
        return 2
    except CannotListen as exc:
        print(exc, file=sys.stderr)
        return 1
    return 0


async def _serve(settings: Settings) -> None:
    stop = _stop_on_signals()
    async with aiohttp.ClientSession() as session:
        runner = web.AppRunner(_app(settings, session), access_log=None, shutdown_timeout=STOP_S)
        await runner.setup()
        try:
            await _listen(runner, settings.port)
            _introduce(settings, runner.addresses[0][1])
            await stop.wait()
            print("stopping: what is under way gets its end first; again to stop at once")
        finally:
            await runner.cleanup()


def _app(settings: Settings, session: aiohttp.ClientSession) -> web.Application:
    sender: Sender = PrintedAnswers()
    if settings.chatwoot_url and settings.chatwoot_token:
        sender = ChatwootApi(session, settings.chatwoot_url, settings.chatwoot_token)
    receiver = Receiver(
        bot=Bot(settings.reply, sender),
        registry=handlers.registry,
        signatures=Signatures(settings.secrets, settings.tolerance_s),
        say=print,
    )
    return make_app(receiver)


async def _listen(runner: web.AppRunner, port: int) -> None:
    try:
        await web.TCPSite(runner, HOST, port).start()
    except OSError as exc:
        if exc.errno == errno.EADDRINUSE:
            raise CannotListen(_port_in_use(port)) from exc
        raise CannotListen(f"cannot listen on {HOST}:{port}: {exc.strerror}") from exc


def _port_in_use(port: int) -> str:
    other = port + 1 if port < 65_535 else port - 1
    return (
        f"port {port} is in use by another program, perhaps by another copy of this bot.\n"
        f"Stop that one, or take another port here and in Relay's client:\n"
        f"  python -m examples.chatwoot_bot --port {other}\n"
        f"  relay-client connect --to localhost:{other}"
    )


def _introduce(settings: Settings, port: int) -> None:
    print(f"listening on http://{HOST}:{port}/webhook")
    if not settings.secrets:
        print("signatures are not checked: set CHATWOOT_WEBHOOK_SECRET to accept Chatwoot alone")
    if settings.chatwoot_url:
        print(f"answers go to {settings.chatwoot_url}")
    else:
        print("answers are only printed: set CHATWOOT_URL and CHATWOOT_TOKEN to send them")


def _stop_on_signals() -> asyncio.Event:
    """Set at Ctrl-C or SIGTERM. After the first, a second one ends the program at once."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()

    def ask(number: int, frame: FrameType | None) -> None:
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, signal.SIG_DFL)
        loop.call_soon_threadsafe(stop.set)

    # not loop.add_signal_handler, which Windows does not have
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, ask)
    return stop


def _speak_utf8() -> None:
    """Print names and emoji right even where the terminal or a pipe is not set to UTF-8."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="replace", line_buffering=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
