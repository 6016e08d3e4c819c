"""How a command asks the server, and prints the answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import typer

if TYPE_CHECKING:
    from relay_server.control import Api
    from relay_server.settings import ServerSettings, Sources

Json = dict[str, Any]


def load_settings(flags: Json, **more: Any) -> tuple[ServerSettings, Sources]:
    """Read the settings, and have what is logged go to stderr: stdout is for results alone.

    A command that finds no server opens the store itself, which may have something to say of it.
    """
    from relay_server import log
    from relay_server.settings import load

    settings, sources = load(**flags, **more)
    log.set_up(settings.log_format, settings.log_level, keep=False)
    return settings, sources


def work(ctx: typer.Context, do: Callable[[Api], Coroutine[Any, Any, Json]]) -> Json:
    """Do something with the API, of the server that runs or alone."""
    from relay_server.control import run

    return run(*load_settings(ctx.obj), do)


def call(
    ctx: typer.Context,
    method: str,
    *path: str,
    body: Json | None = None,
    query: Json | None = None,
) -> Json:
    """Make one request to the API.

    Args:
        ctx: The command's, with the flags that were given before its name.
        method: Of the request.
        path: Its parts, as people write them: a name that looks like a path is none.
        body: Sent as JSON.
        query: What is None is left out.
    """
    target = target_of(*path, query=query)
    return work(ctx, lambda api: api.call(method, target, body))


def target_of(*path: str, query: Json | None = None) -> str:
    """A request's target below the API's root."""
    target = "/".join(quote(part, safe="") for part in path)
    given = {name: value for name, value in (query or {}).items() if value is not None}
    return f"{target}?{urlencode(given)}" if given else target


def print_json(result: Json) -> None:
    """Print a result as JSON, alone on its line."""
    text = json.dumps(result, ensure_ascii=False)
    # What a sender wrote must not steer a terminal, not even as JSON.
    typer.echo(text if text.isprintable() else json.dumps(result))


def confirmed(question: str, *, yes: bool) -> None:
    """Ask on stderr before what cannot be undone; anything but yes ends the command."""
    if not yes:
        typer.confirm(question, abort=True, err=True)
