"""How commands on the host reach the API: through the server, or alone while none runs.

    relay-server channel list ─▶ control.sock in the data dir, if a server listens there
                              └▶ if not: the store is opened here, and the same API is served on
                                 a socket in a temporary folder, as long as the command takes

So a command knows one way alone, and says the same whether or not the server runs. The lock of the
store keeps two commands alone, and a server that starts meanwhile, out of each other's way.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from relay_protocol.errors import RelayError
from relay_server.app import open_context
from relay_server.auth import lets_nobody_send
from relay_server.errors import InvalidValue
from relay_server.files import SOCKET_NAME, short_path
from relay_server.listening import serve_control
from relay_server.settings import ServerSettings, Sources
from relay_server.store.opening import store_exists
from relay_terminal.words import _, spoken

REQUEST_TIMEOUT_S = 600.0  # of a command to the server: a backup of a large store takes its time

SILENT_S = 45.0  # of a live feed without a sign of life: it has one each 15 s
MAX_LINE_BYTES = 1_048_576  # of a feed; it tells of events in a few hundred bytes

Json = dict[str, Any]


class ApiRefused(RelayError):
    """The API refused, and said why."""

    def __init__(self, status: int, error: Json) -> None:
        super().__init__(
            str(error.get("message") or _("the server answered {status}").format(status=status))
        )
        self.code = str(error.get("code", "error"))  # type: ignore[misc]
        self.hint = str(error.get("hint", ""))


class ServerGone(RelayError, code="server_gone", status=503):
    """The server stopped, or hung, in the middle of a command."""

    hint = "relay-server status shows whether it runs; then try again."


class NotInitialized(InvalidValue, code="not_initialized"):
    """There is no store in the data dir."""

    hint = "Run relay-server init first, or set RELAY_SERVER_DATA_DIR to where it is."


class Api:
    """The JSON API, on this host and without a token."""

    def __init__(self, session: aiohttp.ClientSession, *, running: bool) -> None:
        self._session = session
        self.running = running  # a server answers, not this process alone

    async def call(self, method: str, path: str, body: Json | None = None) -> Json:
        """Make a request and return the answer's JSON; empty where there is none.

        Raises:
            ApiRefused: It was refused, with the reason.
            ServerGone: The server did not answer.
            InvalidValue: A number in it is none.
        """
        url = f"http://relay/api/v1/{path}"
        try:
            async with self._session.request(method, url, json=body) as response:
                status, raw = response.status, await response.read()
        except (aiohttp.ClientError, TimeoutError) as exc:
            raise ServerGone(
                _("the server went away while it was asked: {why}").format(why=exc)
            ) from exc
        answer = json.loads(raw) if raw else {}
        if status >= 400:
            raise ApiRefused(status, answer.get("error", {}))
        return dict(answer)

    async def follow(self, path: str) -> AsyncIterator[tuple[str, Json, str]]:
        """The messages of a feed, as they come, until the server ends it.

        Yields:
            Its name, what it says, and where it moves the reader; empty where it does not.

        Raises:
            ApiRefused: It was refused, with the reason.
            ServerGone: No server runs, or it went away.
        """
        if not self.running:
            raise ServerGone(_("it does not run"))
        url, name, position = f"http://relay/api/v1/{path}", "", ""
        silent = aiohttp.ClientTimeout(total=None, sock_read=SILENT_S)
        try:
            async with self._session.request("GET", url, timeout=silent) as response:
                if response.status >= 400:
                    raise ApiRefused(response.status, json.loads(await response.read())["error"])
                async for line in response.content:
                    field, _colon, value = line.decode().rstrip("\n").partition(": ")
                    if field == "id":
                        position = value
                    elif field == "event":
                        name = value
                    elif field == "data":
                        yield name, json.loads(value), position
                        position = ""
        except (aiohttp.ClientError, TimeoutError, ValueError) as exc:
            raise ServerGone(exc) from exc


@asynccontextmanager
async def open_api(
    settings: ServerSettings, sources: Sources, *, make: bool = False
) -> AsyncIterator[Api]:
    """Reach the API of the server that runs on the data dir, or be it for a moment.

    Raises:
        NotInitialized: There is no store, and none is to be made.
        RelayError: The store cannot be opened.
    """
    where = settings.store_url, settings.data_dir, settings.store_secret
    async with AsyncExitStack() as stack:
        path = settings.data_dir / SOCKET_NAME
        running = await _answers(path)
        if not running:
            if not make and not store_exists(*where):
                said = _("there is no relay in {folder}")
                raise NotInitialized(said.format(folder=settings.data_dir))
            context = await stack.enter_async_context(open_context(settings, sources))
            context.uninitialized = lets_nobody_send(context.store.catalog)
            path = Path(stack.enter_context(_folder(settings.data_dir)), SOCKET_NAME)
            await serve_control(stack, context, path)
        short = stack.enter_context(short_path(path))
        session = aiohttp.ClientSession(
            connector=aiohttp.UnixConnector(short),
            timeout=aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S),
            json_serialize=_json,
            headers={"Accept-Language": spoken()},
            read_bufsize=MAX_LINE_BYTES,
        )
        yield Api(await stack.enter_async_context(session), running=running)


def _folder(data_dir: Path) -> tempfile.TemporaryDirectory[str]:
    """A folder for a moment; in the data dir where no other can be written to."""
    try:
        return tempfile.TemporaryDirectory(prefix="relay-")
    except OSError:
        return tempfile.TemporaryDirectory(prefix="relay-", dir=data_dir)


def run(
    settings: ServerSettings,
    sources: Sources,
    work: Callable[[Api], Coroutine[Any, Any, Json]],
    *,
    make: bool = False,
) -> Json:
    """Do something with the API, and return what it returns."""

    async def main() -> Json:
        async with open_api(settings, sources, make=make) as api:
            return await work(api)

    return asyncio.run(main())


def _json(body: object) -> str:
    try:
        return json.dumps(body, allow_nan=False)
    except ValueError as exc:
        raise InvalidValue(_("nan and inf are no numbers that can be set")) from exc


async def _answers(path: Path) -> bool:
    """True if a server listens there; a socket file alone says nothing."""
    try:
        with short_path(path) as short:
            _, writer = await asyncio.open_unix_connection(short)
    except OSError:
        return False
    writer.close()
    return True
