"""One request of a command to the API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

from relay_server.control import Api, run
from relay_server.settings import load

Json = dict[str, Any]
Flags = Mapping[str, Any]


def call(
    flags: Flags, method: str, *path: str, body: Json | None = None, query: Json | None = None
) -> Json:
    """Make one request to the API.

    Args:
        flags: Settings that were given as such.
        method: Of the request.
        path: Its parts, as people write them: a name that looks like a path is none.
        body: Sent as JSON.
        query: What is None is left out.
    """
    target = target_of(*path, query=query)

    async def work(api: Api) -> Json:
        return await api.call(method, target, body)

    settings, sources = load(**flags)
    return run(settings, sources, work)


def target_of(*path: str, query: Json | None = None) -> str:
    """A request's target below the API's root."""
    target = "/".join(quote(part, safe="") for part in path)
    given = {name: value for name, value in (query or {}).items() if value is not None}
    return f"{target}?{urlencode(given)}" if given else target
