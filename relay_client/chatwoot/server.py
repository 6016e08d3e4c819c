"""A bot as a program: a server that takes webhooks, and tells how it is.

| path | |
| --- | --- |
| `POST /webhook`, and below it | a webhook |
| `GET /health/live` | 200 as long as it runs |
| `GET /health/ready` | 200 if it takes webhooks and answers them; else 503, and why |
| `GET /metrics` | for Prometheus |
"""

from __future__ import annotations

import asyncio
import errno
import importlib
import importlib.util
import inspect
import json
import logging
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import TextIO, cast

from aiohttp import web

from relay_client.chatwoot.bot import STOP_S, Bot
from relay_client.chatwoot.events import Event
from relay_client.chatwoot.talks import Reply
from relay_client.errors import ClientError, UsageError
from relay_protocol.text import harmless
from relay_terminal.words import _

MAX_BODY_BYTES = 26_214_400  # the most that a relay can be told to accept
READ_S = 30.0  # for a webhook's body to come in whole
FACTS = ("account", "conversation", "turn", "hint")  # of a record, that a line of the log tells
PAGES = "text/plain; version=0.0.4; charset=utf-8"


class CannotListen(ClientError):
    """The port cannot be had."""


def make_app(bot: Bot) -> web.Application:
    """The server's routes."""
    front = _Front(bot)
    app = web.Application(client_max_size=MAX_BODY_BYTES)
    app.router.add_post("/webhook", front.take)
    app.router.add_post("/webhook/{rest:.*}", front.take)
    app.router.add_get("/health/live", front.live)
    app.router.add_get("/health/ready", front.ready)
    app.router.add_get("/metrics", front.metrics)
    return app


class _Front:
    def __init__(self, bot: Bot) -> None:
        self._bot = bot

    async def take(self, request: web.Request) -> web.Response:
        try:
            async with asyncio.timeout(READ_S):
                body = await request.read()
        except TimeoutError:
            return _error(408, "slow", _("the body did not come in time"))
        answer = await self._bot.handle(request.headers, body)
        self._bot.say(webhook_line(answer.event, answer.did))
        if answer.status == 200:
            return _json({"did": answer.did})
        return _error(answer.status, answer.code, answer.did)

    async def live(self, _: web.Request) -> web.Response:
        return _json({"status": "live"})

    async def ready(self, _: web.Request) -> web.Response:
        if reason := self._bot.trouble:
            return _json({"status": "unready", "reason": reason}, 503)
        return _json({"status": "ready"})

    async def metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=self._bot.metrics.page(), headers={"Content-Type": PAGES})


def _error(status: int, code: str, message: str) -> web.Response:
    return _json({"error": {"code": code, "message": message}}, status)


def _json(value: object, status: int = 200) -> web.Response:
    """Readable on a terminal, in any language."""
    text = json.dumps(value, ensure_ascii=False)
    return web.Response(text=text, status=status, content_type="application/json")


def webhook_line(event: Event | None, did: str) -> str:
    """One webhook's line for the screen: time, event, conversation, what was done."""
    kind, talk = (_("refused"), None) if event is None else (event.kind, event.conversation)
    number = "" if talk is None else f"#{talk.id}"
    now = datetime.now().astimezone().strftime("%H:%M:%S")
    return f"{now}  {harmless(kind, 40):<27}  {number:<6}  {harmless(did)}"


@asynccontextmanager
async def serving(bot: Bot, host: str, port: int) -> AsyncIterator[int]:
    """Serve a bot that runs, on a port; 0 for any free one. Gives the port.

    Raises:
        CannotListen: It cannot be had.
    """
    runner = web.AppRunner(make_app(bot), access_log=None, shutdown_timeout=STOP_S)
    await runner.setup()
    try:
        await _listen(runner, host, port)
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()


async def _listen(runner: web.AppRunner, host: str, port: int) -> None:
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError as exc:
        if exc.errno != errno.EADDRINUSE:
            where = f"{host}:{port}"
            text = _("cannot listen on {where}: {why}").format(where=where, why=exc.strerror)
            raise CannotListen(text) from exc
        raise CannotListen(
            _("port {port} is in use by another program, perhaps by another bot").format(port=port),
            _("Stop that one, or take another port here (--port) and in relay-client connect."),
        ) from exc


def load_reply(where: str) -> Reply:
    """The function at `MODULE:NAME` or `FILE.py:NAME`.

    Raises:
        UsageError: There is none, or it is not async.
    """
    name_of, _colon, name = where.rpartition(":")
    module = _module(name_of or name, where)
    found = getattr(module, name if name_of else "reply", None)
    if not inspect.iscoroutinefunction(found):
        raise UsageError(
            _("{where} names no async function").format(where=where),
            _("Write one, `async def reply(talk): ...`, and name it as MODULE:NAME."),
        )
    return cast(Reply, found)


def _module(place: str, where: str) -> ModuleType:
    try:
        if place.endswith(".py"):
            return _from_file(Path(place))
        sys.path.insert(0, str(Path.cwd()))  # as `python -m` does
        return importlib.import_module(place)
    except (ImportError, OSError, SyntaxError, ValueError) as exc:
        why = exc.strerror if isinstance(exc, OSError) else exc
        text = _("{where} cannot be loaded: {why}").format(where=where, why=why)
        raise UsageError(text, _hint(place, exc)) from exc


def _hint(place: str, exc: Exception) -> str:
    if isinstance(exc, FileNotFoundError) or getattr(exc, "name", None) == place:
        return _("Go to the bot's folder, or name the function: MODULE:NAME, or FILE.py:NAME.")
    return ""


def _from_file(path: Path) -> ModuleType:
    name = f"reply_in_{path.stem}"  # not the stem alone, which may be a module's, like crewai
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(_("{path} is no Python file").format(path=path))
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up there
    spec.loader.exec_module(module)
    return module


class _Lines(logging.Formatter):
    """A line each: when, how bad, what happened, and to whom."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  (it is logging's)
        known = ((name, getattr(record, name, "")) for name in FACTS)
        facts = [f"{name}={value}" for name, value in known if value]
        when, level = self.formatTime(record, "%H:%M:%S"), record.levelname.lower()
        return "  ".join([when, level, record.getMessage(), *facts])


@contextmanager
def logging_to(stream: TextIO) -> Iterator[None]:
    """Write the log to a stream, as long as the block."""
    log, handler = logging.getLogger("relay.bot"), logging.StreamHandler(stream)
    handler.setFormatter(_Lines())
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
